//! Every rule, broken on purpose: a table of transactions and blocks, each with its required verdict.
//!
//! Where a rule has a limit, both sides of it are in the table. The cases stand in `table/`, by what a rule needs
//! to know; each starts from a valid block and says what it changes.

mod bodies;
mod coinbases;
mod headers;
mod payments;

use std::collections::BTreeSet;

use cairn_core::consensus::check;
use cairn_core::consensus::connect;
use cairn_core::consensus::error::{Blame, RuleError, Verdict};
use cairn_core::primitives::amount::Amount;
use cairn_core::primitives::block::Block;
use cairn_core::primitives::hash::BlockHash;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::tx::{OutPoint, Output, Transaction};
use cairn_testkit::{Ledger, funded, public};

/// Names the rule that an error is about. Every variant is here, or this does not compile.
macro_rules! rules {
    ($($rule:ident),* $(,)?) => {
        fn rule(error: &RuleError) -> &'static str {
            match error { $(RuleError::$rule { .. } => stringify!($rule)),* }
        }
        const RULES: &[&str] = &[$(stringify!($rule)),*];
    };
}

rules![
    Encoding,
    BadBits,
    EasierThanLimit,
    HighHash,
    WrongBits,
    TimeTooOld,
    TimeTooNew,
    InvalidParent,
    WrongMerkleRoot,
    MutatedMerkleTree,
    NodeSizedTransaction,
    BlockTooLarge,
    EmptyBlock,
    FirstNotCoinbase,
    NoInputs,
    TransactionTooLarge,
    NoOutputs,
    DuplicateInput,
    DataTooLong,
    DataWithValue,
    KeyWithoutValue,
    TooManyData,
    ValueOverflow,
    CoinbaseHeight,
    NoCommitment,
    ShortCommitment,
    WrongCommitment,
    CoinbaseTooHigh,
    Locked,
    MissingCoin,
    ImmatureCoin,
    Overspend,
    BadSignature,
];

/// One line of the table.
struct Case {
    name: &'static str,
    /// The rule that it must break; `None` if it is valid.
    breaks: Option<&'static str>,
    make: fn(&mut Scene) -> Subject,
}

const fn valid(name: &'static str, make: fn(&mut Scene) -> Subject) -> Case {
    Case { name, breaks: None, make }
}

const fn breaks(rule: &'static str, name: &'static str, make: fn(&mut Scene) -> Subject) -> Case {
    Case { name, breaks: Some(rule), make }
}

/// The value under test.
enum Subject {
    /// Bytes that should be a block.
    Bytes(Vec<u8>),
    /// A block.
    Block(Block),
    /// A transaction: alone, as the mempool sees it, and in a block that is otherwise valid. The verdicts must agree.
    Payment(Transaction),
}

/// The start of every case: 24 blocks after a genesis that gave 10 coins to each of keys 1 to 12. A coinbase can be
/// spent after 10 blocks, so the next block, 25, may spend those up to height 15.
#[derive(Clone)]
struct Scene {
    ledger: Ledger,
    /// The clock.
    now: u64,
}

const HEIGHT: Height = Height::from_u32(24);
const NEXT: Height = HEIGHT.next();

impl Scene {
    fn new() -> Self {
        let mut ledger = Ledger::new(funded(1..=12, TEN_COINS));
        ledger.extend(HEIGHT.as_u32(), 0);
        Self { now: u64::from(ledger.tip().time), ledger }
    }

    /// The next block with `transactions`, changed and then sealed, so that Merkle root and nonce are valid again.
    fn altered(&self, transactions: Vec<Transaction>, change: impl FnOnce(&mut Block)) -> Subject {
        let mut block = self.ledger.block(transactions);
        change(&mut block);
        cairn_testkit::seal(&mut block);
        Subject::Block(block)
    }

    /// The next block with `transactions`, changed without updating the Merkle root, but mined again.
    fn forged(&self, transactions: Vec<Transaction>, change: impl FnOnce(&mut Block)) -> Subject {
        let mut block = self.ledger.block(transactions);
        change(&mut block);
        cairn_testkit::mine(&mut block.header);
        Subject::Block(block)
    }

    /// The next block with `transactions`, valid but for them.
    fn with(&self, transactions: Vec<Transaction>) -> Subject {
        Subject::Block(self.ledger.block(transactions))
    }

    /// Key `n` pays its 10 coins of genesis to key `to`, less one grain of fee.
    fn simple(&self, n: u8, to: u8) -> Transaction {
        self.ledger.payment(&[self.ledger.allocation(n)], vec![pay(to, TEN_COINS - 1)])
    }

