//! Pins: roots whose blocks are kept. Each is a file named by the CID, so that one that was made survives whatever
//! happens to another.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

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
    /// What the user calls it.
    pub name: PinName,
}

/// A pin's name: at most [`PinName::MAX_BYTES`] of UTF-8, without control characters. Empty for none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PinName(String);

/// Why a text is no name of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinNameError {
    /// It has this many bytes.
    #[error("{0} bytes, and a name has at most {max}", max = PinName::MAX_BYTES)]
    TooLong(usize),
    /// It has a control character, which a terminal would obey.
    #[error("a name has no control characters")]
    ControlCharacter,
}

impl PinName {
    /// The longest name, as in Kubo.
    pub const MAX_BYTES: usize = 255;

    /// What of a text can be a name: its beginning, without control characters.
    pub fn fitting(text: &str) -> Self {
        let mut name: String = text.chars().filter(|c| !c.is_control()).collect();
        name.truncate(name.floor_char_boundary(Self::MAX_BYTES));
        Self(name)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PinName {
    type Err = PinNameError;

    fn from_str(text: &str) -> Result<Self, PinNameError> {
        if text.len() > Self::MAX_BYTES {
            return Err(PinNameError::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(PinNameError::ControlCharacter);
        }
        Ok(Self(text.to_owned()))
    }
}

impl Display for PinName {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pin {
    /// Whether both keep the same blocks.
    pub(super) fn keeps_as(&self, other: &Self) -> bool {
        (self.cid, self.kind) == (other.cid, other.kind)
    }
}

/// A pin that is not made yet, and the blocks that it is to keep, which were all read and checked.
#[derive(Debug)]
pub struct CheckedPin {
    pub(super) pin: Pin,
    pub(super) cids: Vec<Cid>,
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
        private_file::replace(&path, pin.name.as_str().as_bytes()).map_err(at(&path))?;
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
        private_file::remove(&path).map_err(at(&path))
    }
}

/// All pins of a store, each once, in order of their CIDs' text. Another process may change them meanwhile: it writes a
/// pin's new kind before it removes the old one, so a second look at one directory finds what has left the other.
pub(super) fn all(store: &Path) -> Result<Vec<Pin>, ContentError> {
    let mut pins = BTreeMap::new();
    for kind in [PinKind::Direct, PinKind::Recursive, PinKind::Direct] {
        for path in blocks::files_in(&dir(store).join(kind.to_string()))? {
            let text = path.file_name().unwrap_or_default().to_string_lossy();
            let Ok(cid) = text.parse::<Cid>() else { continue };
            // One that a kill left with both kinds is recursive.
            if kind == PinKind::Direct && pins.contains_key(&*text) {
                continue;
            }
            if let Some(name) = blocks::read(&path)? {
                let name = PinName::fitting(&String::from_utf8_lossy(&name));
                pins.insert(text.into_owned(), Pin { cid, kind, name });
            }
        }
    }
    Ok(pins.into_values().collect())
}

/// Directory of the pins in a store.
fn dir(store: &Path) -> PathBuf {
    store.join("pins")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::{Codec, HashFunction};

    fn cid() -> Cid {
        Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"content").unwrap()
    }

    #[test]
    fn a_pin_is_listed_while_its_kind_changes() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::open(dir.path()).unwrap();
        let pin = |kind| Pin { cid: cid(), kind, name: PinName::default() };
        pins.add(&pin(PinKind::Direct)).unwrap();
        // One change at a time, since two could hide it from any number of looks.
        for kind in [PinKind::Recursive, PinKind::Direct].repeat(50) {
            std::thread::scope(|scope| {
                let change = scope.spawn(|| pins.add(&pin(kind)).unwrap());
                while !change.is_finished() {
                    assert_eq!(all(dir.path()).unwrap().len(), 1);
                }
            });
            assert_eq!(all(dir.path()).unwrap(), [pin(kind)]);
        }
    }

    #[test]
    fn a_name_is_short_and_printable() {
        let longest = "é".repeat(127) + "e";
        for name in ["", "holiday pictures", &longest] {
            assert_eq!(name.parse(), Ok(PinName::fitting(name)));
        }
        for (text, error, fitting) in [
            (format!("{longest}e"), PinNameError::TooLong(256), &*longest),
            ("é".repeat(128), PinNameError::TooLong(256), &longest[..254]),
            ("red\u{1b}[31m".to_owned(), PinNameError::ControlCharacter, "red[31m"),
            ("two\nlines".to_owned(), PinNameError::ControlCharacter, "twolines"),
        ] {
            assert_eq!(text.parse::<PinName>(), Err(error));
            assert_eq!(PinName::fitting(&text).as_str(), fitting);
        }
    }

    #[test]
    fn a_pin_that_was_left_with_both_kinds_is_recursive() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::open(dir.path()).unwrap();
        let pin = Pin { cid: cid(), kind: PinKind::Recursive, name: "it".parse().unwrap() };
        for kind in [PinKind::Recursive, PinKind::Direct] {
            fs::write(pins.path(&pin.cid, kind), "it").unwrap();
        }
        assert_eq!(all(dir.path()).unwrap(), [pin]);
    }
}
