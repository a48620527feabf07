//! Receipts that hold, and every way in which one does not.

use super::*;
use crate::consensus::error::RuleError;
use crate::consensus::headers::HeaderChainError;
use crate::consensus::params::GenesisSpec;
use crate::primitives::amount::Amount;
use crate::primitives::hash::MerkleRoot;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::merkle;
use crate::primitives::target::Bits;
use crate::primitives::tx::Output;

fn params() -> Params {
    Params::new(GenesisSpec::regtest()).unwrap()
}

fn transaction(n: u32) -> Transaction {
    let outputs = vec![Output::pay(PublicKey([7; 32]), Amount::from_grains(n.into()))];
    Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: Height::from_u32(n) }
}

fn mine(mut header: Header) -> Header {
    let target = header.bits.target().unwrap();
    while !target.is_met_by(&header.hash()) {
        header.nonce += 1;
    }
    header
}

fn mine_on(previous: BlockHash, time: u32, merkle_root: MerkleRoot) -> Header {
    mine(Header { version: 1, previous, merkle_root, time, bits: GenesisSpec::regtest().bits, nonce: 0 })
}

/// `length` headers; the one at `height` commits to `txids`.
fn headers(params: &Params, length: u32, height: Height, txids: &[Txid]) -> Vec<Header> {
    let mut previous = params.genesis_hash;
    let mut headers = Vec::new();
    for h in 1..=length {
        let root = if Height::from_u32(h) == height {
            merkle::root(txids.to_vec()).hash
        } else {
            MerkleRoot::of(&h.to_le_bytes())
        };
        headers.push(mine_on(previous, params.timestamp + 5 * h, root));
        previous = headers[headers.len() - 1].hash();
    }
    headers
}

/// A payment that is number 2 of the 3 in block 5, with 13 blocks in all.
fn receipt() -> Receipt {
    let txids: Vec<_> = (0..3).map(|n| transaction(n).txid()).collect();
    let headers = headers(&params(), 13, Height::from_u32(5), &txids);
    receipt_of(transaction(2), txids, 2, Height::from_u32(5), headers)
}

fn receipt_of(transaction: Transaction, txids: Vec<Txid>, index: u32, height: Height, headers: Vec<Header>) -> Receipt {
    let network = params().genesis_hash;
    let branch = Branch::new(txids, index).unwrap();
    let tip = headers.last().map_or(network, Header::hash);
    Receipt { network, transaction, branch, height, evidence: Evidence::Headers(headers), tip }
}

fn headers_in(receipt: &Receipt) -> Vec<Header> {
    match &receipt.evidence {
        Evidence::Headers(headers) => headers.clone(),
        other => panic!("{other:?}"),
    }
}

fn edited(edit: impl FnOnce(&mut Receipt, &mut Vec<Header>)) -> Result<Proven, ReceiptError> {
    let mut receipt = receipt();
    let mut headers = headers_in(&receipt);
    edit(&mut receipt, &mut headers);
    receipt.tip = headers.last().unwrap().hash();
    receipt.evidence = Evidence::Headers(headers);
    receipt.verify(&params(), None, UnixTime::from_secs(u64::MAX))
}

#[test]
fn a_receipt_survives_its_file_and_proves_what_it_says() {
    let receipt = receipt();
    let read = Receipt::from_json(receipt.to_json()).unwrap();
    assert_eq!(read, receipt);
    assert_eq!(Receipt::read(&receipt.to_bytes()[..]).unwrap(), receipt);
    let headers = headers_in(&receipt);
    let one = params().genesis_target.work();
    let times = |n: usize| (0..n).map(|_| one).sum::<Work>();
    let proven = read.verify(&params(), None, UnixTime::from_secs(u64::MAX)).unwrap();
    let end = proven.checkpoint.expect("all headers were followed");
    assert_eq!((end.height, end.tip, end.work), (Height::from_u32(13), headers[12], times(14)));
    let expected = Proven {
        txid: transaction(2).txid(),
        block: headers[4].hash(),
        height: Height::from_u32(5),
        header: headers[4],
        headers: 9,
        weight: Weight { on_top: times(9), unit: one, confirmations: 9, slow: None, no_pace: false },
        tip: headers[12].hash(),
        tip_time: params().timestamp + 65,
        is_old: true,
        work: times(14),
        checkpoint: Some(end),
    };
    assert_eq!(proven, expected);
}

#[test]
fn genesis_has_receipts_too() {
    let params = params();
    let coinbase = params.genesis.transactions[0].clone();
    let receipt = receipt_of(coinbase, params.genesis.txids(), 0, Height::GENESIS, Vec::new());
    let proven =
        Receipt::from_json(receipt.to_json()).unwrap().verify(&params, None, UnixTime::from_secs(u64::MAX)).unwrap();
    assert_eq!((proven.weight.confirmations, proven.block), (1, params.genesis_hash));
    assert_eq!(proven.work, proven.weight.on_top);
}

