//! Pins: roots whose blocks are kept. Each is a file named by the CID, so that one that was made survives whatever
//! happens to another.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::blocks;
use super::error::{ContentError, at};
use crate::ipld::Cid;
use crate::storage::private_file;

/// What a pin keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinKind {
    /// The block and all below it.
    Recursive,
    /// The block alone.
    Direct,
}

impl Display for PinKind {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Recursive => "recursive",
            Self::Direct => "direct",
        })
    }
}

/// A pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What is kept.
    pub cid: Cid,
    /// Whether with all below.
    pub kind: PinKind,
    /// What the user calls it; empty for none.
    pub name: String,
}

/// The files.
#[derive(Debug)]
pub(super) struct Pins {
    dir: PathBuf,
}

impl Pins {
    pub(super) fn open(store: &Path) -> Result<Self, ContentError> {
        let pins = Self { dir: dir(store) };
        for kind in [PinKind::Recursive, PinKind::Direct] {
            let dir = pins.dir_of(kind);
            private_file::create_dir(&dir).map_err(at(&dir))?;
            // A write that was cut off; no CID ends like it.
            for file in fs::read_dir(&dir).map_err(at(&dir))? {
                let path = file.map_err(at(&dir))?.path();
                if path.extension().is_some_and(|extension| extension == "tmp") {
                    fs::remove_file(&path).map_err(at(&path))?;
                }
            }
        }
        Ok(pins)
    }

    fn dir_of(&self, kind: PinKind) -> PathBuf {
        self.dir.join(kind.to_string())
    }

    fn path(&self, cid: &Cid, kind: PinKind) -> PathBuf {
        self.dir_of(kind).join(cid.to_string())
    }

    /// Writes a pin, in place of one with another name or kind. It is on the disk when this returns.
    pub(super) fn add(&self, pin: &Pin) -> Result<(), ContentError> {
        let (path, dir) = (self.path(&pin.cid, pin.kind), self.dir_of(pin.kind));
        private_file::replace(&path, pin.name.as_bytes()).map_err(at(&path))?;
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(at(&dir))?;
        let other = match pin.kind {
            PinKind::Recursive => PinKind::Direct,
            PinKind::Direct => PinKind::Recursive,
        };
        self.remove(&pin.cid, other).map(drop)
    }

    /// Removes a pin, and tells whether there was one.
    pub(super) fn remove(&self, cid: &Cid, kind: PinKind) -> Result<bool, ContentError> {
        let path = self.path(cid, kind);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at(&path)(error)),
        }
    }
}

/// All pins of a store, in order of their CIDs' text. Another process may change them meanwhile.
pub(super) fn all(store: &Path) -> Result<Vec<Pin>, ContentError> {
    let mut pins = Vec::new();
    for kind in [PinKind::Recursive, PinKind::Direct] {
        for path in blocks::files_in(&dir(store).join(kind.to_string()))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Ok(cid) = name.parse::<Cid>() else { continue };
            if let Some(name) = blocks::read(&path)? {
                pins.push(Pin { cid, kind, name: String::from_utf8_lossy(&name).into_owned() });
            }
        }
    }
    pins.sort_by_cached_key(|pin| (pin.cid.to_string(), pin.kind == PinKind::Direct));
    Ok(pins)
}

/// Directory of the pins in a store.
fn dir(store: &Path) -> PathBuf {
    store.join("pins")
}
