//! A wallet's secret under a passphrase.
//!
//! Argon2id (RFC 9106) turns a passphrase into a key. ChaCha20-Poly1305 (RFC 8439) encrypts the secret, and its tag
//! reveals a wrong passphrase.

use argon2::{Argon2, Block};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Associated data, so that the ciphertext is not valid in another kind of file.
const ASSOCIATED_DATA: &[u8] = b"cairn-wallet/1";
/// Most memory that a file may make Argon2 use: 1 GiB.
const MAX_MEMORY_KIB: u32 = 1 << 20;
/// Most passes that a file may make Argon2 take.
const MAX_PASSES: u32 = 64;
/// Most lanes.
const MAX_LANES: u32 = 64;

/// What trying a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Parts that could be worked on at once.
    pub lanes: u32,
}

/// What seals and opens: the salt of the key, and the cipher's nonce, both random and used once.
pub type Randomness<'a> = (&'a [u8; 16], &'a [u8; 12]);

/// Why a secret stays sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unopened {
    /// The costs are more than are borne, or none that Argon2 knows.
    Costs,
    /// Another passphrase, or the sealed bytes were changed.
    Passphrase,
}

impl Costs {
    /// RFC 9106's second recommendation, for machines where 2 GiB is too much: half a second on a laptop.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };

    /// The cipher with the key of a passphrase; `None` if the costs are out of bounds.
    fn cipher(self, passphrase: &[u8], salt: &[u8; 16]) -> Option<ChaCha20Poly1305> {
        if self.memory_kib > MAX_MEMORY_KIB || self.passes > MAX_PASSES || self.lanes > MAX_LANES {
            return None;
        }
        let params = argon2::Params::new(self.memory_kib, self.passes, self.lanes, None).ok()?;
        let mut memory = vec![Block::default(); params.block_count()];
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let mut key = Zeroizing::new([0; 32]);
        argon2.hash_password_into_with_memory(passphrase, salt, &mut *key, &mut memory).ok()?;
        Some(ChaCha20Poly1305::new(Key::from_slice(&*key)))
    }
}

/// Encrypts a secret; `None` if the costs are out of bounds.
pub fn seal(costs: Costs, (salt, nonce): Randomness, passphrase: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let payload = Payload { msg: secret, aad: ASSOCIATED_DATA };
    costs.cipher(passphrase, salt)?.encrypt(&Nonce::from(*nonce), payload).ok()
}

/// Decrypts a secret.
///
/// # Errors
/// [`Unopened`].
pub fn open(
    costs: Costs,
    (salt, nonce): Randomness,
    passphrase: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unopened> {
    let cipher = costs.cipher(passphrase, salt).ok_or(Unopened::Costs)?;
    let payload = Payload { msg: sealed, aad: ASSOCIATED_DATA };
    cipher.decrypt(&Nonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| Unopened::Passphrase)
}
