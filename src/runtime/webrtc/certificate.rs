//! The certificate by whose hash browsers know a node, and its file.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use str0m::config::{CryptoProvider, DtlsCert};

use super::primitives::is_pair;
use crate::storage::private_file::{self, OpenError};

/// Name of the file in the data directory: the certificate's length (u16, little-endian), the certificate and its private
/// key, both in DER, and the SHA-256 of all before.
pub const CERTIFICATE_FILE: &str = "webrtc.key";
/// Most bytes of the file: one that is made here has about 600.
const MAX_FILE: u64 = 16 << 10;

/// Why a node has no certificate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum CertificateError {
    /// The file cannot be read.
    #[error("cannot read the certificate for browsers {}: {source}", path.display())]
    Read {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There was no file, and none can be made.
    #[error("cannot write the certificate for browsers {}: {source}", path.display())]
    Write {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It holds something else.
    #[error(
        "{} is not a certificate with its key. If the file is removed, the node makes new ones, and addresses that browsers \
         know it by no longer lead to it", path.display()
    )]
    Invalid { path: PathBuf },
    /// Others than its owner may read or write it.
    #[error(
        "the certificate's key {file} has mode {mode:03o}, expected 600: other users of this machine may have read it. \
         `chmod 600 {file}` keeps them out", file = path.display()
    )]
    TooOpen { path: PathBuf, mode: u32 },
    /// The cryptographic library makes none.
    #[error("no certificate for browsers can be made")]
    NotMade,
    /// The cryptographic library fails its own tests.
    #[error("the cryptography of connections with browsers does not work: {0}")]
    Unusable(String),
}

/// A self-signed certificate with its key.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub(super) cert: DtlsCert,
    /// Its SHA-256.
    pub(super) hash: [u8; 32],
}

impl Certificate {
    /// The one kept in a directory; if there is none, a new one is made and kept.
    pub(super) fn open(dir: &Path, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let path = dir.join(CERTIFICATE_FILE);
        match private_file::open(&path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                match file.take(MAX_FILE).read_to_end(&mut bytes) {
                    Ok(_) => Self::decode(&bytes).ok_or(CertificateError::Invalid { path }),
                    Err(source) => Err(CertificateError::Read { path, source }),
                }
            }
            Err(OpenError::TooOpen { mode }) => Err(CertificateError::TooOpen { path, mode }),
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                let Self { cert, hash } = Self::generate(provider)?;
                let length = u16::try_from(cert.certificate.len()).map_err(|_| CertificateError::NotMade)?;
                let mut bytes = [&length.to_le_bytes()[..], &cert.certificate, &cert.private_key].concat();
                bytes.extend(Sha256::digest(&bytes));
                match private_file::create(&path, &bytes) {
                    Ok(()) => Ok(Self { cert, hash }),
                    Err(source) => Err(CertificateError::Write { path, source }),
                }
            }
            Err(OpenError::Io(source)) => Err(CertificateError::Read { path, source }),
        }
    }

    /// A new one, which is kept nowhere.
    pub(super) fn generate(provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let cert = provider.dtls_provider.generate_certificate();
        cert.and_then(Self::of).ok_or(CertificateError::NotMade)
    }

    /// `None` if the key is not the certificate's: at a session's first signature, the library would panic.
    fn of(cert: DtlsCert) -> Option<Self> {
        let hash = Sha256::digest(&cert.certificate).into();
        is_pair(&cert.certificate, &cert.private_key).then_some(Self { cert, hash })
    }

    /// The library trusts what it is given, so a file that was changed must not reach it.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, digest) = bytes.split_last_chunk()?;
        if *digest != <[u8; 32]>::from(Sha256::digest(content)) {
            return None;
        }
        let (length, rest) = content.split_first_chunk()?;
        let (certificate, key) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        Self::of(DtlsCert { certificate: certificate.to_vec(), private_key: key.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_found_again() {
        let (dir, provider) = (tempfile::tempdir().unwrap(), str0m::crypto::from_feature_flags());
        let made = Certificate::open(dir.path(), &provider).unwrap();
        let path = dir.path().join(CERTIFICATE_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Certificate::open(dir.path(), &provider).unwrap().hash, made.hash);

        let bytes = fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        let sealed = |content: Vec<u8>| [&content[..], &Sha256::digest(&content)].concat();
        let length = made.cert.certificate.len();
        let another = Certificate::generate(&provider).unwrap().cert.private_key;
        let with_another_key = sealed([&bytes[..2 + length], &another].concat());
        let without_key = sealed(bytes[..2 + length].to_vec());
        for wrong in [
            &bytes[..0],
            &bytes[..100],
            &bytes[..bytes.len() - 9],
            &bytes[1..],
            &flipped,
            &with_another_key,
            &without_key,
        ] {
            fs::write(&path, wrong).unwrap();
            let error = Certificate::open(dir.path(), &provider).unwrap_err();
            assert!(matches!(error, CertificateError::Invalid { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), wrong, "it is left alone");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Certificate::open(dir.path(), &provider).unwrap_err();
        assert!(matches!(error, CertificateError::TooOpen { mode: 0o644, .. }), "{error}");
    }
}
