//! Well-formed receipts that lie: each breaks one rule, and still proves its work where it can.

use cairn::consensus::headers::{Checkpoint, HeaderTail};
use cairn::consensus::params::{GenesisSpec, Params, Retarget};
use cairn::primitives::codec;
use cairn::primitives::hash::{BlockHash, Hash256, MerkleRoot};
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::primitives::merkle::{self, Branch};
use cairn::primitives::target::{Bits, Work};
use cairn::primitives::tx::{Output, Transaction};
use cairn::receipt::succinct::TAIL;
use cairn::receipt::{Evidence, Receipt, checkpoint_to_json};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use super::vectors::{self, Vector};
use cairn_testkit::forge::{Fault, Forge};

fn lie(name: &str, params: &Params, held: Option<&Checkpoint>, receipt: &Receipt) -> Vector {
    Vector {
        name: name.to_owned(),
        genesis: params.spec.to_json(),
        checkpoint: held.map(|held| checkpoint_to_json(held, params)),
        file: receipt.to_bytes(),
    }
}

/// All of them.
pub fn all() -> Vec<Vector> {
    let mut lies = in_chains();
    lies.extend(shown_otherwise());
    lies.extend(in_the_payment());
    lies.extend(about_checkpoints());
    lies
}

/// Headers and coinbases that break a rule, in the tail, at the tip, or where only a sample meets them.
fn in_chains() -> Vec<Vector> {
    let faults = [
        Fault::NoWork,
        Fault::Bits(Bits(0x2010_0000)),
        Fault::Bits(Bits(0x207f_ffff)),
        Fault::Bits(Bits(0x2100_ffff)),
        Fault::Commitment,
        Fault::Height,
    ];
    let mut lies = Vec::new();
    for (number, fault) in faults.into_iter().enumerate() {
        for (first, last, length) in [(500, 500, 500), (483, 483, 500), (500 - TAIL, 500 - TAIL, 500), (11, 400, 800)] {
            let mut forge = Forge::honest(cairn_testkit::forge::params(), first - 1);
            (first..=length).for_each(|height| forge.add(if height <= last { fault } else { Fault::None }));
            let name = format!("fault {number} from {first} to {last} of {length}");
            lies.push(lie(&format!("{name}, succinct"), &forge.params, None, &forge.succinct(Height::from_u32(1))));
            lies.push(lie(&format!("{name}, headers"), &forge.params, None, &forge.whole(Height::from_u32(1))));
        }
    }
    for length in [1, 800] {
        let mut forge = Forge::new(cairn_testkit::forge::params());
        forge.add_forged(forge.params.timestamp - 1, None, |_| true);
        (1..length).for_each(|_| forge.add(Fault::None));
        let receipt = forge.succinct(Height::from_u32(1));
        lies.push(lie(&format!("a first of {length} before genesis"), &forge.params, None, &receipt));
    }
    let forge = Forge::honest(cairn_testkit::forge::params(), 900);
    for (asked, shown) in [(1, 300), (300, 1), (899, 1), (900, 1), (901, 1), (u32::MAX, 1), (0, 1), (1, 0)] {
        let other = Receipt { height: Height::from_u32(asked), ..forge.succinct(Height::from_u32(shown)) };
        lies.push(lie(&format!("block {asked} for which {shown} is shown"), &forge.params, None, &other));
    }
    lies
}

