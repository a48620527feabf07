//! The worked example of `docs/protocol.md`, computed again: the document cannot drift from the code.

use cairn::consensus::coins::Delta;
use cairn::consensus::filter::block_filter;
use cairn::consensus::params::GenesisSpec;
use cairn::p2p::compact::CompactBlock;
use cairn::p2p::message::{Kind, MIN_PROTOCOL_VERSION, PROTOCOL_VERSION};
use cairn::primitives::address;
use cairn::primitives::amount::Amount;
use cairn::primitives::codec::{self, Encode};
use cairn::primitives::hash::{FilterHeader, SignatureDigest};
use cairn::primitives::height::Height;
use cairn::primitives::tx::{OutPoint, Output, Transaction};
use cairn::state::{Changes, KeyRange, StateId, Table};
use cairn::wallet::message;
use cairn_testkit::{Ledger, key, public, seal, unsigned};

/// The text between the first `fence` after `after` and the next fence.
fn fenced<'a>(document: &'a str, fence: &str, after: &str) -> &'a str {
    let section = document.split_once(after).unwrap_or_else(|| panic!("no section {after:?}")).1;
    let inside = section.split_once(fence).unwrap_or_else(|| panic!("no {fence} in {after:?}")).1;
    inside.split_once("```").expect("fences are closed").0.trim()
}

fn bytes<T: Encode>(value: &T) -> String {
    hex::encode(codec::encode(value))
}

/// The digest's preimage, put together by the document's table rather than by the code under test.
fn preimage_by_the_table(tx: &Transaction, genesis: &[u8; 32], spent: &Output) -> Vec<u8> {
    let mut preimage = b"cairn/sighash/1".to_vec();
    preimage.extend(genesis);
    preimage.extend(tx.version.to_le_bytes());
    preimage.extend((tx.inputs.len() as u64).to_le_bytes());
    for input in &tx.inputs {
        preimage.extend(input.outpoint.txid.to_bytes());
        preimage.extend(input.outpoint.index.to_le_bytes());
    }
    let write = |preimage: &mut Vec<u8>, output: &Output| {
        preimage.extend(output.value.as_grains().to_le_bytes());
        preimage.extend(0u32.to_le_bytes());
        preimage.extend(output.key().expect("the example pays keys only").0);
    };
    preimage.extend((tx.outputs.len() as u64).to_le_bytes());
    tx.outputs.iter().for_each(|output| write(&mut preimage, output));
    preimage.extend(tx.lock_height.as_u32().to_le_bytes());
    write(&mut preimage, spent);
    preimage
}

/// The text of the example's signed message.
const MESSAGE: &str = "I was here.";

fn message_by_the_table(message: &str, genesis: &[u8; 32]) -> Vec<u8> {
    let mut preimage = b"cairn/message/1".to_vec();
    preimage.extend(genesis);
    preimage.extend((message.len() as u64).to_le_bytes());
    preimage.extend(message.as_bytes());
    preimage
}

