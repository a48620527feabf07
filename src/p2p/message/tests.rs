use super::*;
use crate::consensus::commitment::Committed;
use crate::consensus::params::{GenesisSpec, Params};
use crate::p2p::archive::MAX_RUNS_BYTES;
use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use crate::p2p::coins::{About, CoinProof};
use crate::p2p::kad::K;
use crate::p2p::proofs::TxProof;
use crate::p2p::signal::{MAX_DESCRIPTION, MAX_PAGES};
use crate::p2p::state::RangePage;
use crate::p2p::wants::{MAX_HASH_BYTES, MAX_WANTS};
use crate::primitives::codec;
use crate::primitives::hash::{Hash256, MmrRoot, StateRoot};
use crate::primitives::keys::PublicKey;
use crate::primitives::merkle::Branch;
use crate::primitives::tx::OutPoint;
use crate::state::KeyRange;
use crate::storage::TxLocation;

fn webrtc() -> PeerAddr {
    PeerAddr::WebRtc { socket: "10.1.2.3:4001".parse().unwrap(), certhash: [7; 32] }
}

/// One of each kind.
pub(crate) fn samples() -> Vec<Message> {
    let params = Params::new(GenesisSpec::regtest()).unwrap();
    let (hash, txid) = (BlockHash::of(b"x"), Txid::of(b"x"));
    let items = vec![Item::Transaction(txid), Item::Block(BlockHash::ZERO), Item::CompactBlock(hash)];
    let contact = |text: &str| Contact { id: NodeId([5; 32]), address: text.parse().unwrap() };
    let from = TxLocation { height: Height::from_u32(7), position: 3 };
    let key_query = ProofQuery::Key { key: PublicKey([5; 32]), from };
    let proof = TxProof {
        height: Height::from_u32(3),
        block: hash,
        branch: Branch { index: 1, siblings: vec![Hash256::of(b"x"); 2] },
        transaction: params.genesis.transactions[0].clone(),
    };
    let committed = Committed { range: MmrRoot::of(b"x"), state: StateRoot::of(b"x"), filters: FilterHeader::of(b"x") };
    let opening = Opening { coinbase: proof.clone(), committed };
    let outpoint = OutPoint { txid, index: 300 };
    let query = CoinQuery { root: StateRoot::of(b"x"), owner: PublicKey([5; 32]), about: About::From(outpoint) };
    let range = RangeQuery::new(hash, &KeyRange::lock(&PublicKey([5; 32])));
    vec![
        Message::Hello(Hello {
            version: 1,
            genesis: params.genesis_hash,
            services: SERVICE_FULL,
            tip: TipClaim { height: Height::from_u32(3), hash, work: params.genesis_target.work() },
            bodies_from: Height::GENESIS,
            listens: vec![PeerAddr::tcp_port(7331), webrtc()],
            user_agent: "/cairn:0.1.0/".to_owned(),
        }),
        Message::Ping(1),
        Message::Pong(2),
        Message::Inventory(items.clone()),
        Message::GetData(items.clone()),
        Message::NotFound(items),
        Message::GetHeaders { locator: vec![hash; 3], stop: BlockHash::ZERO },
        Message::Headers(vec![params.genesis.header; 3]),
        Message::Block(Arc::new(params.genesis.clone())),
        Message::Transaction(Arc::new(params.genesis.transactions[0].clone())),
        Message::GetFilterHeaders { start_height: Height::from_u32(4), stop: hash },
        Message::FilterHeaders { stop: hash, previous: FilterHeader::ZERO, hashes: vec![FilterHash::of(b"x"); 3] },
        Message::GetFilters { start_height: Height::MAX, stop: hash },
        Message::Filters(vec![(hash, vec![1, 2, 3]), (BlockHash::ZERO, vec![0])]),
        Message::GetProofs(key_query),
        Message::Proofs(Proofs { query: ProofQuery::Transaction(txid), proofs: vec![proof], more: true }),
        Message::FindNode { target: NodeId([6; 32]) },
        Message::Nodes(vec![contact("10.1.2.3:7331"), contact("[2001:db8::1]:1"), contact(&webrtc().to_string())]),
        Message::CompactBlock(Arc::new(CompactBlock::new(&params.genesis, &params.genesis.txids(), 7, &[]))),
        Message::GetBlockTransactions { block: hash, places: vec![1, 5, u16::MAX] },
        Message::BlockTransactions {
            block: hash,
            transactions: params.genesis.transactions.iter().cloned().map(Arc::new).collect(),
        },
        Message::SendCompact(true),
        Message::GetStateRange(range),
        Message::StateRange(RangeAnswer {
            query: range,
            page: Some(RangePage { proof: vec![0], end: Some(range.first) }),
        }),
        Message::GetOpening(hash),
        Message::Opening { block: hash, opening: Some(Box::new(opening)) },
        Message::GetCoins(query),
        Message::Coins(CoinAnswer { query, proof: Some(CoinProof { bytes: vec![0], end: Some(outpoint) }) }),
        Message::GetChainProof(ChainQuery::Headers { below: hash, spans: vec![(Height::from_u32(3), 7)] }),
        Message::ChainProof(ChainAnswer { query: ChainQuery::Tip, proof: Some(vec![1, 2, 3]) }),
        Message::AddProvider(vec![NodeId([7; 32]); 2]),
        Message::ProviderAdded { kept: 2 },
        Message::GetProviders { key: NodeId([7; 32]) },
        Message::Providers { providers: vec![contact("10.1.2.3:7331")], nearer: vec![contact("[2001:db8::1]:1")] },
        Message::WantBlocks(vec![Want { hash: vec![7; 34], whole: true }, Want { hash: vec![8; 66], whole: false }]),
        Message::HaveBlocks(vec![Have { hash: vec![7; 34], here: true }]),
        Message::ContentBlock(Arc::new(ContentBlock { hash: vec![7; 34], bytes: vec![1, 2, 3] })),
        Message::NoHeaders { from: Height::from_u32(1), end: Height::from_u32(700) },
        Message::Archive(vec![0b1000_0001, 2]),
        Message::GetPages,
        Message::Pages(vec![NodeId([7; 32]), NodeId([8; 32])]),
        Message::Signal { page: NodeId([7; 32]), signal: Signal::Answer(b"a".to_vec()) },
        Message::NoPage { page: NodeId([7; 32]) },
    ]
}

