//! CIDs of Kubo 0.40.1, for each of its flags: `kubo-cids.json` says how each was made.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;

use cairn_core::ipld::{
    Block, Choices, ChunkSize, CidVersion, DirectoryBuilder, DirectoryError, FileBuilder, HashFunction, InlineLimit,
    Layout, MaxFileLinks, Metadata, Mode, Mtime, OptionsError, Profile, Root, symlink,
};
use serde_json::Value;

/// What a vector's flags and settings mean.
#[derive(Default)]
struct Flags {
    choices: Choices,
    metadata: Metadata,
    wrap: bool,
    hidden: bool,
    dereference: bool,
    preserve: bool,
}

/// The chunkers that are left out: content-defined ones, whose parameters Kubo may change.
const LEFT_OUT: [&str; 1] = ["rabin"];

fn flags(vector: &Value) -> Result<Flags, OptionsError> {
    let mut flags = Flags::default();
    if vector["profile"] == "unixfs-v1-2025" {
        flags.choices.profile = Profile::UnixfsV1_2025;
    }
    if let Some(threshold) = vector["config"]["Import.UnixFSHAMTDirectorySizeThreshold"].as_str() {
        flags.choices.sharding_threshold = Some(threshold.trim_end_matches('B').parse().unwrap());
    }
    let (mut inline, mut inline_limit, mut mtime, mut nanos) = (false, 32, 0, 0);
    for flag in vector["flags"].as_array().unwrap() {
        let (name, value) = flag.as_str().unwrap().split_once('=').unwrap_or((flag.as_str().unwrap(), ""));
        let number = || value.parse::<u64>().unwrap();
        let choices = &mut flags.choices;
        match name {
            "--cid-version" => choices.cid_version = Some([CidVersion::V0, CidVersion::V1][number() as usize]),
            "--raw-leaves" => choices.raw_leaves = Some(value != "false"),
            "--chunker" => match value.strip_prefix("size-") {
                Some(size) => choices.chunk_size = Some(ChunkSize::new(size.parse().unwrap())?),
                None => assert!(LEFT_OUT.contains(&vector["name"].as_str().unwrap()), "{value}"),
            },
            "--max-file-links" => choices.max_file_links = Some(MaxFileLinks::new(number())?),
            "--max-directory-links" => choices.max_directory_links = NonZeroUsize::new(number() as usize),
            "--trickle" => choices.layout = Some(Layout::Trickle),
            "--hash" => choices.hash = Some(HashFunction::from_name(value).expect(value)),
            "--inline" => inline = true,
            "--inline-limit" => inline_limit = number(),
            "--mode" => flags.metadata.mode = Mode::from_bits(u32::from_str_radix(value, 8).unwrap()),
            "--mtime" => mtime = value.parse().unwrap(),
            "--mtime-nsecs" => nanos = number() as u32,
            "--preserve-mode" | "--preserve-mtime" => flags.preserve = true,
            "--dereference-symlinks" => flags.dereference = true,
            "-H" => flags.hidden = true,
            "-w" => flags.wrap = true,
            other => panic!("{other}"),
        }
    }
    if inline {
        flags.choices.inline = Some(InlineLimit::new(inline_limit)?);
    }
    if mtime != 0 {
        flags.metadata.mtime = Some(Mtime { secs: mtime, nanos });
    }
    Ok(flags)
}

/// The bytes that a generator makes.
fn content(generator: &str) -> Vec<u8> {
    let (name, argument) = generator.split_once(':').unwrap();
    let count = || argument.parse::<usize>().unwrap();
    match name {
        "pattern" => (0..count()).map(|i| (i * 131 % 251) as u8).collect(),
        "lcg" => {
            let next = |x: &u64| Some((x * 1_103_515_245 + 12_345) % (1 << 31));
            std::iter::successors(Some(1), next).skip(1).take(count()).map(|x| (x >> 16) as u8).collect()
        }
        "text" => argument.as_bytes().to_vec(),
        other => panic!("{other}"),
    }
}

/// A file system's tree.
enum Entry {
    File(Vec<u8>),
    Symlink(String),
    Directory(BTreeMap<String, Entry>),
}

impl Entry {
    fn new(generator: &str) -> Self {
        match generator.split_once(':') {
            None => Self::Directory(BTreeMap::new()),
            Some(("link", target)) => Self::Symlink(target.to_owned()),
            Some(_) => Self::File(content(generator)),
        }
    }

    fn put(&mut self, path: &str, entry: Self) {
        let Self::Directory(entries) = self else { panic!("{path} is below a file") };
        match path.split_once('/') {
            None => drop(entries.insert(path.to_owned(), entry)),
            Some((first, rest)) => entries.entry(first.to_owned()).or_insert_with(|| Self::new("dir")).put(rest, entry),
        }
    }

    /// The tree of a vector.
    fn of(vector: &Value) -> Self {
        let mut root = Self::new("dir");
        let mut files = |names: &mut dyn Iterator<Item = String>| {
            names.for_each(|name| root.put(&name, Self::File(b"x".to_vec())));
        };
        match vector["name"].as_str().unwrap() {
            "hamt-v1-4096x28" => files(&mut (0..4096).map(|n| format!("{n:028}"))),
            "hamt-v1-4097x28" => files(&mut (0..4097).map(|n| format!("{n:028}"))),
            "hamt-v0-4096x30" => files(&mut (0..4096).map(|n| format!("{n:030}"))),
            "u2025-dirblock-262144" => {
                files(&mut (0..3640).map(|n| format!("{n:0width$}", width = if n < 60 { 29 } else { 28 })));
            }
            name => {
                let tree = vector["tree"].as_object().unwrap_or_else(|| panic!("{name} has no tree"));
                tree.iter().for_each(|(path, generator)| root.put(path, Self::new(generator.as_str().unwrap())));
            }
        }
        root
    }
}

