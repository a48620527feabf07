//! Laws that hold for all values: encodings are canonical, and connecting a block can be undone.

use std::collections::BTreeMap;

use cairn_core::consensus::coins::{Coin, Delta};
use cairn_core::primitives::amount::{Amount, COIN};
use cairn_core::primitives::block::Block;
use cairn_core::primitives::codec::{self, Decode, Encode};
use cairn_core::primitives::hash::{BlockHash, MerkleRoot, Txid};
use cairn_core::primitives::header::Header;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::keys::{PublicKey, Signature};
use cairn_core::primitives::merkle::{self, Branch};
use cairn_core::primitives::target::Bits;
use cairn_core::primitives::tx::{Input, Lock, OutPoint, Output, Transaction};
use cairn_testkit::{Ledger, funded, public, unsigned};
use proptest::prelude::*;
use proptest::sample::Index;

fn txid() -> impl Strategy<Value = Txid> {
    any::<[u8; 32]>().prop_map(Txid::from_bytes)
}

fn block_hash() -> impl Strategy<Value = BlockHash> {
    any::<[u8; 32]>().prop_map(BlockHash::from_bytes)
}

fn merkle_root() -> impl Strategy<Value = MerkleRoot> {
    any::<[u8; 32]>().prop_map(MerkleRoot::from_bytes)
}

fn output() -> impl Strategy<Value = Output> {
    let lock = prop_oneof![
        any::<[u8; 32]>().prop_map(|key| Lock::Key(PublicKey(key))),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Lock::Data),
    ];
    (any::<u64>(), lock).prop_map(|(value, lock)| Output { value: Amount::from_grains(value), lock })
}

fn input() -> impl Strategy<Value = Input> {
    (txid(), any::<u32>(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(txid, index, r, s)| {
        let signature = Signature([r, s].concat().try_into().expect("32 and 32 bytes"));
        Input { outpoint: OutPoint { txid, index }, signature }
    })
}

fn height() -> impl Strategy<Value = Height> {
    any::<u32>().prop_map(Height::from_u32)
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let parts = (any::<u32>(), prop::collection::vec(input(), 0..4), prop::collection::vec(output(), 0..4), height());
    parts.prop_map(|(version, inputs, outputs, lock_height)| Transaction { version, inputs, outputs, lock_height })
}

fn header() -> impl Strategy<Value = Header> {
    (any::<i32>(), block_hash(), merkle_root(), any::<[u32; 3]>()).prop_map(
        |(version, previous, merkle_root, [time, bits, nonce])| Header {
            version,
            previous,
            merkle_root,
            time,
            bits: Bits(bits),
            nonce,
        },
    )
}

fn block() -> impl Strategy<Value = Block> {
    (header(), prop::collection::vec(transaction(), 0..4))
        .prop_map(|(header, transactions)| Block { header, transactions })
}

/// Encoding and decoding are inverse, the length is known beforehand, and more or fewer bytes are refused.
fn one_encoding<T: Encode + Decode<()> + PartialEq + std::fmt::Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = codec::encode(value);
    prop_assert_eq!(bytes.len(), codec::encoded_len(value));
    prop_assert_eq!(&codec::decode::<T>(&bytes).unwrap(), value);
    prop_assert!(codec::decode::<T>(&bytes[..bytes.len() - 1]).is_err());
    prop_assert!(codec::decode::<T>(&[&bytes[..], &[0]].concat()).is_err());
    Ok(())
}

/// Bytes that are accepted encode to themselves again.
fn no_second_encoding<T: Encode + Decode<()>>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(value) = codec::decode::<T>(bytes) {
        prop_assert_eq!(codec::encode(&value), bytes);
    }
    Ok(())
}

proptest! {
    #[test]
    fn values_have_one_encoding(block in block(), height in height(), index: u32, coinbase: bool, output in output()) {
        one_encoding(&block)?;
        one_encoding(&block.header)?;
        one_encoding(&Coin { output, height, coinbase })?;
        one_encoding(&Branch { index, siblings: block.txids().iter().map(Txid::as_leaf).collect() })?;
        prop_assert_eq!(block.size(), codec::encode(&block).len());
        for tx in &block.transactions {
            one_encoding(tx)?;
            prop_assert_eq!(tx.size(), codec::encode(tx).len());
            prop_assert_eq!(tx.txid(), Txid::of(&codec::encode(tx)));
        }
    }

    /// One byte of a valid encoding replaced: refused, or the one encoding of another value.
    #[test]
    fn damaged_encodings(block in block(), at: Index, byte: u8) {
        let mut bytes = codec::encode(&block);
        let at = at.index(bytes.len());
        let changed = bytes[at] != byte;
        bytes[at] = byte;
        no_second_encoding::<Block>(&bytes)?;
        if let Ok(read) = codec::decode::<Block>(&bytes) {
            prop_assert_eq!(read != block, changed);
        }
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        no_second_encoding::<Block>(&bytes)?;
        no_second_encoding::<Transaction>(&bytes)?;
        no_second_encoding::<Header>(&bytes)?;
        no_second_encoding::<Coin>(&bytes)?;
        no_second_encoding::<Branch>(&bytes)?;
    }

    /// The signature digest depends on everything except the signatures.
    #[test]
    fn digest_covers_all_but_signatures(tx in transaction(), spent in prop::collection::vec(output(), 1..3), genesis in block_hash()) {
        prop_assume!(!tx.inputs.is_empty());
        let digest = tx.signature_digest(&genesis, &spent);
        let mut signed = tx.clone();
        signed.inputs.iter_mut().for_each(|input| input.signature = Signature([1; 64]));
        prop_assert_eq!(signed.signature_digest(&genesis, &spent), digest);

        let mut other = spent.clone();
        other[0].value = Amount::from_grains(other[0].value.as_grains() ^ 1);
        prop_assert_ne!(tx.signature_digest(&genesis, &other), digest);
        prop_assert_ne!(tx.signature_digest(&genesis, &spent[1..]), digest);
        prop_assert_ne!(tx.signature_digest(&BlockHash::of(genesis.as_bytes()), &spent), digest);
        let changes: [fn(&mut Transaction); 4] = [
            |tx| tx.version ^= 1,
            |tx| tx.lock_height = Height::from_u32(tx.lock_height.as_u32() ^ 1),
            |tx| tx.inputs[0].outpoint.index ^= 1,
            |tx| tx.outputs.push(Output::data(Vec::new())),
        ];
        for change in changes {
            let mut changed = tx.clone();
            change(&mut changed);
            prop_assert_ne!(changed.signature_digest(&genesis, &spent), digest);
        }
    }

    #[test]
    fn branches_of_any_tree(leaves in prop::collection::vec(txid(), 1..70), index: Index) {
        let root = merkle::root(leaves.clone());
        prop_assert!(!root.mutated);
        let index = index.index(leaves.len());
        let branch = Branch::new(leaves.clone(), index as u32).unwrap();
        prop_assert!(branch.verify(&leaves[index], &root.hash));
        prop_assert!(1 << branch.siblings.len() >= leaves.len());
    }
}