#[test]
fn every_kind_survives_the_wire_within_its_cap() {
    let samples = samples();
    assert_eq!(samples.iter().map(Message::kind).collect::<Vec<_>>(), Kind::ALL);
    assert!((0..).zip(Kind::ALL).all(|(place, kind)| kind.place() == place));
    for message in samples {
        let kind = message.kind();
        assert_eq!(Kind::from_byte(kind as u8), Some(kind));
        let payload = message.encode();
        assert_eq!(payload.len(), message.encoded_len(), "{}", kind.name());
        assert!(payload.len() <= kind.max_payload(1_000_000));
        assert_eq!(Message::decode(kind, &payload), Ok(message));
    }
    assert_eq!([3, 4, 45].map(Kind::from_byte), [None; 3]);
}

#[test]
fn the_fullest_lists_fit_and_one_more_element_does_not() {
    let header = Params::new(GenesisSpec::regtest()).unwrap().genesis.header;
    let contact = Contact { id: NodeId([5; 32]), address: webrtc() };
    let of = |n: usize| {
        vec![
            (Message::Headers(vec![header; MAX_HEADERS + n]), MAX_HEADERS),
            (Message::Nodes(vec![contact; K + n]), K),
            (Message::Archive(vec![1; MAX_RUNS_BYTES + n]), MAX_RUNS_BYTES),
            (Message::AddProvider(vec![NodeId([5; 32]); MAX_PROVIDED + n]), MAX_PROVIDED),
            (Message::Pages(vec![NodeId([5; 32]); MAX_PAGES + n]), MAX_PAGES),
            (
                Message::Signal { page: NodeId([5; 32]), signal: Signal::Offer(vec![5; MAX_DESCRIPTION + n]) },
                MAX_DESCRIPTION,
            ),
            (Message::WantBlocks(vec![Want { hash: vec![7; MAX_HASH_BYTES], whole: true }; MAX_WANTS + n]), MAX_WANTS),
            (Message::HaveBlocks(vec![Have { hash: vec![7; MAX_HASH_BYTES], here: true }; MAX_WANTS + n]), MAX_WANTS),
            (Message::Providers { providers: vec![contact; K], nearer: vec![contact; K + n] }, K),
            (Message::Providers { providers: vec![contact; K + n], nearer: vec![contact; K] }, K),
            (Message::Inventory(vec![Item::Block(BlockHash::ZERO); MAX_INVENTORY + n]), MAX_INVENTORY),
            (
                Message::GetHeaders { locator: vec![BlockHash::ZERO; MAX_LOCATOR + n], stop: BlockHash::ZERO },
                MAX_LOCATOR,
            ),
            (
                Message::FilterHeaders {
                    stop: BlockHash::ZERO,
                    previous: FilterHeader::ZERO,
                    hashes: vec![FilterHash::of(b"x"); MAX_FILTER_HEADERS + n],
                },
                MAX_FILTER_HEADERS,
            ),
        ]
    };
    for (message, _) in of(0) {
        let (kind, payload) = (message.kind(), message.encode());
        assert_eq!(payload.len(), kind.max_payload(0), "{}", kind.name());
        assert_eq!(Message::decode(kind, &payload), Ok(message));
    }
    for (message, max) in of(1) {
        let (kind, payload) = (message.kind(), message.encode());
        assert!(payload.len() > kind.max_payload(0));
        assert_eq!(Message::decode(kind, &payload), Err(MessageError::TooMany { kind, got: max + 1, max }));
    }
}

