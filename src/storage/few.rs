//! Buried headers as they are stored: a few of heights one after another in an entry.
//!
//! Only the first has the hash of its parent and the sums over its chain. Those of the others follow from the one before: a header
//! that is read costs the hashes of at most three others.

use super::BareHeader;
use super::compact::{number, padded, put_number, significant};
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;

/// What is known of a buried header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuriedHeader {
    /// The header.
    pub header: Header,
    /// Transactions in its body; 0 if that is not known.
    pub tx_count: u32,
    /// Transactions up to and with its block.
    pub transactions: u64,
    /// Work of its chain, up to and with it.
    pub work: Work,
}

impl BuriedHeader {
    /// What comes after this with a header and so many transactions; `None` if the header has no target.
    fn child(&self, header: BareHeader, tx_count: u32) -> Option<Self> {
        let transactions = self.transactions.checked_add(tx_count.into())?;
        let work = self.work + header.bits.target().ok()?.work();
        Some(Self { header: header.under(self.header.hash()), tx_count, transactions, work })
    }
}

/// Levels of the header range above its leaves whose nodes are not stored over buried headers. A node of the next would take the
/// hashes of eight headers, and there are not many.
pub(super) const LOW_LEVELS: u32 = 2;

/// Headers of one entry: those under a node of the last of these levels.
pub(super) const FEW: usize = 1 << LOW_LEVELS;

/// The buried headers of heights one after another, the first a multiple of their number. There may be gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Few(pub [Option<BuriedHeader>; FEW]);

impl Few {
    /// Where those are with a height, and its place among them.
    pub fn place(height: Height) -> (Height, usize) {
        let place = height.as_u32() as usize % FEW;
        (height.saturating_sub(place as u32), place)
    }

    /// One after another: 0 if there is no header. Otherwise twice its number of transactions and 1, and 1 more if it follows
    /// from the one before; then it without its parent's hash; unless it follows, that hash, the transactions up to it, and the work,
    /// the last behind its length. Numbers are short.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (mut bytes, mut before) = (Vec::with_capacity(100 + FEW * 50), None::<BuriedHeader>);
        for found in self.0 {
            let Some(BuriedHeader { header, tx_count, transactions, work }) = found else {
                put_number(&mut bytes, 0);
                before = None;
                continue;
            };
            let follows = found == before.and_then(|before| before.child(header.into(), tx_count));
            put_number(&mut bytes, (u64::from(tx_count) << 1 | u64::from(follows)) + 1);
            bytes.extend(codec::encode(&BareHeader::from(header)));
            if !follows {
                bytes.extend_from_slice(header.previous.as_bytes());
                put_number(&mut bytes, transactions);
                let work = codec::encode(&work);
                let work = significant(&work);
                put_number(&mut bytes, work.len() as u64);
                bytes.extend_from_slice(work);
            }
            before = found;
        }
        bytes
    }

    /// Reads what [`Few::to_bytes`] wrote, up to the header at a place.
    pub fn read(mut bytes: &[u8], last: usize) -> Option<Self> {
        let mut few = Self::default();
        let mut before = None::<BuriedHeader>;
        for found in few.0.iter_mut().take(last.saturating_add(1)) {
            if let Some(about) = number(&mut bytes)?.checked_sub(1) {
                let tx_count = u32::try_from(about >> 1).ok()?;
                let header: BareHeader = codec::decode(bytes.split_off(..BareHeader::LEN)?).ok()?;
                *found = Some(if about & 1 == 1 {
                    before?.child(header, tx_count)?
                } else {
                    let previous = BlockHash::from_bytes(*bytes.split_off(..32)?.first_chunk()?);
                    let (transactions, length) = (number(&mut bytes)?, usize::try_from(number(&mut bytes)?).ok()?);
                    let work = codec::decode(&padded::<32>(bytes.split_off(..length)?)?).ok()?;
                    BuriedHeader { header: header.under(previous), tx_count, transactions, work }
                });
            }
            before = *found;
        }
        (bytes.is_empty() || last + 1 < FEW).then_some(few)
    }

    /// Those that there are, with their heights; `first` is that of the first place.
    pub fn from(self, first: Height) -> impl Iterator<Item = (Height, BuriedHeader)> {
        self.0
            .into_iter()
            .enumerate()
            .filter_map(move |(place, found)| Some((first.saturating_add(place as u32), found?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::target::Bits;

    #[test]
    fn headers_come_back_whichever_are_there_and_whether_or_not_they_follow() {
        let header = BareHeader { bits: Bits(0x1d00_ffff), time: 3, ..BareHeader::EMPTY };
        for shift in 0..64 {
            let number = u64::MAX >> shift;
            let work: Work = "f".repeat(1 + shift).parse().unwrap();
            let first = header.under(BlockHash::of(b"before"));
            let alone = BuriedHeader { header: first, tx_count: number as u32, transactions: number, work };
            for there in 0..1 << FEW {
                let (mut few, mut before) = (Few::default(), None::<BuriedHeader>);
                for (place, found) in few.0.iter_mut().enumerate().filter(|(place, _)| there >> place & 1 == 1) {
                    // Some follow from the one before, as far as their sums go.
                    let child = before.and_then(|before| before.child(BareHeader { time: place as u32, ..header }, 7));
                    *found = Some(child.filter(|_| shift % 3 > 0).unwrap_or(alone));
                    before = *found;
                }
                let bytes = few.to_bytes();
                assert_eq!(Few::read(&bytes, FEW - 1).as_ref(), Some(&few));
                assert_eq!(Few::read(&[&bytes[..], &[0]].concat(), FEW - 1), None, "too long");
                assert_eq!(Few::read(&bytes[..bytes.len() - 1], FEW - 1), None, "cut");
                for place in 0..FEW {
                    assert_eq!(Few::read(&bytes, place).unwrap().0[place], few.0[place]);
                }
            }
        }
        let few = |first: &[u8]| Few::read(&[first, &[0; FEW - 1]].concat(), FEW - 1);
        assert_eq!(few(&[0]), Some(Few::default()));
        assert_eq!(few(&[&[2][..], &[0; BareHeader::LEN]].concat()), None, "it follows from none");
        let alone =
            BuriedHeader { header: header.under(BlockHash::ZERO), tx_count: 0, transactions: 0, work: Work::ZERO };
        let bytes = Few([Some(alone), None, None, None]).to_bytes();
        assert_eq!(bytes.len(), 1 + BareHeader::LEN + 32 + 2 + FEW - 1);
        let mut long = bytes[..bytes.len() - FEW].to_vec();
        long.extend([40; 41]);
        assert_eq!(few(&long), None, "a work of 40 bytes");
    }
}
