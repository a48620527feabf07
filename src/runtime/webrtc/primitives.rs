//! The cryptography of DTLS here, in the form in which `dimpl` takes it: AES-128-GCM, SHA-256, X25519, P-256, and certificates with
//! keys of ECDSA. All implementations of WebRTC have these (RFC 8827, section 6.5; RFC 8446, section 9.1).
//!
//! Ciphers and curves are OpenSSL's, hashes those of the rest of this program. A cipher is set up once for a direction of a
//! session, and takes a nonce for each record. Keys of ECDSA do not pass through OpenSSL's decoders and its generic keys, which
//! take longer than the signatures.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, OnceLock, PoisonError};

use dimpl::crypto::{
    Aad, ActiveKeyExchange, Buf, Cipher, CryptoProvider, Dtls12CipherSuite, Dtls13CipherSuite, HashAlgorithm,
    HashContext, HashProvider, HmacProvider, KeyProvider, NamedGroup, Nonce, SecureRandom, SignatureAlgorithm,
    SignatureVerifier, SigningKey, SupportedDtls12CipherSuite, SupportedDtls13CipherSuite, SupportedKxGroup, TmpBuf,
};
use dimpl::{CryptoError, CryptoOperation};
use hmac::{Hmac, KeyInit, Mac};
use openssl::bn::BigNumContext;
use openssl::cipher::Cipher as Algorithm;
use openssl::cipher_ctx::CipherCtx;
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::x509::X509;
use sha2::{Digest, Sha256, Sha384};

/// Bytes of a key, of a nonce, and of what proves that a record was not changed.
const KEY: usize = 16;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Of the nonce, what each record carries in DTLS 1.2.
const EXPLICIT_NONCE: usize = 8;

/// Everything that a handshake and its records need.
pub(super) const PRIMITIVES: CryptoProvider = CryptoProvider {
    kx_groups: &[&X25519, &P256],
    signature_verification: &Ecdsa,
    key_provider: &Ecdsa,
    secure_random: &System,
    hash_provider: &Hashes,
    hmac_provider: &Hashes,
    cipher_suites: &[&Aes128Gcm],
    dtls13_cipher_suites: &[&Aes128Gcm],
};

/// Whether a certificate verifies what a key signs.
pub(super) fn is_pair(certificate: &[u8], key: &[u8]) -> bool {
    let (data, hash, algorithm) = (b"a pair", HashAlgorithm::SHA256, SignatureAlgorithm::ECDSA);
    let mut signature = Buf::new();
    let signed = Ecdsa.load_private_key(key).and_then(|mut key| key.sign(data, hash, &mut signature));
    signed.and_then(|()| Ecdsa.verify_signature(certificate, data, &signature, hash, algorithm)).is_ok()
}

/// What an error of OpenSSL means here.
fn failed(operation: CryptoOperation) -> impl FnOnce(ErrorStack) -> CryptoError {
    move |_| CryptoError::OperationFailed(operation)
}

#[derive(Debug)]
struct System;

impl SecureRandom for System {
    fn fill(&self, room: &mut [u8]) -> Result<(), CryptoError> {
        openssl::rand::rand_bytes(room).map_err(failed(CryptoOperation::FillRandom))
    }
}

#[derive(Debug)]
struct Aes128Gcm;

impl Aes128Gcm {
    fn cipher(key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        if key.len() != KEY {
            return Err(CryptoError::InvalidAesGcmKeySize { actual: u16::try_from(key.len()).unwrap_or(u16::MAX) });
        }
        let mut context = CipherCtx::new().map_err(failed(CryptoOperation::CreateCipher))?;
        context
            .encrypt_init(Some(Algorithm::aes_128_gcm()), Some(key), None)
            .map_err(failed(CryptoOperation::CreateCipher))?;
        Ok(Box::new(Gcm(AssertUnwindSafe(context))))
    }
}

