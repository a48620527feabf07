//! Golomb-coded sets: block filters, by which a light client finds the blocks that touch its keys (BIP-158).
//!
//! Each of N elements is hashed to a number below N · M. The sorted numbers are close to uniform, so the steps between
//! them follow a geometric distribution, for which the Golomb-Rice code with P bits is the shortest: about 21 bits for
//! each element, and one false match in M.

use siphasher::sip::SipHasher24;

use super::compact_size;
use super::hash::{BlockHash, FilterHash, FilterHeader};

/// The low bits of a step, written in binary; the rest of the step is written in unary.
const P: u32 = 19;
/// The inverse of the rate of false matches.
const M: u64 = 784_931;

/// A probabilistic set of byte strings, keyed by its block's hash. A query may give a false positive, never a false
/// negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<u8>);

/// Why bytes are not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The count at the start is missing or not in its shortest form.
    #[error("filter: {got} bytes do not begin with a count in its shortest form")]
    Count {
        /// Bytes given.
        got: usize,
    },
    /// The length does not fit the number of elements.
    #[error("filter: {count} elements take between {min} and {max} bytes, got {got}")]
    Length {
        /// The number of elements, by the count.
        count: usize,
        /// Bytes after the count.
        got: usize,
        /// The fewest bytes possible.
        min: u64,
        /// The most bytes possible.
        max: u64,
    },
    /// The bytes end before the elements do.
    #[error("filter: the bytes end in element {element} of {count}")]
    Truncated {
        /// The element's index, from 0.
        element: usize,
        /// Elements, by the count.
        count: usize,
    },
}

impl Filter {
    /// Builds the filter of `elements` for a block. Duplicates count once.
    pub fn new<T: AsRef<[u8]>>(block: &BlockHash, elements: impl IntoIterator<Item = T>) -> Self {
        let hasher = hasher(block);
        let hash = |element: T| (hasher.hash(element.as_ref()), element);
        let mut hashed: Vec<(u64, T)> = elements.into_iter().map(hash).collect();
        sort_distinct(&mut hashed);
        let mut bytes = Vec::new();
        compact_size::write(&mut bytes, hashed.len());
        let mut bits = BitWriter { bytes, pending: 0, count: 0 };
        let mut last = 0;
        for (hash, _) in &hashed {
            let value = value(*hash, hashed.len());
            bits.write_step(value - last);
            last = value;
        }
        Self(bits.finish())
    }

