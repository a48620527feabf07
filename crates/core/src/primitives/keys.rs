//! Ed25519 keys and signatures by the ZIP-215 rules.
//!
//! Plain Ed25519 leaves edge cases open (small-order points, non-canonical encodings). Libraries disagree on them, and
//! even batch and single verification of one library may, which can split the chain. ZIP-215 defines the answer for
//! every input, the same for both.

use std::fmt;
use std::ops::RangeInclusive;

use cairn_ed25519::{Kernel, Signed};
use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{CryptoRng, Rng, SeedableRng};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::codec::{Decode, Encode};
use super::hash::SignatureDigest;
use super::meter;

/// An Ed25519 public key as an output holds it: any 32 bytes. Only verifying a signature requires a curve point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature: 64 bytes, R then s.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Signature(pub [u8; 64]);

/// An Ed25519 private key. `Debug` does not show it, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl Signature {
    /// The placeholder in an input that is not signed yet.
    pub const EMPTY: Self = Self([0; 64]);
}

impl SecretKey {
    /// Generates a key from the caller's randomness.
    pub fn generate<R: CryptoRng>(rng: &mut R) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self::from_seed(seed)
    }

    /// The key of a 32-byte seed (RFC 8032's private key).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from(seed))
    }

    /// The 32-byte seed. Its holder can spend the key's coins.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public key, which outputs pay to.
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

/// A signature to check: `signature` by `key` on `digest`.
#[derive(Debug, Clone, Copy)]
pub struct SignatureCheck {
    /// The signer's public key.
    pub key: PublicKey,
    /// The signature.
    pub signature: Signature,
    /// The digest signed.
    pub digest: SignatureDigest,
}

impl SignatureCheck {
    /// Whether the signature is valid by the ZIP-215 rules.
    pub fn holds(&self) -> bool {
        VerificationKey::try_from(self.key.0)
            .and_then(|key| key.verify(&self.signature.0.into(), self.digest.as_bytes()))
            .is_ok()
    }
}

/// Signatures in a batch. Small batches cost more per signature; with vectors, on the machine of docs/performance.md,
/// 8.4 µs in batches of 375 and 6.8 µs of 1,500.
const BATCH: RangeInclusive<usize> = 256..=2_048;

/// Signatures from which on vectors cost less than `ed25519-zebra`'s batches.
const VECTORS_FROM: usize = 48;

/// Verifies all signatures, in batches spread over the cores.
///
/// # Errors
/// The index of the first invalid signature.
pub fn verify_all(checks: &[SignatureCheck]) -> Result<(), usize> {
    meter::verified(checks.len());
    if (1..=*BATCH.start()).contains(&checks.len()) {
        // Waking another thread for a single payment costs as much as verifying it.
        return if batch_holds(checks) { Ok(()) } else { first_false(checks, 0) };
    }
    // Two batches for each core, so that a core busy with other work can take fewer.
    let batch = checks.len().div_ceil(2 * rayon::current_num_threads()).clamp(*BATCH.start(), *BATCH.end());
    let verdicts = checks
        .par_chunks(batch)
        .enumerate()
        .map(|(chunk, checks)| if batch_holds(checks) { Ok(()) } else { first_false(checks, chunk * batch) });
    meter::apart(|| verdicts.find_first(Result::is_err)).unwrap_or(Ok(()))
}

/// The first invalid signature of a batch that does not hold. The batch is halved as long as that is cheaper than one by
/// one, so that a single invalid signature among many costs about as much as the batch again.
fn first_false(checks: &[SignatureCheck], offset: usize) -> Result<(), usize> {
    if checks.len() >= 2 * VECTORS_FROM {
        let (left, right) = checks.split_at(checks.len() / 2);
        return if batch_holds(left) {
            first_false(right, offset + left.len())
        } else {
            first_false(left, offset).and_then(|()| first_false(right, offset + left.len()))
        };
    }
    match checks.iter().position(|check| !check.holds()) {
        Some(index) => Err(offset + index),
        None => Ok(()),
    }
}

/// Whether all signatures hold, by the fastest means that this processor has for so many. A batch that does not is for
/// [`SignatureCheck::holds`] to decide.
///
/// Derives the random weights from a hash of the batch: an attacker cannot know the weights before choosing the
/// signatures, and the verdict depends only on the input.
fn batch_holds(checks: &[SignatureCheck]) -> bool {
    if let [check] = checks {
        return check.holds();
    }
    let mut transcript = Sha256::new();
    for check in checks {
        transcript.update(check.key.0);
        transcript.update(check.signature.0);
        transcript.update(check.digest.as_bytes());
    }
    let mut weights = ChaCha20Rng::from_seed(transcript.finalize().into());
    if checks.len() >= VECTORS_FROM
        && let Some(kernel) = Kernel::detect()
    {
        let batch: Vec<Signed<'_>> = checks
            .iter()
            .map(|SignatureCheck { key, signature, digest }| Signed {
                key: key.0,
                signature: signature.0,
                message: digest.as_bytes(),
            })
            .collect();
        return kernel.all_hold(&batch, || u128::from(weights.next_u64()) << 64 | u128::from(weights.next_u64()));
    }
    let mut verifier = batch::Verifier::new();
    for check in checks {
        verifier.queue((VerificationKeyBytes::from(check.key.0), check.signature.0.into(), check.digest.as_bytes()));
    }
    verifier.verify(weights).is_ok()
}
