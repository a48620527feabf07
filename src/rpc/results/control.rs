//! The process.

use super::{Object, Shape, field, object, optional_field};

/// The answer of `getmemoryinfo`: regions of memory.
pub const MEMORY_INFO: Object = object(
    "MemoryInfo",
    &[
        field("locked", Shape::Object(&MEMORY_REGION), "As in Bitcoin Core, which locks pages for keys. No page is."),
        optional_field("resident", Shape::Object(&MEMORY_REGION), "All of the process, where the system tells."),
    ],
);

const MEMORY_REGION: Object = object(
    "MemoryRegion",
    &[
        field("used", Shape::Integer, "In bytes."),
        field("free", Shape::Integer, "In bytes."),
        field("total", Shape::Integer, "In bytes."),
        field("locked", Shape::Integer, "In bytes."),
        field("chunks_used", Shape::Integer, ""),
        field("chunks_free", Shape::Integer, ""),
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
