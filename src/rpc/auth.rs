//! Who may call: HTTP Basic against a cookie file that only this machine's user can read, or a user and password.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::storage::private_file;

/// The user name in a cookie.
pub const COOKIE_USER: &str = "__cookie__";
/// Name of the cookie file in the data directory.
pub const COOKIE_FILE: &str = ".cookie";
/// Name of the file in the data directory that holds the URL the server is bound to.
pub const ADDRESS_FILE: &str = ".rpc-address";

/// A user whose password is known only by its HMAC: Bitcoin Core's `rpcauth`, as its `rpcauth.py` writes it, so that no
/// file and no process list holds the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcAuth {
    user: String,
    /// The key of the HMAC: the salt's text, not the bytes that it may stand for.
    salt: String,
    /// HMAC-SHA-256 of the password.
    hash: [u8; 32],
}

/// Text that is no [`RpcAuth`]. The text is not shown, since it may be a password given by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected USER:SALT$HASH, where HASH is 64 hex digits, as Bitcoin Core's rpcauth.py writes it")]
pub struct RpcAuthError;

impl FromStr for RpcAuth {
    type Err = RpcAuthError;

    fn from_str(text: &str) -> Result<Self, RpcAuthError> {
        let (user, rest) = text.split_once(':').ok_or(RpcAuthError)?;
        let (salt, digits) = rest.split_once('$').ok_or(RpcAuthError)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| RpcAuthError)?;
        if user.is_empty() || salt.is_empty() {
            return Err(RpcAuthError);
        }
        Ok(Self { user: user.to_owned(), salt: salt.to_owned(), hash })
    }
}

impl RpcAuth {
    /// Whether this is `user` with this password, in constant time.
    fn matches(&self, user: &[u8], password: &[u8]) -> Choice {
        let same_user = Sha256::digest(&self.user).ct_eq(&Sha256::digest(user));
        let mac = Hmac::<Sha256>::new_from_slice(self.salt.as_bytes()).expect("an HMAC takes keys of any length");
        same_user & mac.chain_update(password).finalize().into_bytes().ct_eq(&self.hash)
    }
}

/// The accepted credentials. Digests are stored and compared, so that the time of a comparison reveals neither content
/// nor length.
#[derive(Clone, Default)]
pub struct Credentials {
    digests: Vec<[u8; 32]>,
    salted: Vec<RpcAuth>,
}

impl Credentials {
    /// Accepts `user:password` from now on.
    pub fn accept(&mut self, user_and_password: &str) {
        self.digests.push(Sha256::digest(user_and_password).into());
    }

    /// Accepts that user from now on.
    pub fn accept_salted(&mut self, auth: RpcAuth) {
        self.salted.push(auth);
    }

    /// Whether an `Authorization` header's value holds accepted credentials.
    pub fn allow(&self, authorization: &str) -> bool {
        // RFC 7235: the scheme's name is case-insensitive.
        let Some((scheme, encoded)) = authorization.trim().split_once(' ') else { return false };
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(given) = STANDARD.decode(encoded.trim()) else { return false };
        let digest: [u8; 32] = Sha256::digest(&given).into();
        let mut equal = self.digests.iter().fold(Choice::from(0), |any, known| any | known.ct_eq(&digest));
        if let Some(colon) = given.iter().position(|byte| *byte == b':') {
            let (user, password) = (&given[..colon], &given[colon + 1..]);
            equal |= self.salted.iter().fold(Choice::from(0), |any, auth| any | auth.matches(user, password));
        }
        equal.into()
    }
}

/// The value of an `Authorization` header with `user:password`.
pub fn basic(user_and_password: &str) -> String {
    format!("Basic {}", STANDARD.encode(user_and_password))
}

/// A file that exists as long as this value: written atomically with mode 0600, and removed at the end unless another
/// process has replaced it.
#[derive(Debug)]
pub struct RuntimeFile {
    path: PathBuf,
    content: String,
}

impl RuntimeFile {
    /// Writes `content` to `path` atomically, with mode 0600.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(path: PathBuf, content: String) -> io::Result<Self> {
        private_file::replace(&path, content.as_bytes())?;
        Ok(Self { path, content })
    }
}

impl Drop for RuntimeFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|content| content == self.content) {
            let _ = fs::remove_file(&self.path); // Left behind, it grants nothing: the server is gone.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accepted_credentials_are_allowed() {
        let mut credentials = Credentials::default();
        assert!(!credentials.allow(&basic(":")));
        credentials.accept("ada:secret:with:colons");
        credentials.accept("__cookie__:00ff");
        assert!(credentials.allow(&basic("ada:secret:with:colons")));
        assert!(credentials.allow(&basic("__cookie__:00ff")));
        assert!(credentials.allow(&basic("__cookie__:00ff").replace("Basic", "bAsIc ")));
        for wrong in ["ada:secret", "ada:", "", "__cookie__:00fe"] {
            assert!(!credentials.allow(&basic(wrong)), "{wrong}");
        }
        for wrong in ["", "Basic", "Basic !!!", "Bearer YWRhOnNlY3JldDp3aXRoOmNvbG9ucw=="] {
            assert!(!credentials.allow(wrong), "{wrong}");
        }
    }

    #[test]
    fn salted_passwords_are_those_of_bitcoin_core() {
        // python3 -c 'import hmac; print(hmac.new(SALT.encode(), PASSWORD.encode(), "SHA256").hexdigest())'
        let mut credentials = Credentials::default();
        for (user, salt, password, hash) in [
            (
                "ada",
                "f6a1d3c2b4e5968778695a4b3c2d1e0f",
                "correct horse: battery",
                "bca5470d1e3fd0cf941bd2811f3e3529e48a01cc3237bd294e0e803a5feaf4f2",
            ),
            (
                "bob",
                "00112233445566778899aabbccddeeff",
                "pässwörd",
                "241545e2dec74e4bdf26b44fd2107863b64745807fe199c31083cef503d5a027",
            ),
            ("eve", "salt", "", "379d7f7966f400cb6e3c0b2cca4bf8a2db03b8c81fef8020015b5a3103c30460"),
        ] {
            assert!(!credentials.allow(&basic(&format!("{user}:{password}"))), "{user}");
            credentials.accept_salted(format!("{user}:{salt}${hash}").parse().unwrap());
            assert!(credentials.allow(&basic(&format!("{user}:{password}"))), "{user}");
            assert!(!credentials.allow(&basic(&format!("{user}:{password} "))), "{user}");
        }
        for wrong in ["bob:correct horse: battery", "ada:pässwörd", "ada", "ada:", ""] {
            assert!(!credentials.allow(&basic(wrong)), "{wrong}");
        }
        let digits = "00".repeat(32);
        for wrong in ["", "ada", "ada:salt", ":salt$00", "ada:$00", "ada:salt$00", "ada:salt$zz"] {
            assert_eq!(wrong.parse::<RpcAuth>(), Err(RpcAuthError), "{wrong}");
            assert!(wrong.contains('0') || format!("{wrong}{digits}").parse::<RpcAuth>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_runtime_file_is_private_and_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = RuntimeFile::write(path.clone(), "mine".to_owned()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
        let file = RuntimeFile::write(path.clone(), "mine".to_owned()).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