impl SupportedDtls12CipherSuite for Aes128Gcm {
    fn suite(&self) -> Dtls12CipherSuite {
        Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn key_lengths(&self) -> (usize, usize, usize) {
        (0, KEY, NONCE - EXPLICIT_NONCE)
    }

    fn explicit_nonce_len(&self) -> usize {
        EXPLICIT_NONCE
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        Self::cipher(key)
    }
}

impl SupportedDtls13CipherSuite for Aes128Gcm {
    fn suite(&self) -> Dtls13CipherSuite {
        Dtls13CipherSuite::AES_128_GCM_SHA256
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn key_len(&self) -> usize {
        KEY
    }

    fn iv_len(&self) -> usize {
        NONCE
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        Self::cipher(key)
    }

    /// Without an answer of OpenSSL, which needs memory for it, no mask: the other side then cannot read the record.
    fn encrypt_sn(&self, key: &[u8], sample: &[u8; 16]) -> [u8; 16] {
        let mask = || {
            let (mut context, mut mask) = (CipherCtx::new()?, [0; 32]);
            context.encrypt_init(Some(Algorithm::aes_128_ecb()), Some(key), None)?;
            context.set_padding(false);
            context.cipher_update(sample, Some(&mut mask))?;
            Ok::<_, ErrorStack>(mask)
        };
        let mask = if key.len() == KEY { mask().ok() } else { None };
        mask.and_then(|mask| mask.first_chunk().copied()).unwrap_or_default()
    }
}

/// A key of AES-128-GCM for one direction.
struct Gcm(AssertUnwindSafe<CipherCtx>);

impl std::fmt::Debug for Gcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gcm").finish_non_exhaustive()
    }
}

impl Gcm {
    fn seal(&mut self, plain: &mut Buf, aad: &[u8], nonce: &[u8]) -> Result<(), ErrorStack> {
        let (context, length, mut tag) = (&mut self.0, plain.len(), [0; TAG]);
        context.encrypt_init(None, None, Some(nonce))?;
        context.cipher_update(aad, None)?;
        context.cipher_update_inplace(plain, length)?;
        context.cipher_final(&mut [])?;
        context.tag(&mut tag)?;
        plain.extend_from_slice(&tag);
        Ok(())
    }

    fn open(&mut self, sealed: &mut [u8], tag: &[u8], aad: &[u8], nonce: &[u8]) -> Result<(), ErrorStack> {
        let (context, length) = (&mut self.0, sealed.len());
        context.decrypt_init(None, None, Some(nonce))?;
        context.set_tag(tag)?;
        context.cipher_update(aad, None)?;
        context.cipher_update_inplace(sealed, length)?;
        context.cipher_final(&mut [])?;
        Ok(())
    }
}

impl Cipher for Gcm {
    fn encrypt(&mut self, plain: &mut Buf, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        self.seal(plain, &aad, &nonce).map_err(failed(CryptoOperation::Encrypt))
    }

    fn decrypt(&mut self, sealed: &mut TmpBuf<'_>, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        let Some((body, tag)) = sealed.as_mut().split_last_chunk_mut::<TAG>() else {
            return Err(CryptoError::OperationFailed(CryptoOperation::Decrypt));
        };
        let length = body.len();
        self.open(body, tag, &aad, &nonce).map_err(failed(CryptoOperation::Decrypt))?;
        sealed.truncate(length);
        Ok(())
    }
}

#[derive(Debug)]
struct Hashes;

impl HashProvider for Hashes {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        match algorithm {
            HashAlgorithm::SHA384 => Box::new(Hash(Sha384::new())),
            // No cipher suite here has another.
            _ => Box::new(Hash(Sha256::new())),
        }
    }
}

impl HmacProvider for Hashes {
    fn hmac(&self, hash: HashAlgorithm, key: &[u8], data: &[u8], room: &mut [u8]) -> Result<usize, CryptoError> {
        let wrong = CryptoError::OperationFailed(CryptoOperation::ComputeHmac);
        if hash != HashAlgorithm::SHA256 {
            return Err(CryptoError::UnsupportedHmacHash(hash));
        }
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Err(wrong) };
        mac.update(data);
        let code = mac.finalize().into_bytes();
        room.get_mut(..code.len()).ok_or(wrong)?.copy_from_slice(&code);
        Ok(code.len())
    }
}

#[derive(Debug)]
struct Hash<D>(D);

impl<D: Digest + Clone + dimpl::crypto::CryptoSafe> HashContext for Hash<D> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        out.clear();
        out.extend_from_slice(&self.0.clone().finalize());
    }
}

#[derive(Debug)]
struct X25519;

impl SupportedKxGroup for X25519 {
    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }

    fn start_exchange(&self, buffer: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let start = || {
            let secret = PKey::generate_x25519()?;
            Ok((secret.raw_public_key()?, secret))
        };
        Exchange::begin(NamedGroup::X25519, buffer, start)
    }
}

#[derive(Debug)]
struct P256;

