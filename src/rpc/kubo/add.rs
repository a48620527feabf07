//! `add`, `block/put` and `dag/import`: what comes in parts of a body.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde_json::json;

use super::multipart::{Head, Kind};
use super::{Call, Out};
use crate::content::{ContentStore, Pin, PinKind, PinName};
use crate::ipld::car::CarReader;
use crate::ipld::{
    self, Block, Choices, ChunkSize, Cid, CidVersion, Codec, DirectoryBuilder, FileBuilder, HashFunction, Layout,
    MAX_BLOCK_BYTES, Metadata, Options, Root, is_entry_name,
};
use crate::rpc::gateway::failure::Failure;

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// Names on the way to a file, at most.
const MAX_DEPTH: usize = 256;
/// The longest target of a symbolic link.
const MAX_TARGET_BYTES: u64 = 4_096;

/// Something that was added.
enum Node {
    Leaf(Root),
    Directory(BTreeMap<Vec<u8>, Node>),
}

fn options(call: &Call) -> Result<Options, Failure> {
    let unknown = |name: &str, value: &str| Failure::bad(format!("{name} cannot be {value:?}"));
    let mut choices = Choices {
        layout: call.flag("trickle", false).then_some(Layout::Trickle),
        raw_leaves: call.option("raw-leaves").map(|_| call.flag("raw-leaves", false)),
        ..Choices::default()
    };
    choices.cid_version = match call.option("cid-version") {
        None => None,
        Some("0") => Some(CidVersion::V0),
        Some("1") => Some(CidVersion::V1),
        Some(other) => return Err(unknown("cid-version", other)),
    };
    if let Some(name) = call.option("hash") {
        choices.hash = Some(HashFunction::from_name(name).ok_or_else(|| unknown("hash", name))?);
    }
    if let Some(text) = call.option("chunker").filter(|text| *text != "default") {
        let bytes = text.strip_prefix("size-").and_then(|bytes| bytes.parse().ok());
        let size = bytes.and_then(|bytes| ChunkSize::new(bytes).ok());
        choices.chunk_size = Some(size.ok_or_else(|| unknown("chunker", text))?);
    }
    choices.options().map_err(|error| Failure::bad(error.to_string()))
}

/// Adds files and directories. A line for each, directories last.
pub(super) fn add(call: &Call, body: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let options = options(call)?;
    let mut store = if call.flag("only-hash", false) { None } else { Some(call.store()?) };
    let mut parts = call.parts(body)?;
    let mut tree = BTreeMap::new();
    let mut sink = |block: Block| match &mut store {
        Some(store) => store.put(&block).map_err(Failure::from),
        None => Ok(()),
    };
    while let Some(head) = parts.next_part().map_err(unreadable)? {
        let node = match head.kind {
            Kind::Directory => Node::Directory(BTreeMap::new()),
            Kind::File => Node::Leaf(file(&mut parts, &options, &mut sink)?),
            Kind::Symlink => {
                let mut target = Vec::new();
                parts.by_ref().take(MAX_TARGET_BYTES).read_to_end(&mut target).map_err(unreadable)?;
                Node::Leaf(ipld::symlink(&target, Metadata::NONE, &options, &mut sink)?)
            }
        };
        let cid = if let Node::Leaf(root) = &node { Some(root.cid) } else { None };
        let name = if head.name.is_empty() { cid.map(|cid| cid.to_string().into_bytes()) } else { Some(head.name) };
        let name = name.ok_or_else(|| Failure::bad("a directory needs a name".to_owned()))?;
        if let Node::Leaf(root) = &node {
            line(out, &name, root)?;
        }
        insert(&mut tree, &name, node)?;
    }
    if tree.is_empty() {
        return Err(Failure::bad("file argument 'path' is required".to_owned()));
    }
    let mut roots = Vec::new();
    if call.flag("wrap-with-directory", false) {
        roots.push(finish(Node::Directory(tree), b"", &options, &mut sink, out)?);
    } else {
        for (name, node) in tree {
            roots.push(finish(node, &name, &options, &mut sink, out)?);
        }
    }
    if let Some(store) = &mut store {
        for root in roots.iter().filter(|_| call.flag("pin", true)) {
            store.pin(&Pin { cid: root.cid, kind: PinKind::Recursive, name: PinName::default() })?;
        }
        store.flush()?;
    }
    Ok(())
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::bad(format!("cannot read the body: {error}"))
}

fn line(out: &mut Out, name: &[u8], root: &Root) -> Result<(), Failure> {
    let name = String::from_utf8_lossy(name);
    Ok(writeln!(out, "{}", json!({ "Name": name, "Hash": root.cid, "Size": root.dag_size.to_string() }))?)
}

fn file(
    input: &mut impl Read,
    options: &Options,
    sink: &mut impl FnMut(Block) -> Result<(), Failure>,
) -> Result<Root, Failure> {
    let mut builder = FileBuilder::new(options, Metadata::NONE);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match input.read(&mut buffer).map_err(unreadable)? {
            0 => return builder.finish(sink),
            count => builder.write(&buffer[..count], sink)?,
        }
    }
}