    /// What the miner got at `height`.
    fn coinbase_of(&self, height: Height) -> OutPoint {
        let mut coins = self.ledger.coins.0.iter();
        let found = coins.find(|(_, coin)| coin.coinbase && coin.height == height);
        *found.expect("no coinbase has been spent").0
    }

    fn judge(&self, subject: &Subject) -> Result<(), RuleError> {
        match subject {
            Subject::Bytes(bytes) => self.ledger.validate_bytes(bytes, self.now).map(drop),
            Subject::Block(block) => self.ledger.validate(block, self.now).map(drop),
            Subject::Payment(tx) => {
                let block = self.ledger.block(vec![tx.clone()]);
                let mined = self.ledger.validate(&block, self.now).map(drop);
                assert_eq!(self.judge_alone(tx), mined, "alone and in a block");
                mined
            }
        }
    }

    fn judge_alone(&self, tx: &Transaction) -> Result<(), RuleError> {
        let txid = tx.txid();
        check::check_transaction(tx, &txid)?;
        let coins: Result<Vec<_>, _> = tx
            .inputs
            .iter()
            .map(|input| {
                let coin = self.ledger.coins.0.get(&input.outpoint).cloned();
                coin.ok_or(RuleError::MissingCoin { txid, outpoint: input.outpoint })
            })
            .collect();
        let (coins, height, params) = (coins?, self.ledger.height().next(), &self.ledger.params);
        connect::check_spend(tx, &txid, &coins, height, params)?;
        connect::check_signatures(tx, &txid, &coins, params)
    }
}

const TEN_COINS: u64 = 10 * cairn_core::primitives::amount::COIN;

fn pay(to: u8, value: u64) -> Output {
    Output::pay(public(to), Amount::from_grains(value))
}

fn table() -> Vec<Case> {
    [headers::cases(), bodies::cases(), coinbases::cases(), payments::cases()].into_iter().flatten().collect()
}

#[test]
fn every_case_gets_its_verdict() {
    let start = Scene::new();
    let mut wrong = Vec::new();
    for case in table() {
        let mut scene = start.clone();
        let subject = (case.make)(&mut scene);
        let verdict = scene.judge(&subject);
        if verdict.as_ref().err().map(rule) != case.breaks {
            wrong.push(format!("{}: expected {:?}, got {verdict:?}", case.name, case.breaks));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_covers_every_rule() {
    let table = table();
    let broken: BTreeSet<&str> = table.iter().filter_map(|case| case.breaks).collect();
    // Only the tree of headers knows that a parent is invalid; its tests cover that rule.
    let rules: BTreeSet<&str> = RULES.iter().copied().filter(|rule| *rule != "InvalidParent").collect();
    assert_eq!(broken, rules);

    let names: BTreeSet<&str> = table.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), table.len(), "two cases have one name");
    assert!(table.len() >= 60, "{} cases", table.len());
}

#[test]
fn verdicts_do_not_depend_on_repetition() {
    // A refused block leaves no state: the valid block still connects after each.
    let start = Scene::new();
    let good = start.ledger.block(vec![start.simple(1, 2)]);
    for case in table().iter().filter(|case| case.breaks.is_some()) {
        let mut scene = start.clone();
        let subject = (case.make)(&mut scene);
        let first = scene.judge(&subject);
        assert_eq!(first, scene.judge(&subject), "{}", case.name);
    }
    assert!(start.ledger.validate(&good, start.now).is_ok());
}

#[test]
fn blame_and_verdict() {
    let start = Scene::new();
    for case in table() {
        let mut scene = start.clone();
        let subject = (case.make)(&mut scene);
        let Err(error) = scene.judge(&subject) else { continue };
        let expected = match rule(&error) {
            // Another body may match the same header, so the block's hash must not be marked invalid.
            "Encoding" | "WrongMerkleRoot" | "MutatedMerkleTree" | "NodeSizedTransaction" | "EmptyBlock" => {
                (Verdict::BodyMismatch, Blame::Peer)
            }
            "TimeTooNew" => (Verdict::NotYet, Blame::None),
            _ => (Verdict::Invalid, Blame::Peer),
        };
        assert_eq!((error.verdict(), error.blame()), expected, "{}", case.name);
    }
    let orphaned = RuleError::InvalidParent { parent: BlockHash::ZERO };
    assert_eq!((orphaned.verdict(), orphaned.blame()), (Verdict::Invalid, Blame::Peer));
}

#[test]
fn messages_name_what_was_got_and_expected() {
    let start = Scene::new();
    for case in table() {
        let mut scene = start.clone();
        let subject = (case.make)(&mut scene);
        let Err(error) = scene.judge(&subject) else { continue };
        let text = error.to_string();
        assert!(text.len() > 20 && !text.contains('{') && !text.ends_with('.'), "{}: {text:?}", case.name);
    }
}
