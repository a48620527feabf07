//! Compact blocks (BIP-152): a block's header with six bytes for each transaction, from which a node that has the
//! transactions reconstructs the block. This file builds and reconstructs them; [`super::blocks`] relays them.
//!
//! A short id is the low six bytes of SipHash-2-4 of the txid, under a key that follows from the header and a number
//! that the sender draws: no attacker can make transactions in advance whose short ids collide everywhere. Where two
//! collide by chance, the Merkle root does not match or the short id is ambiguous; the block is then fetched whole.
//! That is no peer's fault.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;

use crate::consensus::check::MatchedBlock;
use crate::consensus::error::Blame;
use crate::consensus::params::MAX_BLOCK_BYTES;
use crate::primitives::block::Block;
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::keyed::HashMap;
use crate::primitives::meter;
use crate::primitives::tx::{HashedTransaction, Transaction};

/// Bytes of the smallest transaction but a coinbase: one input, and one output of no data.
const MIN_TRANSACTION_BYTES: usize = 4 + (8 + 100) + (8 + 20) + 4;
/// Most transactions that any block may have, the coinbase among them.
pub const MAX_TRANSACTIONS: usize = 1 + MAX_BLOCK_BYTES as usize / MIN_TRANSACTION_BYTES;
/// Most prefilled transactions: the coinbase, and those that the sender itself had to request.
pub const MAX_PREFILLED: usize = 64;
/// Most bytes of those besides the coinbase: about what fits in the first packets of a connection (BIP-152).
pub const MAX_PREFILLED_BYTES: usize = 10_000;

/// A place in a block has two bytes.
const _: () = assert!(MAX_TRANSACTIONS <= 1 << 16);

/// Six bytes that stand for a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ShortId(pub [u8; 6]);

impl ShortId {
    /// Bytes of every encoding.
    pub const LEN: usize = 6;
}

/// A prefilled transaction.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Prefilled {
    /// Its place in the block, from 0.
    pub index: u16,
    /// The transaction.
    pub transaction: Arc<Transaction>,
}

/// A block without most of its transactions. As it comes from a peer it may say anything: [`Partial::new`] checks it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CompactBlock {
    /// The block's header.
    pub header: Header,
    /// Drawn by the sender, to key the short ids.
    pub nonce: u64,
    /// Short ids of the other transactions, in the order of the block.
    pub short_ids: Vec<ShortId>,
    /// Prefilled transactions, in the order of the block, the coinbase first.
    pub prefilled: Vec<Prefilled>,
}

/// Why a compact block cannot be reconstructed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// More transactions than fit a block.
    #[error("compact block with {got} transactions, but a block holds at most {max}")]
    TooMany {
        /// How many there are.
        got: usize,
        /// How many there may be.
        max: usize,
    },
    /// The coinbase is not prefilled.
    #[error("compact block without a coinbase")]
    NoCoinbase,
    /// Prefilled transactions are out of order, at one place, or beyond the end.
    #[error("compact block with a transaction out of its place, {index}")]
    Misplaced {
        /// The place that cannot be.
        index: u16,
    },
    /// Other than the transactions asked for.
    #[error("{got} transactions of a block instead of the {expected} requested")]
    WrongCount {
        /// How many there are.
        got: usize,
        /// How many were missing.
        expected: usize,
    },
    /// Two transactions of the block have one short id.
    #[error("two transactions of the block have the same short id")]
    Collision,
    /// The transactions found are not all those of the block: one here has the short id of another there, or the header
    /// belongs to no such block.
    #[error("the transactions do not match the block's Merkle root")]
    WrongRoot,
}

impl CompactError {
    /// Whose fault it is. Short ids may collide by chance, at the sender as well as here.
    pub fn blame(&self) -> Blame {
        match self {
            Self::TooMany { .. } | Self::NoCoinbase | Self::Misplaced { .. } | Self::WrongCount { .. } => Blame::Peer,
            Self::Collision | Self::WrongRoot => Blame::None,
        }
    }
}