/// Puts what was added where its path says.
fn insert(tree: &mut BTreeMap<Vec<u8>, Node>, path: &[u8], node: Node) -> Result<(), Failure> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let wrong = || Failure::bad("a path in the body contradicts another, or cannot be one".to_owned());
    let is_path = names.len() <= MAX_DEPTH && names.iter().all(|name| is_entry_name(name));
    let Some((last, above)) = names.split_last().filter(|_| is_path) else { return Err(wrong()) };
    let mut tree = tree;
    for name in above {
        let entry = tree.entry(name.to_vec()).or_insert_with(|| Node::Directory(BTreeMap::new()));
        let Node::Directory(below) = entry else { return Err(wrong()) };
        tree = below;
    }
    match (tree.get(*last), &node) {
        // Already made for something below it.
        (Some(Node::Directory(_)), Node::Directory(_)) => Ok(()),
        (Some(_), _) => Err(wrong()),
        (None, _) => {
            tree.insert(last.to_vec(), node);
            Ok(())
        }
    }
}

/// Makes directories, those below first. Recurses at most [`MAX_DEPTH`] times.
fn finish(
    node: Node,
    path: &[u8],
    options: &Options,
    sink: &mut impl FnMut(Block) -> Result<(), Failure>,
    out: &mut Out,
) -> Result<Root, Failure> {
    let entries = match node {
        Node::Leaf(root) => return Ok(root),
        Node::Directory(entries) => entries,
    };
    let mut builder = DirectoryBuilder::new();
    for (name, node) in entries {
        let below = if path.is_empty() { name.clone() } else { [path, b"/", &name].concat() };
        let root = finish(node, &below, options, sink, out)?;
        builder.insert(root.named(name)).map_err(|error| Failure::bad(error.to_string()))?;
    }
    let root = builder.finish(Metadata::NONE, options, sink)?;
    line(out, path, &root)?;
    Ok(root)
}

/// Stores a block.
pub(super) fn block_put(call: &Call, body: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let mut parts = call.parts(body)?;
    let missing = || Failure::bad("file argument 'data' is required".to_owned());
    let Head { .. } = parts.next_part().map_err(unreadable)?.ok_or_else(missing)?;
    let mut bytes = Vec::new();
    parts.by_ref().take(MAX_BLOCK_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let codec = call.option("cid-codec").or_else(|| call.option("format")).unwrap_or("raw");
    let is_v0 = codec == "v0";
    let codec = match codec {
        "raw" => Codec::RAW,
        "dag-pb" | "protobuf" | "v0" => Codec::DAG_PB,
        other => return Err(Failure::bad(format!("cid-codec cannot be {other:?}"))),
    };
    let name = call.option("mhtype").unwrap_or("sha2-256");
    let function = HashFunction::from_name(name).ok_or_else(|| Failure::bad(format!("mhtype cannot be {name:?}")))?;
    let cid = if is_v0 { Cid::v0(&bytes) } else { Cid::v1(codec, function, &bytes) };
    let cid = cid.ok_or_else(|| Failure::bad("the block is too long for that function".to_owned()))?;
    let size = bytes.len();
    let block = Block::check(cid, bytes).map_err(|error| Failure::Failed { text: error.to_string() })?;
    let mut store = call.store()?;
    store.put(&block)?;
    store.flush()?;
    if call.flag("pin", false) {
        pin(&mut store, cid)?;
    }
    Ok(writeln!(out, "{}", json!({ "Key": cid, "Size": size }))?)
}

/// Pins a DAG whose blocks are all here.
pub(super) fn pin(store: &mut ContentStore, cid: Cid) -> Result<(), Failure> {
    let checked = store.reader().check(Pin { cid, kind: PinKind::Recursive, name: PinName::default() })?;
    Ok(store.pin_checked(&checked)?)
}

/// Takes the blocks of CARs, and pins their roots.
pub(super) fn dag_import(call: &Call, body: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let mut store = call.store()?;
    let mut parts = call.parts(body)?;
    let mut roots = Vec::new();
    let failed = |error: ipld::car::CarError| Failure::Failed { text: error.to_string() };
    while parts.next_part().map_err(unreadable)?.is_some() {
        let mut reader = CarReader::new(parts.by_ref()).map_err(failed)?;
        roots.extend_from_slice(reader.roots());
        while let Some(block) = reader.next_block().map_err(failed)? {
            store.put(&block)?;
        }
    }
    store.flush()?;
    for cid in roots.into_iter().filter(|_| call.flag("pin-roots", true)) {
        let error = pin(&mut store, cid).err().map_or_else(String::new, |failure| failure.text());
        writeln!(out, "{}", json!({ "Root": { "Cid": { "/": cid }, "PinErrorMsg": error } }))?;
    }
    Ok(())
}