/// How one payment of a random block is made: which coin, how many outputs, to whom, with what fee.
type Draw = (Index, u8, u8, u8);

/// The next block, of payments drawn at random from the coins that it may spend, those of its own payments included.
fn random_block(ledger: &Ledger, draws: &[Draw]) -> Block {
    let height = ledger.height().next();
    let mature = |coin: &Coin| !coin.coinbase || coin.height.saturating_add(ledger.params.coinbase_maturity) <= height;
    // Sorted, so that a failing case repeats.
    let mut purse: BTreeMap<OutPoint, u64> = ledger
        .coins
        .0
        .iter()
        .filter(|(_, coin)| mature(coin))
        .map(|(at, coin)| (*at, coin.output.value.as_grains()))
        .collect();
    let mut payments: Vec<Transaction> = Vec::new();
    for (which, count, to, fee) in draws {
        let Some((&outpoint, &value)) = purse.iter().nth(which.index(purse.len().max(1))) else { break };
        let count = 1 + u64::from(count % 3);
        let share = value.saturating_sub(u64::from(*fee)) / count;
        if share == 0 {
            continue;
        }
        purse.remove(&outpoint);
        let mut outputs: Vec<Output> =
            (0..count).map(|_| Output::pay(public(to % 20), Amount::from_grains(share))).collect();
        outputs.push(Output::data(vec![*to]));
        let pending: Vec<&Transaction> = payments.iter().collect();
        let tx = ledger.sign(unsigned(&[outpoint], outputs), &pending);
        purse.extend(
            tx.outpoints(tx.txid())
                .filter(|(_, output)| output.key().is_some())
                .map(|(at, o)| (at, o.value.as_grains())),
        );
        payments.push(tx);
    }
    ledger.block(payments)
}

/// The coins after a list of blocks, the slow way: every output that no input names.
fn replay(blocks: &[Block]) -> BTreeMap<OutPoint, Coin> {
    let mut coins = BTreeMap::new();
    for (height, block) in (0..).map(Height::from_u32).zip(blocks) {
        for tx in &block.transactions {
            let made = tx.outpoints(tx.txid()).filter(|(_, output)| output.key().is_some());
            let coin = |output: &Output| Coin {
                output: output.clone(),
                height,
                coinbase: height > Height::GENESIS && tx.is_coinbase(),
            };
            coins.extend(made.map(|(outpoint, output)| (outpoint, coin(output))));
        }
        let spent = block.transactions.iter().flat_map(|tx| &tx.inputs);
        spent.for_each(|input| assert!(coins.remove(&input.outpoint).is_some(), "a coin spent twice"));
    }
    coins
}

fn sorted(ledger: &Ledger) -> BTreeMap<OutPoint, Coin> {
    ledger.coins.0.clone().into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn connecting_and_undoing(
        blocks in prop::collection::vec(prop::collection::vec(any::<Draw>(), 0..8), 1..20),
    ) {
        let mut spec = funded(1..=5, 10 * COIN);
        spec.coinbase_maturity = 2;
        spec.mine_nonce();
        let mut ledger = Ledger::new(spec);
        let mut chain = vec![ledger.params.genesis.clone()];
        let mut history: Vec<(BTreeMap<OutPoint, Coin>, Delta)> = Vec::new();
        let mut supply: u64 = ledger.coins.0.values().map(|coin| coin.output.value.as_grains()).sum();
        for draws in &blocks {
            let before = sorted(&ledger);
            let block = random_block(&ledger, draws);
            let delta = ledger.append(&block);
            chain.push(block);
            prop_assert_eq!(&sorted(&ledger), &replay(&chain));

            // Every coinbase takes the maximum, so the supply grows by exactly the subsidy.
            supply += ledger.params.subsidy_at(ledger.height()).as_grains();
            prop_assert_eq!(ledger.coins.0.values().map(|coin| coin.output.value.as_grains()).sum::<u64>(), supply);
            history.push((before, delta));
        }
        for (before, delta) in history.iter().rev() {
            ledger.coins.undo(delta);
            prop_assert_eq!(&sorted(&ledger), before);
        }
    }
}