/// Makes short ids of one compact block.
struct Keyed(SipHasher24);

impl Keyed {
    fn new(header: &Header, nonce: u64) -> Self {
        let digest = Sha256::new().chain_update(header.to_bytes()).chain_update(nonce.to_le_bytes()).finalize();
        let half = |at: usize| digest[at..at + 8].iter().rev().fold(0, |key, byte| key << 8 | u64::from(*byte));
        Self(SipHasher24::new_with_keys(half(0), half(8)))
    }

    fn short_id(&self, txid: &Txid) -> ShortId {
        let [a, b, c, d, e, f, _, _] = self.0.hash(txid.as_bytes()).to_le_bytes();
        ShortId([a, b, c, d, e, f])
    }
}

impl CompactBlock {
    /// The compact form of a block with these txids. Prefills the coinbase and those of `also`, places in ascending order,
    /// if all of these are within [`MAX_PREFILLED`] and [`MAX_PREFILLED_BYTES`]: a receiver that lacks one more asks anyway.
    pub fn new(block: &Block, txids: &[Txid], nonce: u64, also: &[u16]) -> Self {
        let keyed = Keyed::new(&block.header, nonce);
        meter::stepped(txids.len());
        let asked = also.iter().filter_map(|place| block.transactions.get(usize::from(*place)));
        let fit = also.len() < MAX_PREFILLED && asked.map(Transaction::size).sum::<usize>() <= MAX_PREFILLED_BYTES;
        let mut also = also.iter().filter(|_| fit).peekable();
        let (mut short_ids, mut prefilled) = (Vec::with_capacity(txids.len()), Vec::new());
        for (index, (transaction, txid)) in (0..=u16::MAX).zip(block.transactions.iter().zip(txids)) {
            while also.next_if(|place| **place < index).is_some() {}
            if index == 0 || also.peek() == Some(&&index) {
                prefilled.push(Prefilled { index, transaction: Arc::new(transaction.clone()) });
            } else {
                short_ids.push(keyed.short_id(txid));
            }
        }
        Self { header: block.header, nonce, short_ids, prefilled }
    }

    /// The block's hash.
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }

    /// How many transactions the block has.
    pub fn transactions(&self) -> usize {
        self.short_ids.len() + self.prefilled.len()
    }
}

/// What is known of a place in the block.
#[derive(Debug, Clone)]
enum Slot {
    Missing,
    Found(HashedTransaction),
    /// Two local transactions have the short id: the block's is requested.
    Ambiguous,
}

impl Slot {
    /// A transaction at hand has the short id that is there.
    fn offer(&mut self, transaction: &HashedTransaction) {
        match self {
            Self::Missing => *self = Self::Found(transaction.clone()),
            Self::Found(found) if found.txid() != transaction.txid() => *self = Self::Ambiguous,
            Self::Found(_) | Self::Ambiguous => {}
        }
    }
}

/// A block that may lack some transactions.
#[derive(Debug)]
pub struct Partial {
    header: Header,
    slots: Vec<Slot>,
    missing: Vec<u16>,
}

