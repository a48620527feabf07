//! Files that are shared with peers.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn::ipld::Cid;
use cairn::light::library::{
    Library, MAX_SHARED_BYTES, MAX_WAITING, Output, PATIENCE, ShareError, UPLOAD_BURST, Whole,
};
use cairn::p2p::PeerId;
use cairn::p2p::content_message::ContentMessage;
use cairn::p2p::wants::{ContentFault, Have, MAX_WANTS, Want};
use cairn::primitives::time::MonoTime;

use super::{START, World, blocks, bytes};

/// Shares a file: its CID.
fn share(library: &mut Library, file: &[u8]) -> Result<Cid, ShareError> {
    library.share();
    file.chunks(1 << 20).try_for_each(|piece| library.write(piece))?;
    library.finish()
}

/// All answers that a peer is given at a time.
fn answers(library: &mut Library, now: MonoTime, peer: PeerId) -> Vec<ContentMessage> {
    std::iter::from_fn(|| library.answer(now, peer)).collect()
}

#[test]
fn a_shared_file_has_the_cid_of_the_command_and_is_served() {
    let file = bytes(3_000_000);
    let (blocks, root) = blocks(&file);
    let mut library = Library::default();
    assert_eq!(share(&mut library, &file), Ok(root));
    let peer = PeerId(1);
    let absent = vec![0x12, 32, 1];
    let mut wants: Vec<Want> = blocks.keys().map(|hash| Want { hash: hash.clone(), whole: true }).collect();
    wants.insert(0, Want { hash: root.multihash(), whole: false });
    wants.insert(1, Want { hash: absent.clone(), whole: true });
    library.received(START, peer, ContentMessage::Wants(wants));
    assert!(library.owes());
    let mut given = answers(&mut library, START, peer).into_iter();
    let words = [(root.multihash(), true), (absent, false)].map(|(hash, here)| Have { hash, here });
    assert_eq!(given.next(), Some(ContentMessage::Haves(words.to_vec())));
    let sent: BTreeMap<Vec<u8>, Vec<u8>> = given
        .map(|message| match message {
            ContentMessage::Block(block) => (block.hash, block.bytes),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(sent == blocks && !library.owes());
    // What is shared here is read without a peer.
    library.fetch(START, &root.to_string()).unwrap();
    let mut world = World { library, ..World::new(BTreeMap::new(), &[]) };
    assert_eq!(world.run(PATIENCE), Some(Ok(Whole::File)));
    assert!(world.file == file);
    world.library.clear();
    let want = Want { hash: root.multihash(), whole: false };
    world.library.received(START, peer, ContentMessage::Wants(vec![want]));
    let gone = ContentMessage::Haves(vec![Have { hash: root.multihash(), here: false }]);
    assert_eq!(world.library.answer(START, peer), Some(gone));
}

#[test]
fn what_peers_are_given_is_bounded() {
    let mut library = Library::default();
    let root = share(&mut library, &bytes(200_000)).unwrap();
    let (first, second) = (PeerId(1), PeerId(2));
    let list = |count| ContentMessage::Wants(vec![Want { hash: root.multihash(), whole: true }; count]);
    for _ in 0..MAX_WAITING / MAX_WANTS {
        library.received(START, first, list(MAX_WANTS));
    }
    assert_eq!(library.next_output(), None);
    library.received(START, first, list(1));
    assert_eq!(library.next_output(), Some(Output::Penalise(first, ContentFault::Flood)));
    library.received(START, second, list(MAX_WANTS));
    // At once no more than the burst, both together; then 5 MB a second.
    let most = UPLOAD_BURST as usize / 200_000;
    let mut count = |now, peer| answers(&mut library, now, peer).len();
    let given = count(START, first) + count(START, second);
    assert!((most - 1..=most).contains(&given), "{given} blocks");
    let later = START + Duration::from_secs(1);
    assert!((24..=25).contains(&(count(later, second) + count(later, first))));
    library.gone(later, first);
    library.gone(later, second);
    assert!(!library.owes());

    // Questions cost, too: there is not enough left for these.
    let questions = ContentMessage::Wants(vec![Want { hash: vec![0], whole: false }; MAX_WANTS]);
    library.received(later, first, questions);
    let words = answers(&mut library, later, first);
    assert!(words.len() <= 1 && library.owes(), "{words:?}");
}

#[test]
fn no_more_is_shared_than_there_is_room_for() {
    let mut library = Library::default();
    let small = share(&mut library, b"small").unwrap();
    assert_eq!(share(&mut library, &bytes(MAX_SHARED_BYTES)), Err(ShareError::Full));
    assert_eq!(library.finish(), Err(ShareError::NotBegun));
    // What was there before is there still, and there is room again.
    library.received(START, PeerId(1), ContentMessage::Wants(vec![Want { hash: small.multihash(), whole: false }]));
    let here = ContentMessage::Haves(vec![Have { hash: small.multihash(), here: true }]);
    assert_eq!(library.answer(START, PeerId(1)), Some(here));
    assert!(share(&mut library, &bytes(MAX_SHARED_BYTES / 2)).is_ok());
}

#[test]
fn one_of_the_files_is_shared_no_longer() {
    let mut library = Library::default();
    let peer = PeerId(1);
    // Their first blocks are the same.
    let file = bytes(20_000_000);
    let [long, short] = [&file[..], &file[..1_500_000]].map(|file| share(&mut library, file).unwrap());
    let has = |library: &mut Library, hash: Vec<u8>| {
        library.received(START, peer, ContentMessage::Wants(vec![Want { hash, whole: false }]));
        match library.answer(START, peer) {
            Some(ContentMessage::Haves(haves)) => haves[0].here,
            other => panic!("{other:?}"),
        }
    };
    let shared = blocks(&file[..1_500_000]).0;
    library.unshare(&long);
    library.unshare(&long);
    assert!(!has(&mut library, long.multihash()));
    assert!(shared.keys().all(|hash| has(&mut library, hash.clone())));
    // One that is being added keeps what it has in common, too, until it is given up.
    library.share();
    library.write(&file).unwrap();
    library.unshare(&short);
    let kept = shared.keys().filter(|hash| has(&mut library, (*hash).clone())).count();
    assert!((1..shared.len()).contains(&kept), "{kept}: what both begin with");
    library.give_up();
    assert!(shared.keys().all(|hash| !has(&mut library, hash.clone())));
}
