//! Any bytes as an archive, and honest archives whose records are changed, left out or moved, sealed again or not: an import
//! ends with a reason or at the end, and leaves a store that replays and whose export makes the same chain elsewhere.

#![no_main]

use cairn::chain::{self, Chain, TransferError};
use cairn::primitives::block::Block;
use cairn::primitives::codec;
use cairn::primitives::height::Height;
use cairn::storage::archive::{ArchiveError, Writer};
use cairn_fuzz::{HEIGHT, Script, UNIX, blocks, fresh_chain, params, reseal, seed};
use libfuzzer_sys::fuzz_target;

/// Most records of an archive that is made here.
const MAX_RECORDS: usize = 32;

fn seeds() {
    let all: Vec<u8> = (0..HEIGHT as u8).flat_map(|n| [0, n]).collect();
    let mut inputs = vec![[&[0][..], &archive(blocks())].concat(), [&[1][..], &all].concat()];
    // The last block changed, not sealed, sealed, and with a wrong checksum.
    inputs.extend([1, 2, 3].map(|how| [&[1][..], &all[..22], &[how, 11, 1, 100, 0, 1]].concat()));
    // Out of order; a branch of its own at the end.
    inputs.push(vec![1, 0, 1, 0, 0, 0, 1, 0, 2]);
    inputs.push([&[1][..], &all, &[2, 11, 1, 68, 0, 1, 4, 0]].concat());
    seed("archive", inputs);
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let mut script = Script(bytes);
    let bytes = match script.byte() % 2 {
        0 => script.0.to_vec(),
        _ => composed(script),
    };
    let mut chain = fresh_chain();
    let outcome = import(&mut chain, &bytes);
    let tip = chain.tip();
    let report = chain::check(chain.db(), params(), &mut |_, _| ()).expect("the store replays");
    assert_eq!(report.height, tip.height);

    let mut exported = Vec::new();
    let genesis = params().genesis_hash;
    let count = chain::export(chain.db(), &genesis, &mut exported, &mut |_| ()).expect("what is there can be read");
    assert_eq!(Height::from_u32(count), tip.height);
    let mut copy = fresh_chain();
    let taken = import(&mut copy, &exported).expect("what was exported is valid");
    assert_eq!((taken.new, taken.known), (count.into(), 0));
    assert_eq!(copy.tip().hash, tip.hash);
    let again = import(&mut copy, &exported).expect("what is known does no harm");
    assert_eq!((again.new, again.known), (0, count.into()));

    match outcome {
        Ok(imported) => assert!(imported.new >= count.into()),
        Err(TransferError::Block { offset, .. }) => assert!(offset < bytes.len() as u64),
        Err(TransferError::Archive(ArchiveError::Io { .. })) | Err(TransferError::Store(_)) => {
            panic!("memory does not fail")
        }
        Err(TransferError::Archive(_)) => {}
        Err(TransferError::Pruned { .. }) => panic!("only an export refuses a pruned chain"),
    }
});

fn import(chain: &mut Chain, bytes: &[u8]) -> Result<chain::Imported, TransferError> {
    let mut last = 0;
    chain::import(chain, bytes, UNIX, &mut |read, _| {
        assert!(read > last && read <= bytes.len() as u64);
        last = read;
    })
}

fn archive(blocks: &[Block]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &params().genesis_hash).expect("memory does not fail");
    blocks.iter().for_each(|block| writer.append(&codec::encode(block)).expect("memory does not fail"));
    writer.finish().expect("memory does not fail")
}

/// Honest blocks in any order, changed or not.
fn composed(mut script: Script) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &params().genesis_hash).expect("memory does not fail");
    let mut is_spoilt = false;
    for _ in 0..MAX_RECORDS {
        if script.is_empty() {
            break;
        }
        let how = script.byte() % 5;
        if how == 4 {
            // A block upon one of the others, with the payments of a third.
            let (parent, other) = (script.choose(blocks()), script.choose(blocks()));
            let mut block = other.clone();
            block.header.previous = parent.hash();
            block.header.time = parent.header.time + 1;
            reseal(&mut block);
            writer.append(&codec::encode(&block)).expect("memory does not fail");
            continue;
        }
        let mut record = codec::encode(script.choose(blocks()));
        if how > 0 {
            script.change(&mut record);
        }
        if how == 2
            && let Ok(mut block) = codec::decode::<Block>(&record)
        {
            reseal(&mut block);
            record = codec::encode(&block);
        }
        is_spoilt = how == 3;
        writer.append(&record).expect("memory does not fail");
    }
    let mut bytes = writer.finish().expect("memory does not fail");
    if is_spoilt && let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes
}
