//! The cryptography of sessions: the library's, with DTLS set up once for all of them and without keys for media.
//!
//! The library makes DTLS settings for each session, and tests all cryptography that they name each time: 6 ms of processor time,
//! most of it a key exchange over P-384. Here they are made once, and name what browsers and other implementations choose
//! (`primitives`). The tests are run then. Nor do sessions here, which have a data channel and nothing else, take keys for media from
//! the handshake, for which the library would make ciphers of 13 kB.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use dimpl::{Config, Dtls};
use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion};
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion};

use super::certificate::CertificateError;
use super::primitives::PRIMITIVES;

/// The cryptography of sessions.
///
/// # Errors
/// [`CertificateError::Unusable`] if it fails its tests: then no session may be made, for the library panics.
pub(super) fn provider() -> Result<CryptoProvider, CertificateError> {
    DataOnly::config().map_err(|error| CertificateError::Unusable(error.to_string()))?;
    Ok(CryptoProvider { dtls_provider: &DataOnly, ..str0m::crypto::from_feature_flags() })
}

#[derive(Debug)]
struct DataOnly;

impl DataOnly {
    /// The settings; an error's text if the cryptography fails its tests.
    fn config() -> Result<Arc<Config>, CryptoError> {
        static CONFIG: OnceLock<Result<Arc<Config>, String>> = OnceLock::new();
        let made = CONFIG.get_or_init(|| {
            // A source has answered a check before it gets a session (`door`), so it need not return a cookie.
            let config = Config::builder().use_server_cookie(false).mtu(str0m::DATAGRAM_MTU_TARGET);
            config.with_crypto_provider(PRIMITIVES).build().map(Arc::new).map_err(|error| error.to_string())
        });
        made.clone().map_err(CryptoError::Other)
    }
}

impl DtlsProvider for DataOnly {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        _: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let (config, certificate) = (Self::config()?, certificate.clone());
        let dtls = match version {
            DtlsVersion::Dtls12 => Dtls::new_12(config, certificate, now),
            DtlsVersion::Dtls13 => Dtls::new_13(config, certificate, now),
            // Whichever version the other side begins with.
            _ => Dtls::new_auto(config, certificate, now),
        };
        Ok(Box::new(WithoutMediaKeys(dtls)))
    }
}

struct WithoutMediaKeys(Dtls);

impl std::fmt::Debug for WithoutMediaKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WithoutMediaKeys").finish_non_exhaustive()
    }
}

impl DtlsInstance for WithoutMediaKeys {
    /// The keys for media come after the other side's certificate was given out. In their place comes the wish to be asked again.
    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        match self.0.poll_output(buffer) {
            DtlsOutput::KeyingMaterial(..) => DtlsOutput::Timeout(Instant::now()),
            other => other,
        }
    }

    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<(), DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cryptography_passes_the_tests_of_dtls() {
        assert!(provider().is_ok(), "{:?}", provider().err());
    }
}
