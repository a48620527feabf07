//! Ed25519 keys and signatures by the ZIP-215 rules.
//!
//! Plain Ed25519 leaves edge cases open (small-order points, non-canonical encodings), on which libraries disagree and
//! on which batch and single verification of one library may disagree: a fork waiting to happen. ZIP-215 fixes the
//! answer for every input and makes both kinds agree.

use std::fmt;
use std::ops::RangeInclusive;

use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{CryptoRng, SeedableRng};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::codec::{Decode, Encode};
use super::hash::SignatureDigest;
use super::meter;

/// An Ed25519 public key as it stands in an output: 32 bytes that need not be a curve point until someone signs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature: 64 bytes, R then s.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Signature(pub [u8; 64]);

/// An Ed25519 private key. `Debug` does not show it, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl Signature {
    /// Stands in an input that is not signed yet.
    pub const EMPTY: Self = Self([0; 64]);
}

impl SecretKey {
    /// A new key from the caller's randomness.
    pub fn generate<R: CryptoRng>(rng: &mut R) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self::from_seed(seed)
    }

    /// The key of a 32-byte seed (RFC 8032's private key).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from(seed))
    }

    /// The 32-byte seed, with which the key's coins can be spent.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The key that outputs name.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verification_key().into())
    }

    /// Signs a digest; the signature is the same each time (RFC 8032).
    pub fn sign(&self, digest: &SignatureDigest) -> Signature {
        Signature(self.0.sign(digest.as_bytes()).to_bytes())
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public_key())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A claim that `signature` is `key`'s on `digest`.
#[derive(Debug, Clone, Copy)]
pub struct SignatureCheck {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// The signature.
    pub signature: Signature,
    /// What is said to be signed.
    pub digest: SignatureDigest,
}

impl SignatureCheck {
    /// Whether the claim is true, by ZIP-215.
    pub fn holds(&self) -> bool {
        VerificationKey::try_from(self.key.0)
            .and_then(|key| key.verify(&self.signature.0.into(), self.digest.as_bytes()))
            .is_ok()
    }
}

/// Smaller batches cost more for each signature: 18.5 µs in batches of 256, 17.4 of 500, 16.5 of 1,000 and above.
const BATCH: RangeInclusive<usize> = 256..=1_024;

/// Verifies every claim, in batches spread over the cores.
///
/// # Errors
/// The index of the first claim that is false.
pub fn verify_all(checks: &[SignatureCheck]) -> Result<(), usize> {
    meter::verified(checks.len());
    if (1..=*BATCH.start()).contains(&checks.len()) {
        // Waking another thread for a single payment costs as much as verifying it.
        return if batch_holds(checks) { Ok(()) } else { first_false(checks, 0) };
    }
    // Two for each core: one that is busy with something else takes fewer.
    let batch = checks.len().div_ceil(2 * rayon::current_num_threads()).clamp(*BATCH.start(), *BATCH.end());
    let verdicts = checks
        .par_chunks(batch)
        .enumerate()
        .map(|(chunk, checks)| if batch_holds(checks) { Ok(()) } else { first_false(checks, chunk * batch) });
    meter::apart(|| verdicts.find_first(Result::is_err)).unwrap_or(Ok(()))
}

fn first_false(checks: &[SignatureCheck], offset: usize) -> Result<(), usize> {
    match checks.iter().position(|check| !check.holds()) {
        Some(index) => Err(offset + index),
        None => Ok(()),
    }
}

/// The random weights of a batch come from a hash of the batch itself: an attacker who chose the signatures cannot know
/// the weights before choosing, and the verdict is a function of its input alone.
fn batch_holds(checks: &[SignatureCheck]) -> bool {
    if let [check] = checks {
        return check.holds();
    }
    let mut transcript = Sha256::new();
    let mut verifier = batch::Verifier::new();
    for check in checks {
        transcript.update(check.key.0);
        transcript.update(check.signature.0);
        transcript.update(check.digest.as_bytes());
        verifier.queue((VerificationKeyBytes::from(check.key.0), check.signature.0.into(), check.digest.as_bytes()));
    }
    verifier.verify(ChaCha20Rng::from_seed(transcript.finalize().into())).is_ok()
}
