//! The wallet's file: JSON, mode 0600, the secret in plain or under a passphrase.
//!
//! [`sealed`] encrypts it; what a passphrase costs to try stands in the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::mnemonic::Mnemonic;
use super::sealed::{self, Costs, Unopened};
use crate::primitives::keys::PublicKey;
use crate::storage::private_file::{self, OpenError};

const FORMAT: &str = "cairn-wallet";
const VERSION: u32 = 1;
/// Most bytes of a file that are read: some 100,000 addresses.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// More bytes than the JSON around the keys takes.
const FIXED_BYTES: usize = 1024;
/// More bytes than the JSON of a key takes: 64 digits, quotes, comma, indentation.
const KEY_BYTES: usize = 80;

/// Why a wallet's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum KeyFileError {
    /// There is a file already.
    #[error("{} exists already: wallets are never overwritten. Choose another file", path.display())]
    Exists { path: PathBuf },
    /// There is no file at `path`.
    #[error("there is no wallet at {}: make one with `cairn wallet new`", path.display())]
    Missing { path: PathBuf },
    /// The disk, or permissions.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Other users may read or write it.
    #[error(
        "the wallet {file} has mode {mode:03o}, expected 600: others on this machine may have its keys. \
         `chmod 600 {file}` keeps them out", file = path.display()
    )]
    TooOpen { path: PathBuf, mode: u32 },
    /// Not JSON of this shape.
    #[error("{} is not a wallet: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    /// Of a later program.
    #[error("{} has version {got}, this program reads version {supported}", path.display())]
    Version { path: PathBuf, got: u32, supported: u32 },
    /// Encrypted, and no passphrase was given.
    #[error("{} is encrypted: a passphrase is needed", path.display())]
    PassphraseNeeded { path: PathBuf },
    /// Without keys: only addresses that are watched.
    #[error(
        "{} watches addresses and has no keys: use the wallet that has them; for a payment, `cairn wallet prepare` makes a \
         file that that wallet can sign",
        path.display()
    )]
    WatchOnly { path: PathBuf },
    /// With keys, so that addresses of others do not belong there.
    #[error("{} has keys of its own: watch addresses with another --wallet", path.display())]
    HasKeys { path: PathBuf },
    /// The passphrase does not open it, or the sealed bytes were changed.
    #[error("the passphrase does not open {}", path.display())]
    WrongPassphrase { path: PathBuf },
    /// A key that does not come from the secret.
    #[error("{}: key number {index} does not come from the wallet's secret; the file was changed", path.display())]
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
    /// No secret: the addresses are only watched.
    None,
    Plain {
        /// What the words stand for.
        #[serde(with = "hex_secret")]
        entropy: Zeroizing<Vec<u8>>,
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
            Self::None => "None",
            Self::Plain { .. } => "Plain",
            Self::Encrypted { .. } => "Encrypted",
        })
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
                let ciphertext = sealed::seal(argon2id, (&salt, &nonce), passphrase.as_bytes(), &entropy)
                    .expect("the recommended costs are in bounds");
                Sealed::Encrypted { argon2id, salt, nonce, ciphertext }
            }
        };
        Self { format: FORMAT.to_owned(), version: VERSION, keys, secret }
    }

    /// A new file of keys that are only watched.
    pub fn watching(keys: Vec<PublicKey>) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, keys, secret: Sealed::None }
    }

    /// The same with other keys handed out.
    pub fn with_keys(&self, keys: Vec<PublicKey>) -> Self {
        Self { keys, ..self.clone() }
    }

    /// Keys handed out, oldest first.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Whether a passphrase is needed.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.secret, Sealed::Encrypted { .. })
    }

    /// Whether it has no secret.
    pub fn is_watch_only(&self) -> bool {
        matches!(self.secret, Sealed::None)
    }

    /// The secret. `path` is for messages.
    ///
    /// # Errors
    /// [`KeyFileError::WatchOnly`], [`KeyFileError::PassphraseNeeded`], [`KeyFileError::WrongPassphrase`],
    /// [`KeyFileError::Malformed`].
    pub fn decrypt(&self, path: &Path, passphrase: Option<&str>) -> Result<Mnemonic, KeyFileError> {
        let path = || path.to_owned();
        let malformed = |reason: &str| KeyFileError::Malformed { path: path(), reason: reason.to_owned() };
        let entropy = match &self.secret {
            Sealed::None => return Err(KeyFileError::WatchOnly { path: path() }),
            Sealed::Plain { entropy } => entropy.clone(),
            Sealed::Encrypted { argon2id, salt, nonce, ciphertext } => {
                let passphrase = passphrase.ok_or_else(|| KeyFileError::PassphraseNeeded { path: path() })?;
                sealed::open(*argon2id, (salt, nonce), passphrase.as_bytes(), ciphertext).map_err(|why| match why {
                    Unopened::Costs => malformed("argon2id's costs are out of bounds"),
                    Unopened::Passphrase => KeyFileError::WrongPassphrase { path: path() },
                })?
            }
        };
        Mnemonic::from_entropy(&entropy).ok_or_else(|| malformed("its secret is not 16 or 32 bytes"))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let path = || path.to_owned();
        let malformed = |reason: String| KeyFileError::Malformed { path: path(), reason };
        let text = Self::read_text(&path()).map_err(|error| match error {
            OpenError::TooOpen { mode } => KeyFileError::TooOpen { path: path(), mode },
            OpenError::Io(error) if error.kind() == io::ErrorKind::NotFound => KeyFileError::Missing { path: path() },
            OpenError::Io(source) => KeyFileError::Io { action: "read", path: path(), source },
        })?;
        let file: Self = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
        if file.format != FORMAT {
            return Err(malformed(format!("its format is {:?}, expected {FORMAT:?}", file.format)));
        }
        if file.version != VERSION {
            return Err(KeyFileError::Version { path: path(), got: file.version, supported: VERSION });
        }
        if file.keys.is_empty() {
            return Err(malformed("it has no keys".to_owned()));
        }
        Ok(file)
    }

    fn read_text(path: &Path) -> Result<Zeroizing<String>, OpenError> {
        let mut file = private_file::open(path)?.take(MAX_FILE_BYTES);
        // Allocated at full size: a growing buffer would leave copies of the secret in freed memory.
        let bytes = file.get_ref().metadata()?.len().min(MAX_FILE_BYTES);
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(bytes).unwrap_or(0) + 1));
        file.read_to_string(&mut text)?;
        Ok(text)
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
        // Allocated at full size, as when reading.
        let mut text = Zeroizing::new(Vec::with_capacity(FIXED_BYTES + self.keys.len() * KEY_BYTES));
        serde_json::to_writer_pretty(&mut *text, self).expect("strings and numbers always serialize");
        text.push(b'\n');
        put(path, &text).map_err(error)
    }

    /// Waits for the lock of all writers of the file; dropping the returned value releases it. Creates the directory if
    /// needed.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn lock(path: &Path) -> Result<File, KeyFileError> {
        let dir = path.parent().map_or(Ok(()), private_file::create_dir);
        let locked = dir.and_then(|()| private_file::lock(path));
        locked.map_err(|source| KeyFileError::Io { action: "lock", path: path.to_owned(), source })
    }
}

