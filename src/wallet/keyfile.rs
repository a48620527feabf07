//! The wallet's file: JSON, mode 0600, the secret in plain or under a passphrase.
//!
//! A passphrase becomes a key by Argon2id (RFC 9106), whose costs stand in the file; the secret is sealed with
//! ChaCha20-Poly1305 (RFC 8439), whose tag tells a wrong passphrase.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use argon2::Argon2;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use rand::CryptoRng;
use serde::{Deserialize, Serialize};

use super::mnemonic::Mnemonic;
use crate::primitives::keys::PublicKey;
use crate::storage::private_file;

const FORMAT: &str = "cairn-wallet";
const VERSION: u32 = 1;
/// Sealed along with the secret, so that it means nothing in another kind of file.
const ASSOCIATED_DATA: &[u8] = b"cairn-wallet/1";
/// Most bytes of a file that are read: some 100,000 addresses.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// Most memory that a file may make Argon2 use: 1 GiB.
const MAX_MEMORY_KIB: u32 = 1 << 20;
/// Most passes that a file may make Argon2 take.
const MAX_PASSES: u32 = 64;

/// Why a wallet's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum KeyFileError {
    /// There is a file already.
    #[error("{} exists already: wallets are never overwritten. Choose another file", path.display())]
    Exists { path: PathBuf },
    /// There is none.
    #[error("there is no wallet at {}: make one with `cairn wallet new`", path.display())]
    Missing { path: PathBuf },
    /// The disk, or permissions.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Not JSON of this shape.
    #[error("{} is not a wallet: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    /// Of a later program.
    #[error("{} has version {got}, this program reads version {supported}", path.display())]
    Version { path: PathBuf, got: u32, supported: u32 },
    /// Encrypted, and no passphrase was given.
    #[error("{} is encrypted: a passphrase is needed", path.display())]
    PassphraseNeeded { path: PathBuf },
    /// The passphrase does not open it, or the sealed bytes were changed.
    #[error("the passphrase does not open {}", path.display())]
    WrongPassphrase { path: PathBuf },
    /// A key that does not come from the secret.
    #[error("{}: key number {index} does not come from the wallet's secret; somebody changed the file", path.display())]
    ForeignKey { path: PathBuf, index: u32 },
}

/// What the file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    format: String,
    version: u32,
    /// Keys handed out, oldest first.
    #[serde(with = "hex_keys")]
    keys: Vec<PublicKey>,
    secret: Sealed,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "kind")]
enum Sealed {
    Plain {
        /// What the words stand for.
        #[serde(with = "hex::serde")]
        entropy: Vec<u8>,
    },
    Encrypted {
        argon2id: Costs,
        #[serde(with = "hex::serde")]
        salt: [u8; 16],
        #[serde(with = "hex::serde")]
        nonce: [u8; 12],
        /// The entropy, and ChaCha20-Poly1305's tag.
        #[serde(with = "hex::serde")]
        ciphertext: Vec<u8>,
    },
}

/// The secret is not shown.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain { .. } => "Plain",
            Self::Encrypted { .. } => "Encrypted",
        })
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Costs {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Costs {
    /// RFC 9106's second recommendation, for machines where 2 GiB is too much: half a second on a laptop.
    const RECOMMENDED: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };

    /// The key of a passphrase; `None` if the costs are out of bounds.
    fn key(self, passphrase: &str, salt: &[u8; 16]) -> Option<[u8; 32]> {
        if self.memory_kib > MAX_MEMORY_KIB || self.passes > MAX_PASSES || self.lanes > 64 {
            return None;
        }
        let params = argon2::Params::new(self.memory_kib, self.passes, self.lanes, None).ok()?;
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let mut key = [0; 32];
        argon2.hash_password_into(passphrase.as_bytes(), salt, &mut key).ok()?;
        Some(key)
    }
}

impl KeyFile {
    /// A new file's content.
    pub fn new<R: CryptoRng>(mnemonic: &Mnemonic, passphrase: Option<&str>, keys: Vec<PublicKey>, rng: &mut R) -> Self {
        let entropy = mnemonic.entropy();
        let secret = match passphrase {
            None => Sealed::Plain { entropy },
            Some(passphrase) => {
                let (mut salt, mut nonce) = ([0; 16], [0; 12]);
                rng.fill_bytes(&mut salt);
                rng.fill_bytes(&mut nonce);
                let argon2id = Costs::RECOMMENDED;
                let key = argon2id.key(passphrase, &salt).expect("the recommended costs are in bounds");
                let payload = Payload { msg: &entropy, aad: ASSOCIATED_DATA };
                let ciphertext = ChaCha20Poly1305::new(&key.into())
                    .encrypt(&Nonce::from(nonce), payload)
                    .expect("32 bytes are far below the cipher's limit");
                Sealed::Encrypted { argon2id, salt, nonce, ciphertext }
            }
        };
        Self { format: FORMAT.to_owned(), version: VERSION, keys, secret }
    }

    /// The same with one more key.
    pub fn with_key(&self, key: PublicKey) -> Self {
        let mut longer = self.clone();
        longer.keys.push(key);
        longer
    }