impl Partial {
    /// Fills in the local transactions. `at_hand` may contain one several times.
    ///
    /// # Errors
    /// [`CompactError`]: not well formed, or two short ids of the block are equal.
    pub fn new<'a>(
        compact: &CompactBlock,
        at_hand: impl IntoIterator<Item = &'a HashedTransaction>,
    ) -> Result<Self, CompactError> {
        let total = compact.transactions();
        if total > MAX_TRANSACTIONS {
            return Err(CompactError::TooMany { got: total, max: MAX_TRANSACTIONS });
        }
        if compact.prefilled.first().is_none_or(|first| first.index != 0) {
            return Err(CompactError::NoCoinbase);
        }
        let mut slots = vec![Slot::Missing; total];
        let mut least = 0;
        for Prefilled { index, transaction } in &compact.prefilled {
            let place = usize::from(*index);
            let slot = slots.get_mut(place).filter(|_| place >= least);
            let slot = slot.ok_or(CompactError::Misplaced { index: *index })?;
            *slot = Slot::Found(HashedTransaction::new(transaction.clone()));
            least = place + 1;
        }
        let mut places = HashMap::with_capacity_and_hasher(compact.short_ids.len(), Default::default());
        let empty = slots.iter().enumerate().filter(|(_, slot)| matches!(slot, Slot::Missing));
        for ((place, _), id) in empty.zip(&compact.short_ids) {
            match places.entry(*id) {
                Entry::Vacant(vacant) => drop(vacant.insert(place)),
                Entry::Occupied(_) => return Err(CompactError::Collision),
            }
        }
        let keyed = Keyed::new(&compact.header, compact.nonce);
        for transaction in at_hand {
            meter::stepped(1);
            if let Some(place) = places.get(&keyed.short_id(&transaction.txid())) {
                slots[*place].offer(transaction);
            }
        }
        let found = |slot: &Slot| matches!(slot, Slot::Found(_));
        let missing = (0..=u16::MAX).zip(&slots).filter(|(_, slot)| !found(slot)).map(|(place, _)| place).collect();
        Ok(Self { header: compact.header, slots, missing })
    }

    /// Places of the transactions to be asked for, in ascending order.
    pub fn missing(&self) -> &[u16] {
        &self.missing
    }

    /// The block, with the transactions that were missing, in order.
    ///
    /// # Errors
    /// [`CompactError::WrongCount`]; [`CompactError::WrongRoot`] if these are not the transactions that the header commits
    /// to, or may be others with the same root (CVE-2012-2459).
    pub fn finish(mut self, transactions: Vec<Arc<Transaction>>) -> Result<MatchedBlock, CompactError> {
        if transactions.len() != self.missing.len() {
            return Err(CompactError::WrongCount { got: transactions.len(), expected: self.missing.len() });
        }
        for (place, transaction) in self.missing.iter().zip(transactions) {
            self.slots[usize::from(*place)] = Slot::Found(HashedTransaction::new(transaction));
        }
        let found = self.slots.into_iter().filter_map(|slot| match slot {
            Slot::Found(transaction) => Some(transaction),
            Slot::Missing | Slot::Ambiguous => None,
        });
        // Which rule was broken makes no difference: these are not the block's.
        MatchedBlock::assemble(self.header, found.collect()).map_err(|_| CompactError::WrongRoot)
    }
}

#[cfg(test)]
mod tests {
    use crate::primitives::height::Height;
    use proptest::prelude::*;

    use super::*;
    use crate::consensus::params::{GenesisSpec, Params};
    use crate::primitives::codec;
    use crate::primitives::keys::Signature;
    use crate::primitives::merkle;
    use crate::primitives::tx::{Input, OutPoint, Output};

    /// Transaction `n` of no block in particular.
    fn transaction(n: u32) -> Transaction {
        let outpoint = OutPoint { txid: Txid::of(&n.to_le_bytes()), index: n };
        let input = Input { outpoint, signature: Signature::EMPTY };
        Transaction {
            version: 1,
            inputs: vec![input],
            outputs: vec![Output::data(Vec::new())],
            lock_height: Height::GENESIS,
        }
    }

    /// A block with a coinbase and transactions 0 to `count`.
    fn block(count: u32) -> Block {
        let mut block = Params::new(GenesisSpec::regtest()).unwrap().genesis;
        block.transactions.extend((0..count).map(transaction));
        block.header.merkle_root = merkle::root(block.txids()).hash;
        block
    }

    fn pool(numbers: impl IntoIterator<Item = u32>) -> Vec<HashedTransaction> {
        numbers.into_iter().map(transaction).map(HashedTransaction::new).collect()
    }

    fn partial(compact: &CompactBlock, pool: &[HashedTransaction]) -> Result<Partial, CompactError> {
        Partial::new(compact, pool)
    }

