//! [MurmurHash3](https://github.com/aappleby/smhasher), the x64 variant of 128 bits: it places names in a sharded
//! directory. It is no cryptographic hash, so names can be made that collide.

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn mix1(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix2(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finalize(mut k: u64) -> u64 {
    k = (k ^ k >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    k = (k ^ k >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ k >> 33
}

/// Both halves of the hash.
fn hash128(bytes: &[u8], seed: u32) -> [u64; 2] {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let (mut h1, mut h2) = (u64::from(seed), u64::from(seed));
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        h1 = (h1 ^ mix1(word(&block[..8]))).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(word(&block[8..]))).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (low, high) = blocks.remainder().split_at(blocks.remainder().len().min(8));
    h1 ^= mix1(word(low));
    h2 ^= mix2(word(high));
    let length = bytes.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finalize(h1);
    h2 = finalize(h2);
    h1 = h1.wrapping_add(h2);
    [h1, h2.wrapping_add(h1)]
}

/// The first half, with seed 0: multihash `murmur3-x64-64`.
pub fn murmur3_x64_64(bytes: &[u8]) -> u64 {
    hash128(bytes, 0)[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SMHasher's verification: the hash of the hashes of 256 keys, each under a seed of its own.
    #[test]
    fn smhasher_verifies_it() {
        let flat = |[h1, h2]: [u64; 2]| [h1.to_le_bytes(), h2.to_le_bytes()].concat();
        let keys: Vec<u8> = (0..=255).collect();
        let hashes: Vec<u8> = (0..256).flat_map(|n| flat(hash128(&keys[..n], 256 - n as u32))).collect();
        assert_eq!(flat(hash128(&hashes, 0))[..4], 0x6384_ba69u32.to_le_bytes());
    }
}