mod hex_secret {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use zeroize::Zeroizing;

    pub fn serialize<S: Serializer>(secret: &Zeroizing<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        Zeroizing::new(hex::encode(&**secret)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        hex::decode(&*text).map(Zeroizing::new).map_err(de::Error::custom)
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
        assert_eq!(*locked.decrypt(path, Some("right")).unwrap().entropy(), [9; 32]);
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
        let path = dir.path().join("wallet.json");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        file(None).create(&path).unwrap();
        assert_eq!(mode(), 0o600);
        file(None).replace(&path).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_or_write_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        file(None).create(&path).unwrap();
        let read_with = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            KeyFile::read(&path)
        };
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666] {
            let error = read_with(mode).unwrap_err();
            assert!(matches!(error, KeyFileError::TooOpen { mode: got, .. } if got == mode), "{mode:o}: {error}");
            let text = error.to_string();
            assert!(text.contains(&format!("mode {mode:o}, expected 600")), "{text}");
            assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
        }
        for mode in [0o600, 0o400] {
            assert!(read_with(mode).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        assert!(matches!(KeyFile::read(&path), Err(KeyFileError::Missing { .. })));
        let text = serde_json::to_string(&file(None)).unwrap();
        let read = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            private_file::replace(&path, text.replace(from, to).as_bytes()).unwrap();
            KeyFile::read(&path)
        };
        assert!(read("", "").is_ok());
        assert!(matches!(read("\"version\":1", "\"version\":2"), Err(KeyFileError::Version { got: 2, .. })));
        assert!(matches!(read("cairn-wallet", "tar"), Err(KeyFileError::Malformed { .. })));
        assert!(matches!(read("\"keys\"", "\"locks\""), Err(KeyFileError::Malformed { .. })));
        assert!(matches!(read("{", "["), Err(KeyFileError::Malformed { .. })));
    }
}