    fn served(block: &Block, places: &[u16]) -> Vec<Arc<Transaction>> {
        places.iter().map(|place| Arc::new(block.transactions[usize::from(*place)].clone())).collect()
    }

    proptest! {
        #[test]
        fn any_block_comes_back_whatever_is_at_hand(
            count in 0..60u32,
            nonce in any::<u64>(),
            at_hand in prop::collection::vec(0..100u32, 0..100),
            mut also in prop::collection::vec(0..70u16, 0..20),
        ) {
            also.sort_unstable();
            let block = block(count);
            let compact = CompactBlock::new(&block, &block.txids(), nonce, &also);
            prop_assert_eq!(compact.transactions(), block.transactions.len());
            prop_assert!(codec::encoded_len(&compact) <= block.size() + 16 + 2 * compact.prefilled.len());
            let compact: CompactBlock = codec::decode(&codec::encode(&compact)).unwrap();
            let pool = pool(at_hand.iter().copied());
            let partial = partial(&compact, &pool).unwrap();
            let missing = partial.missing().to_vec();
            let lacks = |n: &u32| !at_hand.contains(n) && !also.contains(&(*n as u16 + 1));
            prop_assert_eq!(missing.len(), (0..count).filter(lacks).count());
            let whole = partial.finish(served(&block, &missing)).unwrap();
            prop_assert_eq!((whole.block(), whole.txids()), (&block, &block.txids()[..]));
        }

        #[test]
        fn any_compact_block_gives_an_error_or_the_block_of_its_header(
            ids in prop::collection::vec(any::<[u8; 6]>(), 0..8),
            indexes in prop::collection::vec(0..12u16, 0..5),
            given_back in 0..8u32,
        ) {
            let block = block(8);
            let prefilled = |index: u16| Prefilled { index, transaction: Arc::new(transaction(u32::from(index))) };
            let compact = CompactBlock {
                header: block.header,
                nonce: 1,
                short_ids: ids.into_iter().map(ShortId).collect(),
                prefilled: indexes.into_iter().map(prefilled).collect(),
            };
            if let Ok(partial) = partial(&compact, &pool(0..8)) {
                prop_assert!(partial.missing().is_sorted_by(|a, b| a < b));
                let transactions = pool(0..given_back).into_iter().map(HashedTransaction::into_shared).collect();
                prop_assert!(partial.finish(transactions).is_err());
            }
        }
    }

    #[test]
    fn short_ids_are_bip_152s() {
        let block = block(1);
        let compact = CompactBlock::new(&block, &block.txids(), 0x0102_0304_0506_0708, &[]);
        let mut keyed = block.header.to_bytes().to_vec();
        keyed.extend([8, 7, 6, 5, 4, 3, 2, 1]);
        let key = Sha256::digest(keyed);
        let key: [u8; 16] = key[..16].try_into().unwrap();
        let hash = SipHasher24::new_with_key(&key).hash(block.transactions[1].txid().as_bytes());
        assert_eq!(compact.short_ids[0].0[..], hash.to_le_bytes()[..6]);
    }

    #[test]
    fn the_smallest_transaction() {
        assert_eq!(transaction(1).size(), MIN_TRANSACTION_BYTES);
    }

    #[test]
    fn requested_transactions_are_prefilled_if_all_of_them_fit() {
        let mut block = block(200);
        block.transactions[1].outputs = vec![Output::data(vec![0; MAX_PREFILLED_BYTES])];
        let prefilled = |also: &[u16]| {
            let compact = CompactBlock::new(&block, &block.txids(), 3, also);
            compact.prefilled.iter().map(|prefilled| prefilled.index).collect::<Vec<_>>()
        };
        let places = |count: usize| (2..).take(count).collect::<Vec<u16>>();
        let most = MAX_PREFILLED - 1;
        assert_eq!(prefilled(&places(most)), [&[0], &places(most)[..]].concat());
        assert_eq!(prefilled(&places(most + 1)), [0]);
        assert_eq!(prefilled(&[1, 2]), [0], "the first is too large");
        assert_eq!(prefilled(&[0, 2, 2, 201]), [0, 2]);
    }

