//! Any bytes as a CAR: each block that is read is the one that its CID names, and they can be written and read again.

#![no_main]

use cairn::ipld::car::{self, CarReader};
use cairn::ipld::{Block, Cid, Codec, HashFunction};
use cairn_fuzz::seed;
use libfuzzer_sys::fuzz_target;

fn seeds() {
    let blocks: Vec<Vec<u8>> = [0, 1, 40].map(|count| vec![7; count]).into();
    let cid = |bytes: &Vec<u8>| Cid::v1(Codec::RAW, HashFunction::Sha2_256, bytes).expect("it has no limit");
    let mut v1 = car::header(&blocks.iter().map(cid).collect::<Vec<_>>());
    blocks.iter().for_each(|bytes| car::write_block(&mut v1, &cid(bytes), bytes).expect("memory does not fail"));
    let header =
        [&b"\x0a\xa1\x67version\x02"[..], &[0; 16], &51u64.to_le_bytes(), &(v1.len() as u64).to_le_bytes(), &[0; 8]];
    let v2 = [&header.concat(), &v1[..], b"index"].concat();
    seed("car", [v1, v2]);
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let Ok(mut reader) = CarReader::new(bytes) else { return };
    let mut written = car::header(reader.roots());
    let mut blocks = Vec::new();
    while let Ok(Some(block)) = reader.next_block() {
        assert_eq!(Block::check(*block.cid(), block.bytes().to_vec()).as_ref(), Ok(&block));
        car::write_block(&mut written, block.cid(), block.bytes()).expect("memory does not fail");
        blocks.push(block);
    }
    let mut again = CarReader::new(&written[..]).expect("what was written can be read");
    assert_eq!(again.roots(), reader.roots());
    for block in blocks {
        assert_eq!(again.next_block().expect("what was written can be read"), Some(block));
    }
    assert!(matches!(again.next_block(), Ok(None)));
});