/// Headers shown in another way: one that is sampled without its coinbase, one that is not with it.
fn shown_otherwise() -> Vec<Vector> {
    let forge = Forge::honest(cairn_testkit::forge::params(), 900);
    let receipt = forge.succinct(Height::from_u32(1));
    let Evidence::Succinct(proof) = &receipt.evidence else { panic!("{:?}", receipt.evidence) };
    let mut lies = Vec::new();
    for height in 2..900 {
        let header = forge.headers[height as usize].to_bytes();
        let (root, own) = (&header[36..68], [&header[..4], &header[68..]].concat());
        let coinbase =
            codec::encode(&forge.receipt(Height::from_u32(height), Evidence::Headers(Vec::new())).transaction);
        // The commitment is the first part of the data, which is the last output.
        let data = coinbase.len() - 4 - 40;
        let ledger = Forge::ledger_root(Height::from_u32(height)).to_bytes();
        let bare = [&ledger, &coinbase[..data - 8], &8u64.to_le_bytes(), &coinbase[data + 32..], &[0]].concat();
        let sampled = [&[3], &own[..], &bare].concat();
        let plain = [&[2], root, &own].concat();
        for (from, to) in [(&sampled, &plain), (&plain, &sampled)] {
            let Some(at) = proof.windows(from.len()).position(|bytes| bytes == &from[..]) else { continue };
            let evidence = Evidence::Succinct([&proof[..at], to, &proof[at + from.len()..]].concat());
            let other = Receipt { evidence, ..receipt.clone() };
            lies.push(lie(&format!("block {height} shown otherwise"), &forge.params, None, &other));
        }
    }
    assert!(lies.len() > TAIL as usize, "{}", lies.len());
    lies
}

/// The payment's own part.
fn in_the_payment() -> Vec<Vector> {
    let mut lies = Vec::new();
    for vector in vectors::payment() {
        let (params, held) = (vector.params(), vector.held());
        let whole = Receipt::read(&vector.file[..]).unwrap();
        let mut add = |name: &str, edit: &dyn Fn(&mut Receipt, &mut Vec<Header>)| {
            let mut receipt = whole.clone();
            let mut headers = match &receipt.evidence {
                Evidence::Headers(headers) | Evidence::Since { headers, .. } => headers.clone(),
                Evidence::Succinct(_) => return,
            };
            edit(&mut receipt, &mut headers);
            receipt.tip = headers.last().map_or(receipt.tip, Header::hash);
            if let Evidence::Headers(all) | Evidence::Since { headers: all, .. } = &mut receipt.evidence {
                *all = headers;
            }
            lies.push(lie(&format!("{}: {name}", vector.name), &params, held.as_ref(), &receipt));
        };
        for index in [0, 1, 5, 7, 10, 11, 16, u32::MAX] {
            add(&format!("place {index}"), &move |receipt, _| receipt.branch.index = index);
        }
        for height in [0, 4, 5, 7, 9, 20, 21, u32::MAX] {
            add(&format!("height {height}"), &move |receipt, _| receipt.height = Height::from_u32(height));
        }
        add("a longer branch", &|receipt, _| receipt.branch.siblings.push(Hash256::of(b"x")));
        add("too long a branch", &|receipt, _| receipt.branch.siblings = vec![Hash256::of(b"x"); 33]);
        add("the longest branch", &|receipt, _| {
            (receipt.branch.siblings, receipt.branch.index) = (vec![Hash256::of(b"x"); 32], u32::MAX)
        });
        add("an empty branch", &|receipt, _| receipt.branch = Branch { index: 0, siblings: Vec::new() });
        add("another network", &|receipt, _| receipt.network = BlockHash::ZERO);
        add("no headers", &|_, headers| headers.clear());
        add("a gap", &|_, headers| {
            headers.remove(headers.len() / 2);
        });
        add("fewer headers", &|_, headers| headers.truncate(8));
        for (name, time, bits) in [
            ("an old time", params.timestamp + 5 * 15, params.bits),
            ("an older time", params.timestamp + 5 * 14, params.bits),
            ("a time long gone", 0, params.bits),
            ("the last time there is", u32::MAX, params.bits),
            ("easy bits", params.timestamp + 100, Bits(0x2100_ffff)),
        ] {
            add(name, &move |_, headers| {
                let Some(last) = headers.last_mut() else { return };
                (last.time, last.bits) = (time, bits);
                cairn_testkit::mine(last);
            });
        }
    }
    let params = Params::new(GenesisSpec::regtest()).unwrap();
    let outputs = vec![Output::data(vec![0; 20])];
    let transaction = Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: Height::from_u32(1) };
    let headers = vectors::headers(&params, 3, |_| merkle::root(vec![transaction.txid()]).hash);
    let receipt = Receipt {
        network: params.genesis_hash,
        transaction,
        branch: Branch { index: 0, siblings: Vec::new() },
        height: Height::from_u32(2),
        tip: headers[2].hash(),
        evidence: Evidence::Headers(headers),
    };
    lies.push(lie("64 bytes", &params, None, &receipt));
    lies
}

