//! Receipts for coins: what they show, and every way to change one.

use cairn_core::consensus::params::GenesisSpec;
use cairn_core::primitives::amount::{Amount, COIN};
use cairn_core::primitives::hash::{FilterHeader, MmrRoot, StateRoot};
use cairn_core::primitives::height::Height;
use cairn_core::primitives::merkle::Branch;
use cairn_core::primitives::time::UnixTime;
use cairn_core::primitives::tx::Output;
use cairn_core::receipt::{Evidence, Holding, HoldingError, HoldingReceipt, Question, Receipt};
use cairn_core::state::{StateId, Table, Total};
use cairn_testkit::{Ledger, funded, public};

const EPOCH: u32 = 3;
const OWNER: u8 = 2;

/// A chain in which the owner gets three coins and spends one of them before the edge at height 3, and gets another after
/// it; with the state after that edge.
struct Scene {
    ledger: Ledger,
    table: Table,
    state: StateId,
    /// What block 6, the first that commits to the state, commits to.
    range: MmrRoot,
    filters: FilterHeader,
}

fn scene() -> Scene {
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..funded(0..4, COIN) };
    assert!(spec.mine_nonce());
    let mut ledger = Ledger::new(spec);
    let to = |n: u8, value: u64| Output::pay(public(n), Amount::from_grains(value));
    let pay = ledger.payment(&[ledger.allocation(1)], vec![to(OWNER, COIN / 4), to(OWNER, COIN / 4)]);
    let spend = ledger.payment(&[ledger.allocation(OWNER + 1)], vec![to(3, COIN - 7)]);
    for payments in [vec![pay], vec![spend], vec![]] {
        let block = ledger.block(payments);
        ledger.append(&block);
    }
    let (table, state) = (ledger.epochs.table().clone(), *ledger.epochs.last().unwrap());
    let late = ledger.payment(&[ledger.allocation(2)], vec![to(OWNER, COIN - 7)]);
    let block = ledger.block(vec![late]);
    ledger.append(&block);
    ledger.extend(1, 1);
    let due = ledger.committed();
    assert_eq!((ledger.height().next(), due.state), (Height::from_u32(2 * EPOCH), state.root));
    ledger.extend(4, 1);
    Scene { ledger, table, state, range: due.range, filters: due.filters }
}

impl Scene {
    /// A receipt for transaction `place` of the block at `height`, with all headers.
    fn receipt(&self, height: u32, place: u32) -> Receipt {
        let block = &self.ledger.blocks[height as usize];
        Receipt {
            network: self.ledger.params.genesis_hash,
            transaction: block.transactions[place as usize].clone(),
            branch: Branch::new(block.txids(), place).unwrap(),
            height: Height::from_u32(height),
            evidence: Evidence::Headers(self.ledger.blocks[1..].iter().map(|block| block.header).collect()),
            tip: self.ledger.tip().hash(),
        }
    }

    fn holding(&self, question: Question) -> HoldingReceipt {
        let proof = self.table.with_source(|source| question.prove(source)).unwrap().unwrap();
        let (state, range, filters) = (self.state, self.range, self.filters);
        HoldingReceipt { question, state, proof, range, filters, receipt: self.receipt(2 * EPOCH, 0) }
    }

    fn shown(&self, receipt: &HoldingReceipt) -> Result<Holding, HoldingError> {
        let now = UnixTime::from_secs(u64::from(self.ledger.tip().time));
        receipt.verify(&self.ledger.params, None, now).map(|(proven, holding)| {
            assert_eq!((proven.height, proven.headers), (Height::from_u32(2 * EPOCH), 4));
            holding
        })
    }
}