impl P256 {
    /// The curve, made once.
    fn group() -> Result<&'static EcGroup, ErrorStack> {
        static GROUP: OnceLock<EcGroup> = OnceLock::new();
        match GROUP.get() {
            Some(group) => Ok(group),
            None => EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).map(|group| GROUP.get_or_init(|| group)),
        }
    }

    /// A key; an error if it is no uncompressed point of the curve (RFC 8446, section 4.2.8.2).
    fn key(bytes: &[u8]) -> Result<EcKey<Public>, ErrorStack> {
        if bytes.len() != POINT || bytes.first() != Some(&UNCOMPRESSED) {
            return Err(ErrorStack::get());
        }
        let (group, mut context) = (Self::group()?, BigNumContext::new()?);
        EcKey::from_public_key(group, EcPoint::from_bytes(group, bytes, &mut context)?.as_ref())
    }
}

impl SupportedKxGroup for P256 {
    fn name(&self) -> NamedGroup {
        NamedGroup::Secp256r1
    }

    fn start_exchange(&self, buffer: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let start = || {
            let (group, mut context) = (Self::group()?, BigNumContext::new()?);
            let secret = EcKey::generate(group)?;
            let form = PointConversionForm::UNCOMPRESSED;
            Ok((secret.public_key().to_bytes(group, form, &mut context)?, PKey::from_ec_key(secret)?))
        };
        Exchange::begin(NamedGroup::Secp256r1, buffer, start)
    }
}

/// This side's key of one handshake.
struct Exchange {
    group: NamedGroup,
    secret: PKey<Private>,
    public: Buf,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Exchange {
    fn begin(
        group: NamedGroup,
        mut public: Buf,
        start: impl FnOnce() -> Result<(Vec<u8>, PKey<Private>), ErrorStack>,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let (bytes, secret) = start().map_err(failed(CryptoOperation::GenerateEphemeralKey))?;
        public.clear();
        public.extend_from_slice(&bytes);
        Ok(Box::new(Self { group, secret, public }))
    }

    /// The other side's key.
    fn theirs(&self, bytes: &[u8]) -> Result<PKey<Public>, ErrorStack> {
        match self.group {
            NamedGroup::X25519 => PKey::public_key_from_raw_bytes(bytes, Id::X25519),
            _ => PKey::from_ec_key(P256::key(bytes)?),
        }
    }
}

impl ActiveKeyExchange for Exchange {
    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    /// OpenSSL refuses keys of X25519 that lead to zero whatever the secret is (RFC 7748, section 6.1).
    fn complete(self: Box<Self>, theirs: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        let theirs = self.theirs(theirs).map_err(|_| CryptoError::InvalidPublicKey(self.group))?;
        let derive = || {
            let mut deriver = Deriver::new(&self.secret)?;
            deriver.set_peer(&theirs)?;
            deriver.derive_to_vec()
        };
        let shared = derive().map_err(failed(CryptoOperation::CompleteKeyExchange))?;
        out.clear();
        out.extend_from_slice(&shared);
        Ok(())
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}

/// What stands in a certificate before a key of P-256: a sequence of the key's kind, its curve, and the head of a string of bits
/// (RFC 5480, section 2). The key follows, and has 65 bytes.
const BEFORE_KEY: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT: usize = 65;
/// The first byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;

#[derive(Debug)]
struct Ecdsa;

impl Ecdsa {
    /// The key of a certificate. Its hash was named before, so whatever key is found in it, its owner has put there.
    fn key_of(certificate: &[u8]) -> Result<EcKey<Public>, ErrorStack> {
        let place = certificate.windows(BEFORE_KEY.len()).position(|bytes| bytes == BEFORE_KEY);
        match place.and_then(|place| certificate[place + BEFORE_KEY.len()..].get(..POINT)) {
            Some(point) => P256::key(point),
            None => X509::from_der(certificate)?.public_key()?.ec_key(),
        }
    }
}

impl SignatureVerifier for Ecdsa {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        let verify = |digest: &[u8]| EcdsaSig::from_der(signature)?.verify(digest, &*Self::key_of(certificate)?);
        let verified = match (algorithm, hash) {
            (SignatureAlgorithm::ECDSA, HashAlgorithm::SHA256) => verify(&Sha256::digest(data)),
            (SignatureAlgorithm::ECDSA, HashAlgorithm::SHA384) => verify(&Sha384::digest(data)),
            _ => return Err(CryptoError::UnsupportedSignaturePair { signature: algorithm, hash }),
        };
        match verified.map_err(failed(CryptoOperation::VerifySignature))? {
            true => Ok(()),
            false => Err(CryptoError::OperationFailed(CryptoOperation::VerifySignature)),
        }
    }
}

impl KeyProvider for Ecdsa {
    /// The last one is kept: a node has one certificate.
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        static LAST: Mutex<Option<(Vec<u8>, EcKey<Private>)>> = Mutex::new(None);
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = last.as_ref().filter(|(known, _)| known == der) {
            return Ok(Box::new(OwnKey(key.clone())));
        }
        // Alone, or in the form for keys of all kinds.
        let key = EcKey::private_key_from_der(der).or_else(|_| PKey::private_key_from_der(der)?.ec_key());
        let key = key.map_err(|_| CryptoError::InvalidPrivateKey)?;
        *last = Some((der.to_vec(), key.clone()));
        Ok(Box::new(OwnKey(key)))
    }
}