#[test]
fn every_flipped_bit_is_refused() {
    let params = params();
    for bytes in [receipt().to_json().into_bytes(), receipt().to_bytes()] {
        let mut flipped = bytes.clone();
        for bit in 0..bytes.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            let verdict = Receipt::read(&flipped[..])
                .and_then(|receipt| receipt.verify(&params, None, UnixTime::from_secs(u64::MAX)));
            assert!(verdict.is_err(), "bit {bit}: {:?}", String::from_utf8_lossy(&flipped));
            flipped[bit / 8] = bytes[bit / 8];
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let text = receipt().to_json();
    for length in 0..text.trim_end().len() {
        assert!(matches!(Receipt::from_json(&text[..length]), Err(ReceiptError::Syntax(_))), "{length} bytes");
    }
    let bytes = receipt().to_bytes();
    for length in 0..bytes.len() {
        let verdict = Receipt::read(&bytes[..length])
            .and_then(|receipt| receipt.verify(&params(), None, UnixTime::from_secs(u64::MAX)));
        assert!(verdict.is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn a_file_too_large_is_not_read() {
    let endless = std::io::repeat(b' ');
    assert!(matches!(Receipt::read(endless), Err(ReceiptError::TooLarge { .. })));
}

#[test]
fn other_files_are_refused_by_name() {
    let change = |from: &str, to: &str| Receipt::from_json(receipt().to_json().replace(from, to));
    assert!(matches!(change("cairn-receipt", "tar"), Err(ReceiptError::Format { got, .. }) if got == "tar"));
    assert!(matches!(change("\"version\": 1", "\"version\": 2"), Err(ReceiptError::Version { got: 2, .. })));
    assert!(matches!(change("\"branch\": [", "\"branch\": [\"zz\","), Err(ReceiptError::Hex { field: "branch", .. })));
    assert!(matches!(change("\"transaction\": \"", "\"transaction\": \"00"), Err(ReceiptError::Transaction(_))));
    assert!(matches!(change("\"height\"", "\"heights\""), Err(ReceiptError::Syntax(_))));
}

/// A later clock than any header's, and one that is a second too early for the last: no node would have taken that yet.
#[test]
fn headers_from_the_future_are_refused() {
    let (params, receipt) = (params(), receipt());
    let last = u64::from(params.timestamp + 65);
    let ahead = u64::from(params.max_future_secs);
    assert!(!receipt.verify(&params, None, UnixTime::from_secs(last - ahead)).unwrap().is_old);
    let verdict = receipt.verify(&params, None, UnixTime::from_secs(last - ahead - 1));
    assert!(
        matches!(verdict, Err(ReceiptError::FromTheFuture { latest, .. }) if latest == UnixTime::from_secs(last - 1)),
        "{verdict:?}"
    );
    // Sixty-four spacings of five seconds after the last block, its miners have gone on.
    let is_old = |now| receipt.verify(&params, None, now).unwrap().is_old;
    assert!(!is_old(UnixTime::from_secs(last + 320)) && is_old(UnixTime::from_secs(last + 321)));
}

#[test]
fn a_higher_demand_refuses_too_little_work() {
    let proven = receipt().verify(&params(), None, UnixTime::from_secs(u64::MAX)).unwrap();
    assert!(proven.demand(9).is_ok());
    let expected = ReceiptError::TooLittleWork { got: 9, expected: 10, headers: 9 };
    assert_eq!(proven.demand(10).unwrap_err().to_string(), expected.to_string());
}

#[test]
fn lies_are_refused_each_for_its_reason() {
    assert!(edited(|_, _| ()).is_ok());
    let another = edited(|receipt, _| receipt.transaction = transaction(9));
    assert!(matches!(another, Err(ReceiptError::NotInBlock { .. })));
    let moved = edited(|receipt, _| receipt.branch.index = 3);
    assert!(matches!(moved, Err(ReceiptError::NotInBlock { .. })), "a place that exists only by doubling");
    let wrong_block = edited(|receipt, _| receipt.height = Height::from_u32(6));
    assert!(matches!(wrong_block, Err(ReceiptError::NotInBlock { .. })));
    let beyond = edited(|receipt, _| receipt.height = Height::from_u32(14));
    assert!(
        matches!(beyond, Err(ReceiptError::NoSuchHeight { height, first, tip }) if height == Height::from_u32(14) && first == Height::GENESIS && tip == Height::from_u32(13))
    );
    let foreign = edited(|receipt, _| receipt.network = BlockHash::ZERO);
    assert!(matches!(foreign, Err(ReceiptError::OtherNetwork { .. })));
    let gap = edited(|_, headers| {
        headers.remove(8);
    });
    assert!(
        matches!(gap, Err(ReceiptError::Headers(HeaderChainError::Unlinked { height, .. })) if height == Height::from_u32(9))
    );
    let old = edited(|_, headers| {
        let last = headers.pop().unwrap();
        headers.push(mine(Header { time: params().timestamp, ..last }));
    });
    assert!(matches!(
        old,
        Err(ReceiptError::Headers(HeaderChainError::Rule { source: RuleError::TimeTooOld { .. }, .. }))
    ));
    let easy = edited(|_, headers| {
        let last = headers.pop().unwrap();
        headers.push(mine(Header { bits: Bits(0x2100_ffff), ..last }));
    });
    assert!(matches!(
        easy,
        Err(ReceiptError::Headers(HeaderChainError::Rule { source: RuleError::WrongBits { .. }, .. }))
    ));
}

/// CVE-2017-12842: 64 bytes that are a transaction and an inner node at once. Here the attacker has a block with
/// such a transaction mined, as a leaf of a smaller tree.
#[test]
fn a_transaction_of_64_bytes_is_refused() {
    let outputs = vec![Output::data(vec![0; 20])];
    let tx = Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: Height::from_u32(1) };
    assert_eq!(tx.size(), 64);
    let txids = vec![tx.txid()];
    let headers = headers(&params(), 3, Height::from_u32(2), &txids);
    let receipt = receipt_of(tx, txids, 0, Height::from_u32(2), headers);
    assert!(matches!(
        receipt.verify(&params(), None, UnixTime::from_secs(u64::MAX)),
        Err(ReceiptError::NodeSizedTransaction)
    ));
}

#[test]
fn a_checkpoint_saves_the_headers_before_it() {
    let (params, whole) = (params(), receipt());
    let headers = headers_in(&whole);
    let at = |height: Height| {
        let mut chain = HeaderTail::new(&params);
        headers[..height.as_usize()].iter().for_each(|header| assert!(chain.push(header, &params).is_ok()));
        chain.checkpoint()
    };
    let since = |height: Height| {
        let hash = headers[height.as_usize() - 1].hash();
        let headers = headers[height.as_usize()..].to_vec();
        Receipt { evidence: Evidence::Since { height, hash, headers }, ..whole.clone() }
    };
    let expected = whole.verify(&params, None, UnixTime::from_secs(u64::MAX)).unwrap();
    for height in 1..=5 {
        let receipt = since(Height::from_u32(height));
        assert_eq!(Receipt::from_json(receipt.to_json()).unwrap(), receipt);
        assert_eq!(Receipt::from_bytes(&receipt.to_bytes()).unwrap(), receipt);
        let kept = checkpoint_from_json(&checkpoint_to_json(&at(Height::from_u32(height)), &params), &params).unwrap();
        assert_eq!(kept, at(Height::from_u32(height)));
        assert_eq!(receipt.verify(&params, Some(&kept), UnixTime::from_secs(u64::MAX)).unwrap(), expected);
    }
    let none = since(Height::from_u32(3)).verify(&params, None, UnixTime::from_secs(u64::MAX));
    assert!(matches!(none, Err(ReceiptError::NeedsCheckpoint { height, .. }) if height == Height::from_u32(3)));
    let other =
        since(Height::from_u32(3)).verify(&params, Some(&at(Height::from_u32(2))), UnixTime::from_secs(u64::MAX));
    assert!(matches!(other, Err(ReceiptError::OtherCheckpoint { height, .. }) if height == Height::from_u32(3)));
    let late =
        since(Height::from_u32(6)).verify(&params, Some(&at(Height::from_u32(6))), UnixTime::from_secs(u64::MAX));
    assert!(
        matches!(late, Err(ReceiptError::NoSuchHeight { height, first, tip }) if height == Height::from_u32(5) && first == Height::from_u32(6) && tip == Height::from_u32(13))
    );
    let spoilt = Checkpoint { height: Height::GENESIS, ..at(Height::from_u32(3)) };
    assert!(matches!(
        since(Height::from_u32(3)).verify(&params, Some(&spoilt), UnixTime::from_secs(u64::MAX)),
        Err(ReceiptError::BadCheckpoint)
    ));
    let text = checkpoint_to_json(&at(Height::from_u32(3)), &params);
    let foreign = text.replace(&params.genesis_hash.to_string(), &BlockHash::ZERO.to_string());
    assert!(matches!(checkpoint_from_json(&foreign, &params), Err(ReceiptError::OtherNetwork { .. })));
    assert!(matches!(checkpoint_from_json(&whole.to_json(), &params), Err(ReceiptError::Syntax(_))));
}