/// Checkpoints that do not fit, and some that do and are strange.
fn about_checkpoints() -> Vec<Vector> {
    let forge = Forge::honest(cairn_testkit::forge::params(), 40);
    let mut chain = HeaderTail::new(&forge.params);
    forge.headers[1..=20].iter().for_each(|header| assert!(chain.push(header, &forge.params).is_ok()));
    let held = chain.checkpoint();
    let evidence =
        Evidence::Since { height: Height::from_u32(20), hash: held.tip.hash(), headers: forge.headers[21..].to_vec() };
    let mut lies = Vec::new();
    for height in [19, 20, 21, 40] {
        let receipt = forge.receipt(Height::from_u32(height), evidence.clone());
        lies.push(lie("no checkpoint", &forge.params, None, &receipt));
        for (name, held) in [
            ("as it is", held),
            ("another height", Checkpoint { height: Height::from_u32(19), ..held }),
            ("an early tip", Checkpoint { tip: Header { time: 0, ..held.tip }, ..held }),
            ("a late tip", Checkpoint { tip: Header { time: u32::MAX, ..held.tip }, ..held }),
            ("an early first time", Checkpoint { first_time: 0, ..held }),
            ("a late first time", Checkpoint { first_time: u32::MAX, ..held }),
            ("most work", Checkpoint { work: Work(ruint::aliases::U256::MAX), ..held }),
            ("no work", Checkpoint { work: Work::ZERO, ..held }),
            ("height 0", Checkpoint { height: Height::GENESIS, ..held }),
        ] {
            lies.push(lie(&format!("block {height}, checkpoint with {name}"), &forge.params, Some(&held), &receipt));
        }
    }
    lies
}

/// One header on a checkpoint of any height and times: the refusal says which bits the difficulty rule gives there.
pub fn schedules(count: usize, rng: &mut ChaCha20Rng) -> Vec<Vector> {
    let one = |number| {
        let mut spec = GenesisSpec {
            retarget: Retarget::Asert,
            bits: Bits([0x202f_ffff, 0x207f_ffff, 0x2000_8000][rng.random_range(0..3)]),
            target_spacing_secs: [1, 5, 600, 86_400][rng.random_range(0..4)],
            half_life_secs: [1, 7, 120, 172_800, 31_536_000][rng.random_range(0..5)],
            max_future_secs: 1,
            ..GenesisSpec::regtest()
        };
        assert!(spec.mine_nonce());
        let params = Params::new(spec).unwrap();
        let height = if rng.random() { rng.random_range(1..2_000) } else { rng.random_range(1..=u32::MAX) };
        // Near its schedule, or anywhere.
        let first_time: u32 = rng.random_range(0..1_000_000_000);
        let due = u64::from(first_time) + u64::from(params.target_spacing_secs) * u64::from(height - 1);
        let near =
            (due + rng.random_range(0..4 * u64::from(params.half_life_secs) + 2)).min(u64::from(u32::MAX)) as u32;
        let time = if rng.random() { near } else { rng.random() };
        // The bits of a checkpoint's header are taken as they are.
        let tip = Header {
            version: 1,
            previous: BlockHash::ZERO,
            merkle_root: MerkleRoot::ZERO,
            time,
            bits: Bits(rng.random()),
            nonce: 0,
        };
        let held = Checkpoint { height: Height::from_u32(height), tip, work: Work::ZERO, first_time };
        let next = Header { previous: tip.hash(), time: u32::MAX, bits: Bits(rng.random()), ..tip };
        let evidence = Evidence::Since { height: Height::from_u32(height), hash: tip.hash(), headers: vec![next] };
        let coinbase = params.genesis.transactions[0].clone();
        let branch = Branch { index: 0, siblings: Vec::new() };
        let receipt = Receipt {
            network: params.genesis_hash,
            transaction: coinbase,
            branch,
            height: Height::from_u32(height),
            evidence,
            tip: next.hash(),
        };
        lie(&format!("schedule {number}"), &params, Some(&held), &receipt)
    };
    (0..count).map(one).collect()
}
