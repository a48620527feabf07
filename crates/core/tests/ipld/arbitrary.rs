//! Bytes that are nearly right: what is read is written again as it was, and every reader ends.

use cairn_core::ipld::car::CarReader;
use cairn_core::ipld::dagpb::{self, Link, Node};
use cairn_core::ipld::read::{DagReader, DirectoryReader, FileReader, PathReader};
use cairn_core::ipld::{Cid, Codec, Data, HashFunction};
use proptest::prelude::*;

use crate::vectors::vectors;

/// Blocks of Kubo's, CIDs and a CAR, with some bytes changed, cut off or repeated.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let vectors = vectors();
    let cids = vectors.iter().filter_map(|vector| vector["cid"].as_str()?.parse::<Cid>().ok());
    let cids: Vec<Cid> = cids.collect();
    let mut inputs: Vec<Vec<u8>> = cids.iter().map(Cid::to_bytes).collect();
    inputs.push(cairn_core::ipld::car::header(&cids[..3]));
    inputs.extend(vectors.iter().filter_map(|vector| hex::decode(vector["root_block_hex"].as_str()?).ok()));
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..6);
    (prop::sample::select(inputs), edits).prop_map(|(mut bytes, edits)| {
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                2 => bytes.extend_from_within(at..),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|changed| *changed = byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, fork: false, ..ProptestConfig::default() })]

    #[test]
    fn cids(bytes in nearly()) {
        if let Ok((cid, rest)) = Cid::read_prefix(&bytes) {
            prop_assert_eq!(&cid.to_bytes(), &bytes[..bytes.len() - rest.len()]);
            prop_assert_eq!(cid.to_string().parse(), Ok(cid));
        }
        if let Ok(cid) = String::from_utf8_lossy(&bytes).parse::<Cid>() {
            prop_assert_eq!(Cid::from_bytes(&cid.to_bytes()), Ok(cid));
        }
    }

    /// The node stands for all that it links to, so that it links to itself.
    #[test]
    fn nodes(bytes in nearly()) {
        if let Ok(data) = Data::decode(&bytes) {
            let written = data.encode();
            prop_assert_eq!(Data::decode(&written), Ok(data));
        }
        if let Ok(node) = Node::decode(&bytes) {
            let link = |link: dagpb::LinkRef| Link { cid: link.cid, name: link.name.to_vec(), size: link.size };
            let links: Vec<Link> = node.links().map(link).collect();
            let written = dagpb::encode(&links, node.data.unwrap_or_default());
            let again = Node::decode(&written).unwrap();
            prop_assert!(again.links().map(link).eq(links.iter().cloned()) && links.len() == node.link_count);
        }
        let cid = Cid::v1(Codec::DAG_PB, HashFunction::Sha2_256, &bytes).unwrap();
        let (mut file, mut directory) = (FileReader::new(cid, 0..100), DirectoryReader::new(cid));
        let (mut path, mut dag) = (PathReader::new(cid, b"a/b"), DagReader::new([cid]));
        let mut count = 0;
        while file.wanted().is_some() && file.supply(&bytes).is_ok() {
            count += 1;
        }
        while directory.wanted().is_some() && directory.supply(&bytes).is_ok() {
            count += 1;
        }
        while matches!(path.wanted(), Ok(Some(_))) && path.supply(&bytes).is_ok() {
            count += 1;
        }
        while let Some(cid) = dag.next_block() {
            let _ = dag.supply(&cid, &bytes);
            count += 1;
        }
        prop_assert!(count < 20_000, "{} blocks", count);
    }

    #[test]
    fn cars(bytes in nearly()) {
        let Ok(mut reader) = CarReader::new(&bytes[..]) else { return Ok(()) };
        while let Ok(Some(block)) = reader.next_block() {
            prop_assert_eq!(block.cid().names(block.bytes()), Some(true));
        }
    }
}
