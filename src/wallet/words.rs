//! BIP-39's encoding of a secret as words: each word's index in the list is 11 bits, and the last bits are a checksum.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bits of an index.
const INDEX_BITS: usize = 11;
/// Most bytes of a backup's text: 24 words of at most 8 letters, with a space after each.
pub const MAX_BYTES: usize = 24 * 9;

/// The indices of 16 or 32 bytes; `None` for other lengths.
pub fn indices_of(entropy: &[u8]) -> Option<Zeroizing<Vec<u16>>> {
    if !matches!(entropy.len(), 16 | 32) {
        return None;
    }
    // One checksum bit for four bytes: at most one byte of them.
    let bytes = || entropy.iter().copied().chain([Sha256::digest(entropy)[0]]);
    let bit = |place: usize| bytes().nth(place / 8).is_some_and(|byte| byte >> (7 - place % 8) & 1 == 1);
    let words = (entropy.len() * 8 + entropy.len() / 4) / INDEX_BITS;
    let index = |word: usize| (0..INDEX_BITS).fold(0, |index, n| index << 1 | u16::from(bit(word * INDEX_BITS + n)));
    Some(Zeroizing::new((0..words).map(index).collect()))
}

/// The bytes of 12 or 24 indices; `None` for other numbers of them, or if the checksum is wrong.
pub fn entropy_of(indices: &[u16]) -> Option<Zeroizing<Vec<u8>>> {
    let length = match indices.len() {
        12 => 16,
        24 => 32,
        _ => return None,
    };
    let bit = |place: usize| indices[place / INDEX_BITS] >> (INDEX_BITS - 1 - place % INDEX_BITS) & 1;
    let byte = |number: usize| (0..8).fold(0, |byte, n| byte << 1 | bit(number * 8 + n) as u8);
    let entropy = Zeroizing::new((0..length).map(byte).collect::<Vec<u8>>());
    // Whatever else the indices say is in what is written for the bytes.
    indices_of(&entropy).is_some_and(|expected| *expected == indices).then_some(entropy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Indices as another implementation has them.
    fn expected(entropy: &[u8]) -> Vec<u16> {
        let mnemonic = bip39::Mnemonic::from_entropy_in(bip39::Language::English, entropy).unwrap();
        mnemonic.word_indices().map(|index| index as u16).collect()
    }

    proptest! {
        #[test]
        fn words_are_those_of_another_implementation(entropy in any::<[u8; 32]>()) {
            for entropy in [&entropy[..16], &entropy] {
                let indices = indices_of(entropy).unwrap();
                prop_assert_eq!(&*indices, &expected(entropy));
                let restored = entropy_of(&indices);
                prop_assert_eq!(restored.as_ref().map(|bytes| bytes.as_slice()), Some(entropy));
            }
        }

        #[test]
        fn a_changed_word_is_noticed_as_there(entropy in any::<[u8; 16]>(), place in 0usize..12, other in 0u16..2048) {
            let mut indices = indices_of(&entropy).unwrap();
            indices[place] = other;
            let words: Vec<&str> =
                indices.iter().map(|index| bip39::Language::English.word_list()[usize::from(*index)]).collect();
            let theirs = bip39::Mnemonic::parse_in_normalized(bip39::Language::English, &words.join(" "));
            prop_assert_eq!(entropy_of(&indices).is_some(), theirs.is_ok());
        }
    }

    #[test]
    fn other_lengths_and_numbers_are_no_words() {
        for length in [0, 15, 17, 20, 24, 28, 31, 33] {
            assert!(indices_of(&vec![0; length]).is_none(), "{length}");
        }
        let zero = [0; 16];
        let indices = indices_of(&zero).unwrap();
        assert!(entropy_of(&indices[1..]).is_none() && entropy_of(&[]).is_none());
        assert!(entropy_of(&[[2_048 + indices[11]; 12].as_slice(), &indices].concat()[..12]).is_none(), "not an index");
    }
}
