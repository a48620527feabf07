//! The static key, from which a node's id follows.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use snow::params::DHChoice;
use snow::resolvers::CryptoResolver;

use super::Strict;
use crate::p2p::kad::NodeId;
use crate::storage::private_file::{self, OpenError};

/// Name of the key's file in the data directory: the 32 bytes of the X25519 secret key and nothing else.
pub const KEY_FILE: &str = "node.key";

/// Bytes of a key, secret or public.
const KEY_BYTES: usize = 32;

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
        "{} is no node's key: it has {got} bytes, expected {KEY_BYTES}. Without it the node gets a new key, and with it \
         another id", path.display()
    )]
    Length {
        path: PathBuf,
        /// Its bytes; one more than a key's stands for any number more.
        got: usize,
    },
    /// Others than its owner may read or write it.
    #[error(
        "the node's key {file} has mode {mode:03o}, expected 600: others on this machine may have it. \
         `chmod 600 {file}` keeps them out", file = path.display()
    )]
    TooOpen { path: PathBuf, mode: u32 },
}

/// A static key pair; the node's id is the hash of the public key.
#[derive(Clone)]
pub struct Identity {
    secret: [u8; KEY_BYTES],
    id: NodeId,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new random key pair.
    pub fn random() -> Self {
        Self::from_secret(rand::random())
    }

    /// That of a secret key; any 32 bytes are one.
    pub fn from_secret(secret: [u8; KEY_BYTES]) -> Self {
        let mut dh = Strict.resolve_dh(&DHChoice::Curve25519).expect("X25519 is compiled in");
        dh.set(&secret);
        Self { secret, id: id_of(dh.pubkey()) }
    }

    /// The one kept in a directory as [`KEY_FILE`]; if there is none, a new one is made and kept.
    ///
    /// # Errors
    /// [`IdentityError`], whose text is meant for the person who started the node.
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(KEY_FILE);
        match private_file::open(&path) {
            Ok(file) => Self::read(file, path),
            Err(OpenError::TooOpen { mode }) => Err(IdentityError::TooOpen { path, mode }),
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self::random();
                match private_file::create(&path, &made.secret) {
                    Ok(()) => Ok(made),
                    Err(source) => Err(IdentityError::Write { path, source }),
                }
            }
            Err(OpenError::Io(source)) => Err(IdentityError::Read { path, source }),
        }
    }

    fn read(file: File, path: PathBuf) -> Result<Self, IdentityError> {
        let mut bytes = Vec::new();
        if let Err(source) = file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes) {
            return Err(IdentityError::Read { path, source });
        }
        let got = bytes.len();
        bytes.try_into().map(Self::from_secret).map_err(|_| IdentityError::Length { path, got })
    }

    /// The id under which other nodes know this one.
    pub fn id(&self) -> NodeId {
        self.id
    }

    pub(super) fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }
}

/// The id of a static public key: its SHA-256.
pub(super) fn id_of(public: &[u8]) -> NodeId {
    NodeId(Sha256::digest(public).into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// The keys are Bob's of RFC 7748, section 6.1.
    #[test]
    fn an_id_is_the_hash_of_the_public_key() {
        let bytes = |digits: &str| <[u8; 32]>::try_from(hex::decode(digits).unwrap()).unwrap();
        let secret = bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let public = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let id = "f35e5616160a30bf3c6e79fa73c576d40205e8fc3ba4e1c6dcf93e6b98e857b4";
        assert_eq!(Identity::from_secret(secret).id(), id_of(&public));
        assert_eq!(id_of(&public).to_string(), id);
    }

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let made = Identity::open(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), made.secret);
        assert_eq!(Identity::open(dir.path()).unwrap().id(), made.id());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert_ne!(Identity::random().id(), made.id());
        assert!(!format!("{made:?}").contains(&hex::encode(made.secret)));
    }

    #[test]
    fn a_file_that_is_no_key_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        for length in [0, 31, 33, 5_000] {
            fs::write(&path, vec![7; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = Identity::open(dir.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Length { got, .. } if got == length.min(33)), "{error}");
            assert_eq!(fs::read(&path).unwrap().len(), length);
        }
        fs::write(&path, [7; 32]).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Identity::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("has mode {mode:o}, expected 600")), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(Identity::open(dir.path()).is_ok(), "a file that even its owner cannot change will do");

        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(Identity::open(dir.path()), Err(IdentityError::Read { .. })));
        fs::remove_dir(&path).unwrap();
        // There is a name already, though nothing behind it: it is not replaced.
        symlink(dir.path().join("nowhere"), &path).unwrap();
        assert!(matches!(Identity::open(dir.path()), Err(IdentityError::Write { .. })));
    }
}
