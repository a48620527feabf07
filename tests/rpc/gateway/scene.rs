//! Files in a node's content store, and requests for them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use cairn::content::{CONTENT_DIR, ContentError, ContentReader, ContentStore};
use cairn::ipld::car::CarReader;
use cairn::ipld::{
    Block, Choices, ChunkSize, Cid, CidVersion, DirectoryBuilder, FileBuilder, Metadata, Options, Root, dagpb,
};
use cairn::rpc;

use crate::fixture::Fixture;

/// Bytes that no page or file here has more of.
const MAX_BYTES: u64 = 1 << 30;

/// A node with content. Each block has a name, to say in a few words which ones an answer holds.
pub struct Scene {
    pub fixture: Fixture,
    pub cids: BTreeMap<String, Cid>,
}

/// What a server answered, whole or not.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
    /// Whether the body ended where it should.
    pub is_whole: bool,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Adds a tree to a store.
pub struct Adding<'a> {
    store: &'a mut ContentStore,
    pub options: Options,
    cids: &'a mut BTreeMap<String, Cid>,
}

impl Adding<'_> {
    fn name(&mut self, name: &str, cid: Cid) {
        self.cids.insert(name.to_owned(), cid);
    }

    /// A file; its pieces are NAME.0, NAME.1 and so on.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Root {
        let mut leaves: Vec<Cid> = Vec::new();
        let (store, mut builder) = (&mut *self.store, FileBuilder::new(&self.options, Metadata::NONE));
        let mut sink = |block: Block| {
            leaves.push(*block.cid());
            store.put(&block)
        };
        builder.write(bytes, &mut sink).unwrap();
        let root = builder.finish::<ContentError>(&mut sink).unwrap();
        for (place, leaf) in leaves.into_iter().filter(|leaf| *leaf != root.cid).enumerate() {
            self.name(&format!("{name}.{place}"), leaf);
        }
        self.name(name, root.cid);
        root
    }

    /// A directory; if it is sharded, its nodes below the root are NAME.0 and so on, in no order.
    pub fn directory(&mut self, name: &str, entries: Vec<dagpb::Link>) -> Root {
        let mut builder = DirectoryBuilder::new();
        entries.into_iter().for_each(|entry| builder.insert(entry).unwrap());
        let (store, mut nodes) = (&mut *self.store, Vec::new());
        let mut sink = |block: Block| {
            nodes.push(*block.cid());
            store.put(&block)
        };
        let root = builder.finish(Metadata::NONE, &self.options, &mut sink).unwrap();
        for (place, node) in nodes.into_iter().filter(|node| *node != root.cid).enumerate() {
            self.name(&format!("{name}.{place}"), node);
        }
        self.name(name, root.cid);
        root
    }

    pub fn block(&mut self, name: &str, block: &Block) {
        self.store.put(block).unwrap();
        self.name(name, *block.cid());
    }
}

impl Scene {
    pub fn new(change: impl FnOnce(&mut rpc::Config), add: impl FnOnce(&mut Adding)) -> Self {
        let mut scene = Self { fixture: Fixture::with(change), cids: BTreeMap::new() };
        scene.add(add);
        scene
    }

    /// Adds content while the node runs: CIDs of version 1, raw leaves, pieces of 256 bytes.
    pub fn add(&mut self, add: impl FnOnce(&mut Adding)) {
        let mut store = ContentStore::open(&self.dir(), MAX_BYTES).unwrap();
        let choices = Choices {
            cid_version: Some(CidVersion::V1),
            chunk_size: Some(ChunkSize::new(256).unwrap()),
            ..Choices::default()
        };
        let options = choices.options().unwrap();
        add(&mut Adding { store: &mut store, options, cids: &mut self.cids });
        store.flush().unwrap();
    }

    pub fn dir(&self) -> PathBuf {
        self.fixture.dir.path().join(CONTENT_DIR)
    }

    pub fn reader(&self) -> ContentReader {
        ContentReader::open(&self.dir()).unwrap()
    }

    /// The file of a block.
    pub fn place(&self, name: &str) -> PathBuf {
        let hash = self.cids[name].multihash();
        self.dir().join("blocks").join(hex::encode(&hash[hash.len() - 1..])).join(hex::encode(hash))
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.place(name)).unwrap();
    }

    /// Writes the CIDs of names in braces.
    pub fn fill(&self, text: &str) -> String {
        let fill = |text: String, (name, cid): (&String, &Cid)| text.replace(&format!("{{{name}}}"), &cid.to_string());
        self.cids.iter().fold(text.to_owned(), fill)
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Got {
        self.send("GET", path, headers)
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Got {
        let host = self.fixture.address().to_string();
        let host = headers.iter().find(|(name, _)| *name == "Host").map_or(host, |(_, host)| self.fill(host));
        let mut text = format!("{method} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.fill(path));
        for (name, value) in headers.iter().filter(|(name, _)| *name != "Host") {
            text += &format!("{name}: {}\r\n", self.fill(value));
        }
        let mut stream = TcpStream::connect(self.fixture.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(format!("{text}\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        parse(&bytes, method == "HEAD")
    }

    /// The names of a CAR's root and blocks, in order.
    pub fn car(&self, got: &Got) -> (String, Vec<String>) {
        assert_eq!(got.status, 200, "{got:?}");
        let name = |cid: &Cid| {
            let named = self.cids.iter().find(|(_, known)| *known == cid);
            named.map_or_else(|| cid.to_string(), |(name, _)| name.clone())
        };
        let mut reader = CarReader::new(&got.body[..]).unwrap();
        let root = name(&reader.roots()[0]);
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block().unwrap() {
            blocks.push(name(block.cid()));
        }
        (root, blocks)
    }
}

fn parse(bytes: &[u8], is_head: bool) -> Got {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        // Broken off before the head was written to the socket.
        return Got { status: 200, head: String::new(), body: Vec::new(), is_whole: false };
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut got = Got { status, head, body: bytes[end + 4..].to_vec(), is_whole: true };
    if is_head || status == 304 {
        return got;
    }
    if got.header("Transfer-Encoding") == Some("chunked") {
        let (mut body, mut rest) = (Vec::new(), &got.body[..]);
        got.is_whole = loop {
            let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else { break false };
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            if size == 0 {
                break true;
            }
            let Some(chunk) = rest.get(line + 2..line + 2 + size) else { break false };
            body.extend(chunk);
            rest = &rest[line + 2 + size + 2..];
        };
        got.body = body;
    } else {
        got.is_whole = got.header("Content-Length") == Some(&got.body.len().to_string());
    }
    got
}
