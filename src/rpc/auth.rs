//! Who may call: HTTP Basic against a cookie file that only this machine's user can read, or a user and password.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The user name in a cookie.
pub const COOKIE_USER: &str = "__cookie__";
/// Name of the cookie file in the data directory.
pub const COOKIE_FILE: &str = ".cookie";
/// Name of the file in the data directory that holds the URL the server is bound to.
pub const ADDRESS_FILE: &str = ".rpc-address";

/// The credentials accepted. Digests are kept and compared, so that neither content nor length shows in the time that
/// a comparison takes.
#[derive(Clone, Default)]
pub struct Credentials {
    digests: Vec<[u8; 32]>,
}

impl Credentials {
    /// Accepts `user:password` from now on.
    pub fn accept(&mut self, user_and_password: &str) {
        self.digests.push(Sha256::digest(user_and_password).into());
    }

    /// Whether an `Authorization` header's value holds accepted credentials.
    pub fn allow(&self, authorization: &str) -> bool {
        // RFC 7235: the scheme's name is case-insensitive.
        let Some((scheme, encoded)) = authorization.trim().split_once(' ') else { return false };
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(given) = STANDARD.decode(encoded.trim()) else { return false };
        let given: [u8; 32] = Sha256::digest(given).into();
        let equal = self.digests.iter().fold(subtle::Choice::from(0), |any, digest| any | digest.ct_eq(&given));
        equal.into()
    }
}

/// The value of an `Authorization` header with `user:password`.
pub fn basic(user_and_password: &str) -> String {
    format!("Basic {}", STANDARD.encode(user_and_password))
}

/// A file that exists as long as this value: written whole under its name, for this user's eyes only, and removed at
/// the end unless another process has put its own there.
#[derive(Debug)]
pub struct RuntimeFile {
    path: PathBuf,
    content: String,
}

impl RuntimeFile {
    /// Writes `content` to `path`, with mode 0600: to a neighbouring file first, so that nobody reads half of it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(path: PathBuf, content: String) -> io::Result<Self> {
        let mut draft = path.clone().into_os_string();
        draft.push(".tmp");
        let draft = PathBuf::from(draft);
        remove_if_there(&draft)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&draft)?.write_all(content.as_bytes())?;
        fs::rename(&draft, &path)?;
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

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