#[test]
fn names_of_blocks_are_bounded_in_length() {
    let of = |n: usize| Message::WantBlocks(vec![Want { hash: vec![7; n], whole: true }]);
    assert_eq!(Message::decode(Kind::WantBlocks, &of(MAX_HASH_BYTES).encode()), Ok(of(MAX_HASH_BYTES)));
    let error = MessageError::TooMany { kind: Kind::WantBlocks, got: MAX_HASH_BYTES + 1, max: MAX_HASH_BYTES };
    assert_eq!(Message::decode(Kind::WantBlocks, &of(MAX_HASH_BYTES + 1).encode()), Err(error));
}

#[test]
fn filters_are_bounded_in_number() {
    let of = |n: usize| Message::Filters(vec![(BlockHash::ZERO, vec![0]); n]);
    assert_eq!(Message::decode(Kind::Filters, &of(MAX_FILTERS).encode()), Ok(of(MAX_FILTERS)));
    let error = MessageError::TooMany { kind: Kind::Filters, got: MAX_FILTERS + 1, max: MAX_FILTERS };
    assert_eq!(Message::decode(Kind::Filters, &of(MAX_FILTERS + 1).encode()), Err(error));
}

#[test]
fn a_longer_hello_of_a_later_version_is_understood() {
    let hello = samples().swap_remove(0);
    let mut payload = hello.encode();
    payload.extend([1, 2, 3]);
    assert_eq!(Message::decode(Kind::Hello, &payload), Ok(hello));
    assert!(matches!(Message::decode(Kind::Ping, &[0; 9]), Err(MessageError::Encoding { .. })));
}

#[test]
fn a_hello_names_few_addresses() {
    let Message::Hello(hello) = samples().swap_remove(0) else { panic!("hello is the first kind") };
    let of = |count| Message::Hello(Hello { listens: vec![webrtc(); count], ..hello.clone() });
    assert_eq!(Message::decode(Kind::Hello, &of(MAX_LISTENS).encode()), Ok(of(MAX_LISTENS)));
    let error = MessageError::TooMany { kind: Kind::Hello, got: MAX_LISTENS + 1, max: MAX_LISTENS };
    assert_eq!(Message::decode(Kind::Hello, &of(MAX_LISTENS + 1).encode()), Err(error));
}

/// An address of a kind to come, of so many bytes after its length.
fn unknown(length: u8) -> Vec<u8> {
    [vec![7, length], vec![0xa5; length.into()]].concat()
}

#[test]
fn addresses_of_unknown_kinds_are_skipped() {
    let Message::Hello(hello) = samples().swap_remove(0) else { panic!("hello is the first kind") };
    let known = Hello { listens: vec![webrtc(), webrtc()], ..hello };
    let bytes = Message::Hello(known.clone()).encode();
    let address = codec::encode(&webrtc());
    // The list's length, a u64 here, and its addresses.
    let list = [2u64.to_le_bytes().as_slice(), &address, &address].concat();
    let at = bytes.windows(list.len()).position(|part| part == list).expect("the list is in the hello");
    for length in [0, 1, 49] {
        let longer = [4u64.to_le_bytes().as_slice(), &unknown(length), &address, &unknown(0), &address].concat();
        let sent = [&bytes[..at], &longer, &bytes[at + list.len()..]].concat();
        assert_eq!(Message::decode(Kind::Hello, &sent), Ok(Message::Hello(known.clone())), "{length}");
    }
    let too_long = [1u64.to_le_bytes().as_slice(), &unknown(50)].concat();
    let sent = [&bytes[..at], &too_long, &bytes[at + list.len()..]].concat();
    assert!(Message::decode(Kind::Hello, &sent).is_err());

    let contact = Contact { id: NodeId([3; 32]), address: webrtc() };
    let stranger = [[9; 32].as_slice(), &unknown(20)].concat();
    let nodes = [2u64.to_le_bytes().as_slice(), &stranger, &codec::encode(&contact)].concat();
    assert_eq!(Message::decode(Kind::Nodes, &nodes), Ok(Message::Nodes(vec![contact])));
    let both = [nodes.as_slice(), &nodes].concat();
    let (providers, nearer) = (vec![contact], vec![contact]);
    assert_eq!(Message::decode(Kind::Providers, &both), Ok(Message::Providers { providers, nearer }));
    assert!(Message::decode(Kind::Nodes, &nodes[..nodes.len() - codec::encode(&contact).len() - 1]).is_err());
}