    /// Keys handed out, oldest first.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Whether a passphrase is needed.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.secret, Sealed::Encrypted { .. })
    }

    /// The secret. `path` is for messages.
    ///
    /// # Errors
    /// [`KeyFileError::PassphraseNeeded`], [`KeyFileError::WrongPassphrase`], [`KeyFileError::Malformed`].
    pub fn decrypt(&self, path: &Path, passphrase: Option<&str>) -> Result<Mnemonic, KeyFileError> {
        let path = || path.to_owned();
        let malformed = |reason: &str| KeyFileError::Malformed { path: path(), reason: reason.to_owned() };
        let entropy = match &self.secret {
            Sealed::Plain { entropy } => entropy.clone(),
            Sealed::Encrypted { argon2id, salt, nonce, ciphertext } => {
                let passphrase = passphrase.ok_or_else(|| KeyFileError::PassphraseNeeded { path: path() })?;
                let key =
                    argon2id.key(passphrase, salt).ok_or_else(|| malformed("argon2id's costs are out of bounds"))?;
                ChaCha20Poly1305::new(&key.into())
                    .decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad: ASSOCIATED_DATA })
                    .map_err(|_| KeyFileError::WrongPassphrase { path: path() })?
            }
        };
        Mnemonic::from_entropy(&entropy).ok_or_else(|| malformed("its secret is not 16 or 32 bytes"))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyFileError::Missing { path: path.to_owned() },
            _ => KeyFileError::Io { action: "read", path: path.to_owned(), source },
        };
        let malformed = |reason: String| KeyFileError::Malformed { path: path.to_owned(), reason };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text)).map_err(io)?;
        let file: Self = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
        if file.format != FORMAT {
            return Err(malformed(format!("its format is {:?}, expected {FORMAT:?}", file.format)));
        }
        if file.version != VERSION {
            return Err(KeyFileError::Version { path: path.to_owned(), got: file.version, supported: VERSION });
        }
        if file.keys.is_empty() {
            return Err(malformed("it has no keys".to_owned()));
        }
        Ok(file)
    }

    /// Writes a new file; an existing one is left alone. A crash leaves the whole file or none.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], [`KeyFileError::Io`].
    pub fn create(&self, path: &Path) -> Result<(), KeyFileError> {
        self.write(path, private_file::create)
    }

    /// Replaces the file. A crash leaves the old one or the new one.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn replace(&self, path: &Path) -> Result<(), KeyFileError> {
        self.write(path, private_file::replace)
    }

    fn write(&self, path: &Path, put: impl FnOnce(&Path, &[u8]) -> io::Result<()>) -> Result<(), KeyFileError> {
        let error = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
            _ => KeyFileError::Io { action: "write", path: path.to_owned(), source },
        };
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers always serialize");
        text.push('\n');
        if let Some(dir) = path.parent() {
            private_file::create_dir(dir).map_err(error)?;
        }
        put(path, text.as_bytes()).map_err(error)
    }
}

mod hex_keys {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::PublicKey;

    pub fn serialize<S: Serializer>(keys: &[PublicKey], serializer: S) -> Result<S::Ok, S::Error> {
        keys.iter().map(|key| hex::encode(key.0)).collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PublicKey>, D::Error> {
        let key = |text: String| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(&text, &mut bytes).map_err(|e| de::Error::custom(format!("key {text:?}: {e}")))?;
            Ok(PublicKey(bytes))
        };
        Vec::<String>::deserialize(deserializer)?.into_iter().map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(passphrase: Option<&str>) -> KeyFile {
        let mnemonic = Mnemonic::from_entropy(&[9; 32]).unwrap();
        KeyFile::new(&mnemonic, passphrase, vec![mnemonic.account().key(0).public_key()], &mut rand::rng())
    }

    #[test]
    fn a_passphrase_opens_what_it_closed_and_nothing_else() {
        let path = Path::new("wallet.json");
        let locked = file(Some("right"));
        let text = serde_json::to_string(&locked).unwrap();
        assert!(!text.contains(&"09".repeat(16)), "the secret is not in the file");
        assert_eq!(locked.decrypt(path, Some("right")).unwrap().entropy(), [9; 32]);
        assert!(matches!(locked.decrypt(path, Some("wrong")), Err(KeyFileError::WrongPassphrase { .. })));
        assert!(matches!(locked.decrypt(path, None), Err(KeyFileError::PassphraseNeeded { .. })));

        let greedy: KeyFile =
            serde_json::from_str(&text.replace("\"memory_kib\":65536", "\"memory_kib\":4000000000")).unwrap();
        assert!(matches!(greedy.decrypt(path, Some("right")), Err(KeyFileError::Malformed { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/wallet.json");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        file(None).create(&path).unwrap();
        assert_eq!(mode(), 0o600);
        file(None).replace(&path).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn other_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        assert!(matches!(KeyFile::read(&path), Err(KeyFileError::Missing { .. })));
        let text = serde_json::to_string(&file(None)).unwrap();
        let read = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            fs::write(&path, text.replace(from, to)).unwrap();
            KeyFile::read(&path)
        };
        assert!(read("", "").is_ok());
        assert!(matches!(read("\"version\":1", "\"version\":2"), Err(KeyFileError::Version { got: 2, .. })));
        assert!(matches!(read("cairn-wallet", "tar"), Err(KeyFileError::Malformed { .. })));
        assert!(matches!(read("\"keys\"", "\"locks\""), Err(KeyFileError::Malformed { .. })));
        assert!(matches!(read("{", "["), Err(KeyFileError::Malformed { .. })));
    }
}
