//! From a backup's words to keys: BIP-39 makes a seed of them, SLIP-0010 derives Ed25519 keys from it.
//!
//! Address `i` has the key at `m/44'/1'/0'/0'/i'` (BIP-44's path with every step hardened, as Ed25519 needs; coin type
//! 1 is SLIP-0044's "test network of any coin"). The BIP-39 passphrase is empty: the key file has its own encryption.

use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::primitives::keys::SecretKey;

/// The steps of the path above an address, all hardened.
const ACCOUNT_PATH: [u32; 4] = [44, 1, 0, 0];
/// BIP-39's rounds of PBKDF2.
const SEED_ROUNDS: u32 = 2_048;

/// The node above a wallet's addresses.
pub struct Account(ExtendedKey);

impl Account {
    /// That of a backup's words, which are lower case with one space between them.
    pub fn of_words(words: &str) -> Self {
        let master = ExtendedKey::master(&*seed(words, ""));
        Self(ACCOUNT_PATH.iter().fold(master, |key, step| key.child(*step)))
    }

    /// The key of address `index`; the upper half of the indices is the lower one again.
    pub fn key(&self, index: u32) -> SecretKey {
        SecretKey::from_seed(*self.0.child(index).key)
    }
}

/// A node of SLIP-0010's tree for Ed25519.
struct ExtendedKey {
    key: Zeroizing<[u8; 32]>,
    chain_code: Zeroizing<[u8; 32]>,
}

impl ExtendedKey {
    fn master(seed: &[u8]) -> Self {
        Self::split(&hmac_sha512(b"ed25519 seed", &[seed]))
    }

    /// The hardened child; Ed25519 has no others.
    fn child(&self, index: u32) -> Self {
        let hardened = index | 1 << 31;
        Self::split(&hmac_sha512(&*self.chain_code, &[&[0], &*self.key, &hardened.to_be_bytes()]))
    }

    fn split(digest: &[u8; 64]) -> Self {
        let mut child = Self { key: Zeroizing::new([0; 32]), chain_code: Zeroizing::new([0; 32]) };
        child.key.copy_from_slice(&digest[..32]);
        child.chain_code.copy_from_slice(&digest[32..]);
        child
    }
}

/// BIP-39's seed: PBKDF2 (RFC 8018) with HMAC-SHA512 and 2048 rounds.
fn seed(words: &str, passphrase: &str) -> Zeroizing<[u8; 64]> {
    let mut round = hmac_sha512(words.as_bytes(), &[b"mnemonic", passphrase.as_bytes(), &1u32.to_be_bytes()]);
    let mut seed = round.clone();
    for _ in 1..SEED_ROUNDS {
        round = hmac_sha512(words.as_bytes(), &[&*round]);
        seed.iter_mut().zip(&*round).for_each(|(byte, other)| *byte ^= other);
    }
    seed
}

/// RFC 2104 with SHA-512.
fn hmac_sha512(key: &[u8], message: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    const BLOCK: usize = 128;
    let short = (key.len() > BLOCK).then(|| Zeroizing::new(<[u8; 64]>::from(Sha512::digest(key))));
    let key = short.as_ref().map_or(key, |short| short.as_slice());
    let keyed = |pad: u8| {
        let mut block = Zeroizing::new([pad; BLOCK]);
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        Sha512::new_with_prefix(block.as_slice())
    };
    let inner = message.iter().fold(keyed(0x36), |hash, part| hash.chain_update(part)).finalize();
    Zeroizing::new(keyed(0x5c).chain_update(inner).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// RFC 4231, test cases 1 and 2.
    #[test]
    fn hmac_known_answers() {
        assert_eq!(
            *hmac_sha512(&[0x0b; 20], &[b"Hi There"]),
            bytes(
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
                 daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
            )
        );
        assert_eq!(
            *hmac_sha512(b"Jefe", &[b"what do ya want ", b"for nothing?"]),
            bytes(
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
            )
        );
        // Test case 6: a key that is longer than a block.
        assert_eq!(
            *hmac_sha512(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]),
            bytes(
                "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352\
                 6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"
            )
        );
    }

    /// SLIP-0010, test vector 1 for ed25519: private and public key at each step of m/0'/1'/2'/2'/1000000000'.
    #[test]
    fn slip_0010_known_answers() {
        let known = [
            (
                None,
                "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
                "a4b2856bfec510abab89753fac1ac0e1112364e7d250545963f135f2a33188ed",
            ),
            (
                Some(0),
                "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
                "8c8a13df77a28f3445213a0f432fde644acaa215fc72dcdf300d5efaa85d350c",
            ),
            (
                Some(1),
                "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2",
                "1932a5270f335bed617d5b935c80aedb1a35bd9fc1e31acafd5372c30f5c1187",
            ),
            (
                Some(2),
                "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9",
                "ae98736566d30ed0e9d2f4486a64bc95740d89c7db33f52121f8ea8f76ff0fc1",
            ),
            (
                Some(2),
                "30d1dc7e5fc04c31219ab25a27ae00b50f6fd66622f6e9c913253d6511d1e662",
                "8abae2d66361c879b900d204ad2cc4984fa2aa344dd7ddc46007329ac76c429c",
            ),
            (
                Some(1_000_000_000),
                "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793",
                "3c24da049451555d51a7014a37337aa4e12d41e485abccfa46b47dfb2af54b7a",
            ),
        ];
        let mut node = ExtendedKey::master(&bytes::<16>("000102030405060708090a0b0c0d0e0f"));
        for (step, private, public) in known {
            node = match step {
                None => node,
                Some(step) => node.child(step),
            };
            assert_eq!(*node.key, bytes(private));
            assert_eq!(SecretKey::from_seed(*node.key).public_key().0, bytes(public));
        }
    }

    /// The first of BIP-39's published vectors, and one of 24 words, which are longer than a block.
    #[test]
    fn bip_39_known_answers() {
        let about = "abandon ".repeat(11) + "about";
        let art = "abandon ".repeat(23) + "art";
        for (words, expected) in [
            (
                about,
                "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531\
                 f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
            ),
            (
                art,
                "bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd30971\
                 70af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8",
            ),
        ] {
            assert_eq!(*seed(&words, "TREZOR"), bytes(expected), "{words}");
        }
    }
}