#[test]
fn the_worked_example_is_true() {
    let document = include_str!("../../docs/protocol.md");
    let spec = GenesisSpec::from_json(fenced(document, "```json", "## Worked example")).unwrap();
    let prefix = spec.address_prefix.clone();
    let mut ledger = Ledger::new(spec);
    let genesis = ledger.params.genesis.clone();

    let coin = OutPoint { txid: genesis.transactions[0].txid(), index: 1 };
    let spent = ledger.output(&coin, &[]).unwrap();
    let payment = unsigned(
        &[coin],
        vec![
            Output::pay(public(2), Amount::from_grains(600_000_000)),
            Output::pay(public(1), Amount::from_grains(399_999_000)),
        ],
    );
    let preimage = preimage_by_the_table(&payment, ledger.params.genesis_hash.as_bytes(), &spent);
    let digest = payment.signature_digest(&ledger.params.genesis_hash, [&spent]);
    assert_eq!(digest, SignatureDigest::of(&preimage));
    let payment = ledger.sign(payment, &[]);

    let due = ledger.committed();
    let mut block = ledger.block(vec![payment.clone()]);
    block.transactions[0].outputs[1].lock = Output::pay(public(3), Amount::from_grains(0)).lock;
    seal(&mut block);
    let delta = ledger.append(&block);
    let genesis_filter = block_filter(&genesis, []);
    let genesis_filter_header = genesis_filter.header(&FilterHeader::ZERO);
    let filter = block_filter(&block, delta.spent.iter().map(|(_, coin)| coin));

    let mut changes = Changes::default();
    changes
        .apply(&Delta { created: Delta::created_by(&genesis, &genesis.txids(), Height::GENESIS), ..Delta::default() });
    changes.apply(&delta);
    let mut table = Table::default();
    table.apply(&changes).unwrap();
    let top = *table.top().unwrap();
    let state = StateId::new(Height::GENESIS.next(), block.hash(), Some(&top));
    let payees = KeyRange::lock(&public(2));
    let proof = table.with_source(|source| source.prove_total(&payees)).unwrap();
    let total = state.total(&payees, &proof).unwrap();
    assert_eq!((total.sum, total.count), (Amount::from_grains(600_000_000), 1));

    // Block 2 is the first of an epoch that commits to a state.
    let (after_genesis, next) = (*ledger.epochs.last().unwrap(), ledger.committed());
    assert_eq!((after_genesis.height, next.state), (Height::GENESIS, after_genesis.root));

    let message_preimage = message_by_the_table(MESSAGE, ledger.params.genesis_hash.as_bytes());
    let message_digest = message::digest(&ledger.params.genesis_hash, MESSAGE);
    assert_eq!(message_digest, SignatureDigest::of(&message_preimage));
    let signature = message::sign(&key(1), &ledger.params.genesis_hash, MESSAGE);

    let lines = [
        ("payer's key", hex::encode(public(1).0)),
        ("payer's address", address::encode(&prefix, &public(1))),
        ("payee's address", address::encode(&prefix, &public(2))),
        ("", String::new()),
        ("genesis coinbase, bytes", bytes(&genesis.transactions[0])),
        ("genesis coinbase, txid", coin.txid.to_string()),
        ("genesis header, bytes", bytes(&genesis.header)),
        ("genesis hash", genesis.hash().to_string()),
        ("", String::new()),
        ("digest preimage", hex::encode(&preimage)),
        ("digest, bytes", hex::encode(digest.to_bytes())),
        ("signature", hex::encode(key(1).sign(&digest).0)),
        ("payment, bytes", bytes(&payment)),
        ("payment, txid", payment.txid().to_string()),
        ("", String::new()),
        ("range root over genesis, bytes", hex::encode(due.range.to_bytes())),
        ("ledger root of block 1, bytes", hex::encode(due.ledger_root().to_bytes())),
        ("commitment of block 1, bytes", hex::encode(due.commitment().to_bytes())),
        ("block 1 coinbase, bytes", bytes(&block.transactions[0])),
        ("block 1 coinbase, txid", block.transactions[0].txid().to_string()),
        ("block 1 header, bytes", bytes(&block.header)),
        ("block 1 hash", block.hash().to_string()),
        ("range root over genesis and block 1, bytes", hex::encode(ledger.range.root().to_bytes())),
        ("chain work", ledger.range.work().to_string()),
        ("", String::new()),
        ("genesis filter", hex::encode(genesis_filter.as_bytes())),
        ("genesis filter header, bytes", hex::encode(genesis_filter_header.to_bytes())),
        ("block 1 filter", hex::encode(filter.as_bytes())),
        ("block 1 filter header, bytes", hex::encode(filter.header(&genesis_filter_header).to_bytes())),
        ("", String::new()),
        ("block 1 coins, sum and number", format!("{}, {}", top.sum.as_grains(), top.count)),
        ("block 1 state root, bytes", hex::encode(state.root.to_bytes())),
        ("total of the payee's coins, proof", hex::encode(&proof)),
        ("genesis state root, bytes", hex::encode(after_genesis.root.to_bytes())),
        ("ledger root of block 2, bytes", hex::encode(next.ledger_root().to_bytes())),
        ("commitment of block 2, bytes", hex::encode(next.commitment().to_bytes())),
        ("", String::new()),
        ("block 1, compact with nonce 1, bytes", bytes(&CompactBlock::new(&block, &block.txids(), 1, &[]))),
        ("", String::new()),
        ("payer's private key", address::encode_secret(&prefix, &key(1)).to_string()),
        ("message", MESSAGE.to_owned()),
        ("message digest preimage", hex::encode(&message_preimage)),
        ("message digest, bytes", hex::encode(message_digest.to_bytes())),
        ("message signature", signature),
    ];
    let line = |(name, value): &(&str, String)| match *name {
        "" => String::new(),
        name => format!("{name}\n  {value}"),
    };
    let example = lines.iter().map(line).collect::<Vec<_>>().join("\n");
    let written = fenced(document, "```text", "Lines named `bytes`");
    assert_eq!(written, example, "the example should read:\n{example}\n");
}

/// A number as the documents write it: 1,001,125.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// A second implementation that read other bounds would ban honest nodes, or be banned by them.
#[test]
fn versions_and_the_sizes_of_payloads_are_true() {
    let document = include_str!("../../docs/protocol.md");
    assert!(document.contains(&format!("Protocol version {PROTOCOL_VERSION}.")));
    assert!(document.contains(&format!("a version older than {MIN_PROTOCOL_VERSION} is refused")));
    let (_, table) = document.split_once("| kind | message | payload | most |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    for kind in [Kind::Hello, Kind::Proofs, Kind::StateRange, Kind::Opening, Kind::Coins] {
        let row = table.lines().find(|line| line.starts_with(&format!("| {} | ", kind as u8))).unwrap();
        let end = format!(" {} bytes |", grouped(kind.max_payload(8_000_000)));
        assert!(row.ends_with(&end), "{row} should end with{end}");
    }
}