#[test]
fn the_coins_of_a_key_are_shown_as_they_were_at_the_edge() {
    let scene = scene();
    let owner = public(OWNER);
    let half = Total { sum: Amount::from_grains(COIN / 2), count: 2 };
    assert_eq!(scene.shown(&scene.holding(Question::Balance(owner))).unwrap(), Holding::Balance(half));
    let shown = scene.shown(&scene.holding(Question::Coins(owner))).unwrap();
    assert_eq!(shown.total(), half);
    let coins = shown.coins().unwrap();
    assert_eq!(coins.iter().map(|leaf| leaf.value.as_grains()).collect::<Vec<_>>(), [COIN / 4, COIN / 4]);
    assert!(coins.iter().all(|leaf| leaf.lock == owner && leaf.height == Height::from_u32(1) && !leaf.coinbase));
    let (outpoint, _) = coins[1].coin();
    let coin = |outpoint| scene.shown(&scene.holding(Question::Coin(owner, outpoint))).unwrap();
    assert_eq!(coin(outpoint), Holding::Coin(Some(coins[1])));
    // Spent before the edge, and another's.
    assert_eq!(coin(scene.ledger.allocation(OWNER + 1)), Holding::Coin(None));
    assert_eq!(coin(scene.ledger.allocation(1)), Holding::Coin(None));
    // A key that never had anything.
    let nothing = scene.shown(&scene.holding(Question::Balance(public(77)))).unwrap();
    assert_eq!(nothing, Holding::Balance(Total::default()));
}

#[test]
fn whatever_is_changed_is_refused() {
    let scene = scene();
    let honest = scene.holding(Question::Coins(public(OWNER)));
    let changed = |change: &dyn Fn(&mut HoldingReceipt)| {
        let mut receipt = honest.clone();
        change(&mut receipt);
        scene.shown(&receipt).unwrap_err()
    };
    let proof_of = |question| scene.holding(question).proof;
    assert!(matches!(changed(&|r| r.question = Question::Coins(public(1))), HoldingError::Proof(_)));
    assert!(matches!(changed(&|r| r.question = Question::Balance(public(OWNER))), HoldingError::Proof(_)));
    assert!(matches!(changed(&|r| r.proof = proof_of(Question::Coins(public(1)))), HoldingError::Proof(_)));
    assert!(matches!(changed(&|r| r.proof = proof_of(Question::Balance(public(OWNER)))), HoldingError::Proof(_)));
    for at in 0..honest.proof.len() {
        assert!(matches!(changed(&|r| r.proof[at] ^= 1), HoldingError::Proof(_)), "byte {at} of the proof");
    }
    let commits = |error| matches!(error, HoldingError::OtherCommitment { .. });
    assert!(commits(changed(&|r| r.state.root = StateRoot::ZERO)));
    assert!(commits(changed(&|r| r.range = MmrRoot::of(b"other headers"))));
    assert!(commits(changed(&|r| r.filters = FilterHeader::ZERO)));
    // The block is part of the root.
    assert!(matches!(changed(&|r| r.state.block = scene.ledger.tip().hash()), HoldingError::Proof(_)));
    let other_state = |error| matches!(error, HoldingError::OtherState { .. });
    assert!(other_state(changed(&|r| r.state.height = Height::GENESIS)));
    assert!(other_state(changed(&|r| r.receipt = scene.receipt(5, 0))));
    assert!(other_state(changed(&|r| r.receipt = scene.receipt(2, 0))));
    assert!(matches!(changed(&|r| r.receipt = scene.receipt(4, 1)), HoldingError::NotCoinbase));
    assert!(matches!(changed(&|r| r.receipt.height = Height::from_u32(7)), HoldingError::Receipt(_)));
    // Block 7 commits to the same state, after other headers.
    assert!(commits(changed(&|r| r.receipt = scene.receipt(7, 0))));
}

#[test]
fn the_text_says_the_same_and_is_read_strictly() {
    let scene = scene();
    let outpoint = scene.ledger.allocation(1);
    for question in
        [Question::Balance(public(OWNER)), Question::Coins(public(OWNER)), Question::Coin(public(OWNER), outpoint)]
    {
        let receipt = scene.holding(question);
        let text = receipt.to_json();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(HoldingReceipt::is_format_of(text.as_bytes()));
        assert_eq!(HoldingReceipt::from_json(text.as_bytes()).unwrap(), receipt);
        assert_eq!(HoldingReceipt::from_value(value.clone()).unwrap(), receipt);
        let fields: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        for field in fields {
            let mut without = value.clone();
            without.as_object_mut().unwrap().remove(&field);
            assert!(HoldingReceipt::from_value(without).is_err(), "{field} may be missing");
            let mut other = value.clone();
            other[&field] = serde_json::json!("AB");
            assert!(HoldingReceipt::from_value(other).is_err(), "{field} may be anything");
        }
        let mut more = value;
        more["more"] = serde_json::json!(1);
        assert!(HoldingReceipt::from_value(more).is_err());
    }
    assert!(!HoldingReceipt::is_format_of(scene.receipt(6, 0).to_json().as_bytes()));
}
