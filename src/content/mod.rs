//! Content on this machine's disk: blocks under their hashes, and pins, which keep DAGs from being collected.
//!
//! ```text
//! DATA/content/version                 the format's version
//!              lock                    held by the process that has the store open
//!              blocks/XX/HASH          a block: its multihash in hexadecimal, in a directory named by the last byte
//!              pins/recursive/CID      a pin, with its name in it
//!              pins/direct/CID
//!              usage                   bytes and number of blocks, while no process writes
//!              tmp/                    what is not whole yet
//!              wanted                  while a process waits for another that has the store open
//! ```
//!
//! Every file is written under `tmp`, synchronised and renamed, so that a kill or a power cut leaves whole files only, and
//! other processes can read at any time.
//! A pin is written when all blocks below it are. What CIDs and files are is in [`ipld`](crate::ipld).

mod blocks;
mod error;
mod pins;
mod reader;
mod store;
mod version;
mod watch;
mod writers;

pub use self::blocks::Usage;
pub use self::error::ContentError;
pub use self::pins::{CheckedPin, Pin, PinKind, PinName, PinNameError};
pub use self::reader::ContentReader;
pub use self::store::{ContentStore, Put};
pub use self::watch::PinWatch;

/// Name of the store in the data directory.
pub const CONTENT_DIR: &str = "content";
/// The most bytes of blocks, unless the owner says otherwise.
pub const DEFAULT_MAX_BYTES: u64 = 10_000_000_000;
/// How long a command that changes the store waits for another process that does.
pub const STORE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
