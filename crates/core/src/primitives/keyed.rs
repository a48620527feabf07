//! Hash maps and sets that peers fill, hashed under a secret key so that a peer cannot choose entries that collide.
//!
//! The standard library asks the system for its keys. A WebAssembly module has no system, so every instance would use
//! the same key; there the host sets one with [`set_key`]. No code may depend on the order of entries.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher13;

/// A hash map that peers fill.
pub type HashMap<K, V> = std::collections::HashMap<K, V, Keyed>;
/// A hash set that peers fill.
pub type HashSet<T> = std::collections::HashSet<T, Keyed>;

/// The process's key.
static KEY: OnceLock<[u64; 2]> = OnceLock::new();
/// Hashers made so far: each has a key of its own, since copying a map into a smaller one with the same key would fill it in
/// the order of its slots, which takes quadratic time.
static MADE: AtomicU64 = AtomicU64::new(0);

/// Sets the process's key, 16 secret random bytes, unless it has one: `false` if so. Otherwise it comes from the system when
/// the first map is made.
pub fn set_key(key: [u8; 16]) -> bool {
    let bits = u128::from_le_bytes(key);
    KEY.set([bits as u64, (bits >> 64) as u64]).is_ok()
}

/// SipHash 1-3 under a secret key.
#[derive(Debug, Clone, Copy)]
pub struct Keyed([u64; 2]);

impl Default for Keyed {
    fn default() -> Self {
        let [a, b] = *KEY.get_or_init(|| {
            let system = RandomState::new();
            [0u8, 1].map(|half| system.hash_one(half))
        });
        Self([a.wrapping_add(MADE.fetch_add(1, Ordering::Relaxed)), b])
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_hashes_its_own_way_and_the_key_is_set_once() {
        let (one, other) = (Keyed::default(), Keyed::default());
        assert_eq!(one.hash_one("entry"), one.hash_one("entry"));
        assert_ne!(one.hash_one("entry"), other.hash_one("entry"));
        assert!(!set_key([7; 16]), "maps were made with another");
    }
}
