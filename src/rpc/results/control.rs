//! The process.

use super::{OPTIONAL_INTEGER, Object, Shape, field, object};

/// The answer of `getmemoryinfo`.
pub const MEMORY_INFO: Object = object(
    "MemoryInfo",
    &[
        field("locked", Shape::Object(&LOCKED_MEMORY), "As in Bitcoin Core, which locks pages for keys. No page is."),
        field("resident", OPTIONAL_INTEGER, "Bytes of the process in memory; null where the system does not tell."),
    ],
);

const LOCKED_MEMORY: Object = object(
    "LockedMemory",
    &[
        field("used", Shape::Integer, "0."),
        field("free", Shape::Integer, "0."),
        field("total", Shape::Integer, "0."),
        field("locked", Shape::Integer, "0."),
        field("chunks_used", Shape::Integer, "0."),
        field("chunks_free", Shape::Integer, "0."),
    ],
);

/// The answer of `getrpcinfo`.
pub const RPC_INFO: Object = object(
    "RpcInfo",
    &[
        field("active_commands", Shape::Array(&Shape::Object(&ACTIVE_COMMAND)), "The calls in progress."),
        field("logpath", Shape::Text, "Empty: the log goes to stderr."),
    ],
);

const ACTIVE_COMMAND: Object = object(
    "ActiveCommand",
    &[
        field("method", Shape::Text, ""),
        field("duration", Shape::Integer, "How long it has been running, in microseconds."),
    ],
);