    #[test]
    fn malformed_ones_are_the_senders_fault() {
        let block = block(3);
        let good = CompactBlock::new(&block, &block.txids(), 3, &[2]);
        let error = |change: fn(&mut CompactBlock)| {
            let mut bad = good.clone();
            change(&mut bad);
            let error = partial(&bad, &[]).unwrap_err();
            assert_eq!(error.blame(), Blame::Peer);
            error
        };
        assert_eq!(error(|bad| bad.prefilled.clear()), CompactError::NoCoinbase);
        assert_eq!(error(|bad| bad.prefilled.swap(0, 1)), CompactError::NoCoinbase);
        assert_eq!(error(|bad| bad.prefilled[1].index = 0), CompactError::Misplaced { index: 0 });
        assert_eq!(error(|bad| bad.prefilled[1].index = 4), CompactError::Misplaced { index: 4 });
        let (got, max) = (MAX_TRANSACTIONS + 2, MAX_TRANSACTIONS);
        assert_eq!(
            error(|bad| bad.short_ids = vec![ShortId([0; 6]); MAX_TRANSACTIONS]),
            CompactError::TooMany { got, max }
        );
        let partial = partial(&good, &[]).unwrap();
        let short = served(&block, &partial.missing()[1..]);
        assert_eq!(partial.finish(short), Err(CompactError::WrongCount { got: 1, expected: 2 }));
    }

    #[test]
    fn equal_short_ids_match_no_transaction() {
        let block = block(3);
        let mut twice = CompactBlock::new(&block, &block.txids(), 3, &[]);
        twice.short_ids[1] = twice.short_ids[0];
        assert_eq!(partial(&twice, &[]).unwrap_err(), CompactError::Collision);
        // Transactions that pose as others, as a transaction here with the short id of another there would.
        let posing = pool([0, 50, 51, 52]);
        let ids: Vec<Txid> = posing.iter().map(HashedTransaction::txid).collect();
        let found = partial(&CompactBlock::new(&block, &ids, 3, &[]), &posing).unwrap();
        assert!(found.missing().is_empty());
        assert_eq!(found.finish(Vec::new()), Err(CompactError::WrongRoot));
        let compact = CompactBlock::new(&block, &block.txids(), 3, &[]);
        let partial = partial(&compact, &pool([0, 1])).unwrap();
        assert_eq!(partial.missing(), [3]);
        let other = vec![Arc::new(transaction(9))];
        assert_eq!(partial.finish(other), Err(CompactError::WrongRoot));
        assert_eq!((CompactError::Collision.blame(), CompactError::WrongRoot.blame()), (Blame::None, Blame::None));
    }

    /// In either order, neither of two colliding transactions is used; a repeated one is.
    #[test]
    fn two_candidates_with_the_same_short_id_are_both_left_out() {
        let [one, two] = &pool([1, 2])[..] else { panic!("two") };
        for (offers, taken) in [(vec![one, two, two], false), (vec![two, one, two], false), (vec![one, one], true)] {
            let mut slot = Slot::Missing;
            offers.into_iter().for_each(|transaction| slot.offer(transaction));
            assert_eq!(matches!(slot, Slot::Found(_)), taken);
        }
    }

    /// A tail that is repeated has the same root, and is not the block (CVE-2012-2459).
    #[test]
    fn a_repeated_tail_is_not_the_block() {
        let mut mutated = block(2);
        let last = mutated.transactions[2].clone();
        mutated.transactions.push(last);
        let compact = CompactBlock::new(&mutated, &mutated.txids(), 3, &[2, 3]);
        let partial = partial(&compact, &pool([0])).unwrap();
        assert_eq!(merkle::root(mutated.txids()).hash, mutated.header.merkle_root);
        assert_eq!(partial.finish(Vec::new()), Err(CompactError::WrongRoot));
    }
}
