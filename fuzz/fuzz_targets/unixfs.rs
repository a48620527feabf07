//! Any bytes as nodes of files and directories. They stand for every block that a reader asks for, so that nodes link to
//! themselves, which no hash allows: the readers end all the same.

#![no_main]

use cairn::ipld::dagpb::{self, Link, Node};
use cairn::ipld::read::{DagReader, DirectoryReader, FileReader, MAX_DEPTH, MAX_PENDING, PathReader, View};
use cairn::ipld::{Cid, Codec, Data, HashFunction};
use cairn_fuzz::{seed, test_data};
use libfuzzer_sys::fuzz_target;

fn seeds() {
    let json: serde_json::Value = serde_json::from_slice(&test_data("kubo-cids.json")).expect("it is JSON");
    let vectors = json["vectors"].as_array().expect("it has vectors");
    let blocks = vectors.iter().filter_map(|vector| hex::decode(vector["root_block_hex"].as_str()?).ok());
    seed("unixfs", blocks);
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    if let Ok(data) = Data::decode(bytes) {
        assert_eq!(Data::decode(&data.encode()).as_ref(), Ok(&data));
    }
    if let Ok(node) = Node::decode(bytes) {
        let link = |link: dagpb::LinkRef| Link { cid: link.cid, name: link.name.to_vec(), size: link.size };
        let links: Vec<Link> = node.links().map(link).collect();
        assert_eq!(links.len(), node.link_count);
        let written = dagpb::encode(&links, node.data.unwrap_or_default());
        let again = Node::decode(&written).expect("what was written can be read");
        assert!(again.links().map(link).eq(links) && again.data.unwrap_or_default() == node.data.unwrap_or_default());
    }
    let cid = Cid::v1(Codec::DAG_PB, HashFunction::Sha2_256, bytes).expect("it has no limit");
    let Ok(view) = View::of(cid, bytes) else { return };
    // As many blocks as there are bytes of the file, times the depth.
    let size = if let View::File(file) = &view { file.size } else { 0 };
    let mut reader = FileReader::new(cid, 0..size.min(1_000));
    let (mut read, mut count) = (0, 0);
    while reader.wanted().is_some() {
        let Ok(part) = reader.supply(bytes) else { break };
        read += part.len() as u64;
        count += 1;
        assert!(read <= size && count <= 1 + size.min(1_000) * (MAX_DEPTH as u64 + 1));
    }
    let mut reader = DirectoryReader::new(cid);
    let mut count = 0;
    while reader.wanted().is_some() && reader.supply(bytes).is_ok() {
        count += 1;
        assert!(count <= 64 * MAX_PENDING);
    }
    let mut reader = PathReader::new(cid, b"a/b/c");
    let mut count = 0;
    while matches!(reader.wanted(), Ok(Some(_))) && reader.supply(bytes).is_ok() {
        count += 1;
        assert!(count <= 3 * 22);
    }
    let mut reader = DagReader::new([cid]);
    while let Some(cid) = reader.next_block() {
        let _ = reader.supply(&cid, bytes);
    }
});