/// Adds a tree, and returns the root's block.
fn tree(entry: &Entry, flags: &Flags, vector: &Value) -> (Root, Block) {
    let options = flags.choices.options().unwrap();
    let mut last = None;
    let mut sink = |block: Block| {
        last = Some(block);
        Ok::<(), DirectoryError>(())
    };
    let metadata = |chmod: &str| {
        let mode = vector[chmod].as_str().and_then(|mode| Mode::from_bits(u32::from_str_radix(mode, 8).unwrap()));
        let secs = vector["mtime_ns_all"].as_i64().map(|nanos| nanos / 1_000_000_000);
        Metadata { mode, mtime: secs.map(|secs| Mtime { secs, nanos: 0 }) }
    };
    let root = match entry {
        Entry::File(bytes) => {
            let mut builder = FileBuilder::new(&options, metadata("chmod_files"));
            builder.write(bytes, &mut sink).unwrap();
            builder.finish(&mut sink).unwrap()
        }
        Entry::Symlink(target) => symlink(target.as_bytes(), metadata("chmod_files"), &options, &mut sink).unwrap(),
        Entry::Directory(entries) => {
            let mut builder = DirectoryBuilder::new();
            for (name, entry) in entries.iter().filter(|(name, _)| flags.hidden || !name.starts_with('.')) {
                let entry = match entry {
                    Entry::Symlink(target) if flags.dereference => &entries[target],
                    entry => entry,
                };
                builder.insert(tree(entry, flags, vector).0.named(name.as_str())).unwrap();
            }
            builder.finish(metadata("chmod_dirs"), &options, &mut sink).unwrap()
        }
    };
    (root, last.unwrap())
}

#[test]
fn directories() {
    let mut checked = 0;
    for vector in vectors() {
        let flags = flags(&vector);
        let entry = match (&vector["content"], &flags) {
            (Value::Null, _) => Entry::of(&vector),
            (content, Ok(flags)) if flags.wrap => {
                Entry::Directory([("x".to_owned(), Entry::new(content.as_str().unwrap()))].into())
            }
            _ => continue,
        };
        let (_, root) = tree(&entry, &flags.unwrap(), &vector);
        assert_eq!(root.cid().to_string(), vector["cid"], "{}", vector["name"]);
        assert_eq!(root.bytes().len(), vector["root_block_size"], "{}", vector["name"]);
        if let Some(block) = vector["root_block_hex"].as_str() {
            assert_eq!(hex::encode(root.bytes()), block, "{}", vector["name"]);
        }
        checked += 1;
    }
    assert_eq!(checked, 28);
}

/// Adds a file in pieces of some length, and returns the root's block.
fn file(bytes: &[u8], flags: &Flags, metadata: Metadata, piece: usize) -> Block {
    let mut last = None;
    let mut sink = |block: Block| {
        last = Some(block);
        Ok::<(), Infallible>(())
    };
    let mut builder = FileBuilder::new(&flags.choices.options().unwrap(), metadata);
    bytes.chunks(piece).for_each(|piece| builder.write(piece, &mut sink).unwrap());
    let root = builder.finish(&mut sink).unwrap();
    let last = last.unwrap();
    assert_eq!(root.cid, *last.cid(), "the root comes last");
    last
}

pub fn vectors() -> Vec<Value> {
    let json: Value = serde_json::from_str(include_str!("../data/kubo-cids.json")).unwrap();
    json["vectors"].as_array().unwrap().clone()
}

#[test]
fn files() {
    let mut checked = 0;
    for vector in vectors().iter().filter(|vector| vector["content"].is_string()) {
        let name = vector["name"].as_str().unwrap();
        if LEFT_OUT.contains(&name) || vector["flags"].as_array().unwrap().contains(&"-w".into()) {
            continue;
        }
        checked += 1;
        let bytes = content(vector["content"].as_str().unwrap());
        let options = flags(vector).and_then(|flags| flags.choices.options().map(|_| flags));
        let flags = match (vector["cid"].is_null(), options) {
            (false, Ok(flags)) => flags,
            (true, Err(error)) => {
                assert_eq!(vector["error"], format!("Error: {error}"), "{name}");
                continue;
            }
            (_, other) => panic!("{name}: {:?}", other.err()),
        };
        let mut metadata = flags.metadata;
        if flags.preserve {
            let mode = u32::from_str_radix(vector["chmod"].as_str().unwrap(), 8).unwrap();
            metadata.mode = Mode::from_bits(mode);
            metadata.mtime = Some(Mtime { secs: vector["mtime_ns"].as_i64().unwrap() / 1_000_000_000, nanos: 0 });
        }
        for piece in [usize::MAX, 100_003] {
            let root = file(&bytes, &flags, metadata, piece);
            assert_eq!(root.cid().to_string(), vector["cid"], "{name}");
            assert_eq!(root.bytes().len(), vector["root_block_size"], "{name}");
            if let Some(block) = vector["root_block_hex"].as_str() {
                assert_eq!(hex::encode(root.bytes()), block, "{name}");
            }
        }
    }
    assert_eq!(checked, 70);
}