    /// Takes a filter's bytes from a peer without decoding the elements. [`Filter::matches_any`] detects truncated
    /// elements; the filter header shows whether it is the block's filter.
    ///
    /// # Errors
    /// [`FilterError::Count`], and [`FilterError::Length`] if no filter of so many elements has so many bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, FilterError> {
        let mut rest = &bytes[..];
        let count = compact_size::read(&mut rest).ok_or(FilterError::Count { got: bytes.len() })?;
        // Each step takes its P low bits and the 0 that ends its unary part; all unary parts add up to at most N · M /
        // 2^P.
        let steps = count as u64 * u64::from(P + 1);
        let (min, max) = (steps.div_ceil(8), (steps + ((count as u64 * M) >> P)).div_ceil(8));
        let got = rest.len();
        if !(min..=max).contains(&(got as u64)) {
            return Err(FilterError::Length { count, got, min, max });
        }
        Ok(Self(bytes))
    }

    /// The encoding: the number of elements as a CompactSize, then the steps between elements, highest bit first,
    /// padded with zeros to a whole byte.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many elements it holds.
    pub fn count(&self) -> usize {
        self.parts().0
    }

    /// Whether one of `elements` may be in the set. An element that is not in it matches with probability 1 in M =
    /// 784,931.
    ///
    /// # Errors
    /// [`FilterError::Truncated`], if decoding reaches the end before it finds the answer. Never for a filter that
    /// [`Filter::new`] made.
    pub fn matches_any<T: AsRef<[u8]>>(
        &self,
        block: &BlockHash,
        elements: impl IntoIterator<Item = T>,
    ) -> Result<bool, FilterError> {
        let (count, bytes) = self.parts();
        let hasher = hasher(block);
        let mut wanted: Vec<u64> =
            elements.into_iter().map(|element| value(hasher.hash(element.as_ref()), count)).collect();
        wanted.sort_unstable();
        let mut wanted = wanted.into_iter().peekable();
        let mut bits = BitReader { bytes, at: 0 };
        let mut value = 0;
        for element in 0..count {
            value += bits.read_step().ok_or(FilterError::Truncated { element, count })?;
            while wanted.next_if(|wanted| *wanted < value).is_some() {}
            match wanted.peek() {
                Some(wanted) if *wanted == value => return Ok(true),
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Double SHA-256 of the encoding.
    pub fn hash(&self) -> FilterHash {
        FilterHash::of(&self.0)
    }

    /// The filter header of its block: a commitment to this filter and all before it (BIP-157). `previous` is the
    /// filter header of the parent block, or zero for genesis.
    pub fn header(&self, previous: &FilterHeader) -> FilterHeader {
        filter_header(&self.hash(), previous)
    }

    /// The number of elements, and the bytes after it.
    fn parts(&self) -> (usize, &[u8]) {
        let mut rest = &self.0[..];
        // Cannot fail: the constructors have read the count.
        (compact_size::read(&mut rest).unwrap_or(0), rest)
    }
}

/// [`Filter::header`], from the filter's hash alone.
pub fn filter_header(filter_hash: &FilterHash, previous: &FilterHeader) -> FilterHeader {
    FilterHeader::of(&[filter_hash.to_bytes(), previous.to_bytes()].concat())
}

/// Sorts elements by their hashes, which is the order of their values too, and leaves each once.
fn sort_distinct<T: AsRef<[u8]>>(hashed: &mut Vec<(u64, T)>) {
    hashed.sort_unstable_by_key(|(hash, _)| *hash);
    // Hardly ever do others than duplicates have the same hash. Those come together too.
    for alike in hashed.chunk_by_mut(|(one, _), (other, _)| one == other) {
        alike.sort_unstable_by(|(_, one), (_, other)| one.as_ref().cmp(other.as_ref()));
    }
    hashed.dedup_by(|(a, one), (b, other)| a == b && one.as_ref() == other.as_ref());
}

/// What hashes the elements of a block's filter.
fn hasher(block: &BlockHash) -> SipHasher24 {
    let half = |at: usize| block.as_bytes()[at..at + 8].iter().rev().fold(0, |key, byte| key << 8 | u64::from(*byte));
    SipHasher24::new_with_keys(half(0), half(8))
}

/// The number for an element with this hash in a filter of `count` elements.
fn value(hash: u64, count: usize) -> u64 {
    // The high half of the product is as uniform over the range as a remainder, and cheaper.
    ((u128::from(hash) * u128::from(count as u64 * M)) >> 64) as u64
}

/// Writes bits, the highest of each byte first.
struct BitWriter {
    bytes: Vec<u8>,
    /// Its lowest `count` bits are the last ones, which are not in `bytes` yet.
    pending: u64,
    /// Fewer than 32.
    count: u32,
}

impl BitWriter {
    /// Writes the lowest `bits` bits of `value`, at most 32; the others are 0.
    fn write(&mut self, value: u64, bits: u32) {
        self.pending = self.pending << bits | value;
        self.count += bits;
        if self.count >= u32::BITS {
            self.count -= u32::BITS;
            self.bytes.extend_from_slice(&((self.pending >> self.count) as u32).to_be_bytes());
        }
    }

    fn write_step(&mut self, step: u64) {
        (0..step >> P).for_each(|_| self.write(1, 1));
        // With the 0 that ends these.
        self.write(step & ((1 << P) - 1), P + 1);
    }

    fn finish(mut self) -> Vec<u8> {
        let last = (self.pending << (u32::BITS - self.count)) as u32;
        self.bytes.extend_from_slice(&last.to_be_bytes()[..self.count.div_ceil(8) as usize]);
        self.bytes
    }
}

/// Reads what [`BitWriter`] wrote.
struct BitReader<'a> {
    bytes: &'a [u8],
    /// Index of the next bit.
    at: usize,
}

impl BitReader<'_> {
    /// Bits that a [`BitReader::window`] always holds.
    const WINDOW: u32 = 57;

    /// The next bits, from the highest down; zeros after the end.
    fn window(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            word
        });
        u64::from_be_bytes(word) << (self.at % 8)
    }

    /// The next step; `None` if the bits end within it. The sum of all steps is below 2^19 times the bits read.
    fn read_step(&mut self) -> Option<u64> {
        let mut high = 0;
        loop {
            let ones = self.window().leading_ones().min(Self::WINDOW);
            high += u64::from(ones);
            self.at += ones as usize;
            if ones < Self::WINDOW {
                break;
            }
        }
        self.at += 1;
        let low = self.window() >> (u64::BITS - P);
        self.at += P as usize;
        (self.at <= self.bytes.len() * 8).then_some(high << P | low)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(numbers: std::ops::Range<u32>) -> impl Iterator<Item = [u8; 4]> {
        numbers.map(u32::to_le_bytes)
    }

    proptest! {
        #[test]
        fn every_element_matches_whatever_stands_beside_it(
            block: [u8; 32],
            elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..200),
            others in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        ) {
            let block = BlockHash::from_bytes(block);
            let filter = Filter::new(&block, &elements);
            let distinct: std::collections::BTreeSet<_> = elements.iter().collect();
            prop_assert_eq!(filter.count(), distinct.len());
            for element in &elements {
                prop_assert_eq!(filter.matches_any(&block, [element]), Ok(true));
                prop_assert_eq!(filter.matches_any(&block, others.iter().chain([element])), Ok(true));
            }
            prop_assert_eq!(filter.matches_any(&block, [[0; 4]; 0]), Ok(false));
            prop_assert_eq!(Filter::from_bytes(filter.as_bytes().to_vec()), Ok(filter.clone()));
            let reversed = elements.iter().rev().chain(&elements);
            prop_assert_eq!(Filter::new(&block, reversed), filter, "neither order nor repetition counts");
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            count in 0..300usize,
            rest in prop::collection::vec(any::<u8>(), 0..900),
            ones in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            cut: prop::sample::Index,
        ) {
            let block = BlockHash::of(b"block");
            let mut bytes = Vec::new();
            compact_size::write(&mut bytes, count);
            // As many as the count allows, so that some get past the first look.
            bytes.extend(rest.iter().take(count * 22 / 8));
            for place in ones.iter().filter(|_| !rest.is_empty()) {
                let at = place.index(bytes.len());
                bytes[at..].iter_mut().take(20).for_each(|byte| *byte = 0xff);
            }
            for bytes in [&rest[..], &bytes, &bytes[..cut.index(bytes.len()) + 1]] {
                if let Ok(filter) = Filter::from_bytes(bytes.to_vec()) {
                    let answer = filter.matches_any(&block, numbers(0..50));
                    let is_fine = matches!(answer, Ok(_) | Err(FilterError::Truncated { .. }));
                    prop_assert!(is_fine, "{:?}", answer);
                    prop_assert_eq!(filter.as_bytes(), bytes);
                }
            }
        }
    }

    /// Elements with the same hash are still told apart, wherever their duplicates stand.
    #[test]
    fn duplicates_go_and_collisions_stay() {
        let mut hashed = vec![(7, "b"), (9, "d"), (7, "a"), (7, "b"), (1, "a"), (7, "a"), (7, "b")];
        sort_distinct(&mut hashed);
        assert_eq!(hashed, [(1, "a"), (7, "a"), (7, "b"), (9, "d")]);
    }

    #[test]
    fn one_in_m_strangers_matches() {
        let mut matches = 0;
        for number in 0..8u8 {
            let block = BlockHash::of(&[number]);
            let filter = Filter::new(&block, numbers(0..1_000));
            // A thousand at a time: two matches among so few are rare.
            let batches =
                (1..=1_000).map(|batch| filter.matches_any(&block, numbers(batch * 1_000..(batch + 1) * 1_000)));
            matches += batches.filter(|answer| *answer == Ok(true)).count();
        }
        // 8,000,000 / 784,931 = 10.2 are expected; the keys are fixed, so the number is too.
        assert!((4..=18).contains(&matches), "{matches}");
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused() {
        let block = BlockHash::of(b"block");
        assert_eq!(Filter::new(&block, [[0; 4]; 0]).as_bytes(), [0]);
        assert_eq!(Filter::from_bytes(Vec::new()), Err(FilterError::Count { got: 0 }));
        assert_eq!(Filter::from_bytes(vec![0xfd, 1, 0, 0, 0, 0]), Err(FilterError::Count { got: 6 }));
        let bomb = vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0, 0, 0];
        assert!(matches!(Filter::from_bytes(bomb), Err(FilterError::Length { count: 0xffff_ffff, got: 3, .. })));
        assert_eq!(Filter::from_bytes(vec![0, 0]), Err(FilterError::Length { count: 0, got: 1, min: 0, max: 0 }));
        // Ones to the end: the first step never ends.
        let endless = Filter::from_bytes(vec![2, 0xff, 0xff, 0xff, 0xff, 0xff]).unwrap();
        let answer = endless.matches_any(&block, [b"x"]);
        assert_eq!(answer, Err(FilterError::Truncated { element: 0, count: 2 }));
    }
}
