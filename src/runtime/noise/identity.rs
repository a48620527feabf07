//! The file of a node's static key.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::p2p::noise::{Identity, KEY_BYTES};
use crate::storage::private_file::{self, OpenError};

/// Name of the key's file in the data directory: the 32 bytes of the X25519 secret key and nothing else.
pub const KEY_FILE: &str = "node.key";

/// Why a node has no key.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum IdentityError {
    /// The file cannot be read.
    #[error("cannot read the node's key {}: {source}", path.display())]
    Read {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There was no file, and none can be made.
    #[error("cannot write the node's key {}: {source}", path.display())]
    Write {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It holds something else.
    #[error(
        "{} is not a node's key: it has {got} bytes, expected {KEY_BYTES}. If the file is removed, the node makes a new \
         key, and has a new id", path.display()
    )]
    Length {
        path: PathBuf,
        /// Its bytes; one more than a key's stands for any number more.
        got: usize,
    },
    /// Others than its owner may read or write it.
    #[error(
        "the node's key {file} has mode {mode:03o}, expected 600: other users of this machine may have read it. \
         `chmod 600 {file}` keeps them out", file = path.display()
    )]
    TooOpen { path: PathBuf, mode: u32 },
}

/// The key kept in a directory as [`KEY_FILE`]; if there is none, a new one is made and kept.
///
/// # Errors
/// [`IdentityError`], whose text is meant for the person who started the node.
pub fn open_identity(dir: &Path) -> Result<Identity, IdentityError> {
    let path = dir.join(KEY_FILE);
    match private_file::open(&path) {
        Ok(file) => read(file, path),
        Err(OpenError::TooOpen { mode }) => Err(IdentityError::TooOpen { path, mode }),
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            let secret: [u8; KEY_BYTES] = rand::random();
            match private_file::create(&path, &secret) {
                Ok(()) => Ok(Identity::from_secret(secret)),
                Err(source) => Err(IdentityError::Write { path, source }),
            }
        }
        Err(OpenError::Io(source)) => Err(IdentityError::Read { path, source }),
    }
}

fn read(file: File, path: PathBuf) -> Result<Identity, IdentityError> {
    let mut bytes = Vec::new();
    if let Err(source) = file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes) {
        return Err(IdentityError::Read { path, source });
    }
    let got = bytes.len();
    bytes.try_into().map(Identity::from_secret).map_err(|_| IdentityError::Length { path, got })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let made = open_identity(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = fs::read(&path).unwrap();
        assert_eq!(Identity::from_secret(secret[..].try_into().unwrap()).id(), made.id());
        assert_eq!(open_identity(dir.path()).unwrap().id(), made.id());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(open_identity(other.path()).unwrap().id(), made.id());
        assert!(!format!("{made:?}").contains(&hex::encode(secret)));
    }

    #[test]
    fn a_file_that_is_no_key_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        for length in [0, 31, 33, 5_000] {
            fs::write(&path, vec![7; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = open_identity(dir.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Length { got, .. } if got == length.min(33)), "{error}");
            assert_eq!(fs::read(&path).unwrap().len(), length);
        }
        fs::write(&path, [7; 32]).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = open_identity(dir.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("has mode {mode:o}, expected 600")), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(open_identity(dir.path()).is_ok(), "a file that even its owner cannot change will do");

        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(open_identity(dir.path()), Err(IdentityError::Read { .. })));
        fs::remove_dir(&path).unwrap();
        // There is a name already, though nothing behind it: it is not replaced.
        symlink(dir.path().join("nowhere"), &path).unwrap();
        assert!(matches!(open_identity(dir.path()), Err(IdentityError::Write { .. })));
    }
}