/// The key of this side's certificate.
struct OwnKey(EcKey<Private>);

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OwnKey").finish_non_exhaustive()
    }
}

impl SigningKey for OwnKey {
    fn sign(&mut self, data: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            return Err(CryptoError::SigningKeyHashMismatch { key_hash: HashAlgorithm::SHA256, requested: hash });
        }
        let signature = EcdsaSig::sign(&Sha256::digest(data), &self.0).and_then(|signature| signature.to_der());
        out.clear();
        out.extend_from_slice(&signature.map_err(failed(CryptoOperation::Sign))?);
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificates_key_verifies_what_its_owner_signs_and_nothing_else() {
        let made = || str0m::crypto::from_feature_flags().dtls_provider.generate_certificate().unwrap();
        let (cert, other) = (made(), made());
        let verify = |cert: &[u8], data: &[u8], signature: &[u8]| {
            Ecdsa.verify_signature(cert, data, signature, HashAlgorithm::SHA256, SignatureAlgorithm::ECDSA)
        };
        for _ in 0..2 {
            let mut signature = Buf::new();
            let mut key = Ecdsa.load_private_key(&cert.private_key).unwrap();
            key.sign(b"transcript", HashAlgorithm::SHA256, &mut signature).unwrap();
            verify(&cert.certificate, b"transcript", &signature).unwrap();
            verify(&cert.certificate, b"another", &signature).unwrap_err();
            verify(&other.certificate, b"transcript", &signature).unwrap_err();
            verify(&cert.certificate[..200], b"transcript", &signature).unwrap_err();
            verify(&cert.certificate, b"transcript", &signature[1..]).unwrap_err();
            Ecdsa.load_private_key(&other.private_key).unwrap();
        }
        // What is found is what OpenSSL reads.
        let key = X509::from_der(&cert.certificate).unwrap().public_key().unwrap().public_key_to_der().unwrap();
        assert_eq!(Ecdsa::key_of(&cert.certificate).unwrap().public_key_to_der().unwrap(), key);
        assert!(Ecdsa.load_private_key(&cert.private_key[1..]).is_err());
    }

    #[test]
    fn only_uncompressed_points_are_taken() {
        let key = EcKey::generate(P256::group().unwrap()).unwrap();
        let point = |form| {
            let mut context = BigNumContext::new().unwrap();
            key.public_key().to_bytes(P256::group().unwrap(), form, &mut context).unwrap()
        };
        let complete = |theirs: &[u8]| P256.start_exchange(Buf::new()).unwrap().complete(theirs, &mut Buf::new());
        complete(&point(PointConversionForm::UNCOMPRESSED)).unwrap();
        for form in [PointConversionForm::COMPRESSED, PointConversionForm::HYBRID] {
            complete(&point(form)).unwrap_err();
        }
    }

    #[test]
    fn a_record_that_was_changed_is_refused() {
        let mut cipher = Aes128Gcm::cipher(&[7; KEY]).unwrap();
        let aad = || Aad([1, 2, 3].into_iter().collect());
        let mut sealed = Buf::new();
        sealed.extend_from_slice(b"a record");
        cipher.encrypt(&mut sealed, aad(), Nonce([9; NONCE])).unwrap();
        let mut open = |mut bytes: Vec<u8>, nonce| {
            let mut room = TmpBuf::new(&mut bytes);
            cipher.decrypt(&mut room, aad(), Nonce(nonce)).map(|()| room.as_ref().to_vec())
        };
        assert_eq!(open(sealed.to_vec(), [9; NONCE]).unwrap(), b"a record");
        assert!(open(sealed.to_vec(), [8; NONCE]).is_err());
        for place in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[place] ^= 1;
            assert!(open(changed, [9; NONCE]).is_err(), "byte {place}");
            assert!(open(sealed[..place].to_vec(), [9; NONCE]).is_err(), "{place} bytes");
        }
        assert!(Aes128Gcm::cipher(&[7; KEY + 1]).is_err());
    }
}
