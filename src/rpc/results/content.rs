//! Content and its providers.

use super::network::LOOKUP_STEP;
use super::{Object, Shape, field, object};

/// The answer of `findproviders`.
pub const PROVIDERS: Object = object(
    "ContentProviders",
    &[
        field("cid", Shape::Text, "As it was given, in its usual base."),
        field("key", Shape::Text, "Where in the space of ids records of it are kept, 64 hex digits."),
        field(
            "providers",
            Shape::Array(&Shape::Object(&PROVIDER)),
            "In the order in which they were named; they need not exist.",
        ),
        field("path", Shape::Array(&Shape::Object(&LOOKUP_STEP)), "The nodes that were asked, in order."),
        field("took", Shape::Number, "In seconds."),
        field("complete", Shape::Boolean, "Whether no nearer node was left to ask."),
    ],
);

const PROVIDER: Object = object(
    "ContentProvider",
    &[
        field("nodeid", Shape::Text, ""),
        field("address", Shape::Text, "IP and port, or as WebRTC addresses are written."),
    ],
);

/// The answer of `providecontent`.
pub const ANNOUNCED: Object = object(
    "AnnouncedContent",
    &[
        field("cid", Shape::Text, "As it was given, in its usual base."),
        field("key", Shape::Text, "Where in the space of ids records of it are kept, 64 hex digits."),
        field("nodes", Shape::Integer, "How many nodes keep a record; 0 if none could be reached."),
    ],
);

/// The answer of `fetchcontent`.
pub const FETCH: Object = object(
    "ContentFetch",
    &[
        field("complete", Shape::Boolean, "Whether all is here."),
        field("blocks", Shape::Integer, "Blocks that are here and were checked."),
        field("bytes", Shape::Integer, "Their bytes."),
        field("fetched_blocks", Shape::Integer, "Those of them that peers sent."),
        field("fetched_bytes", Shape::Integer, "Their bytes."),
        field("sources", Shape::Integer, "The most peers that sent blocks at the same time."),
        field("providers", Shape::Integer, "Providers that were named."),
        field(
            "liars",
            Shape::Array(&Shape::Text),
            "Ids of peers that sent other bytes than a block's; each was dropped.",
        ),
    ],
);
