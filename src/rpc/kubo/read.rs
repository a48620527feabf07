//! `cat`, `ls`, `get`, `block/get`, `block/stat`, `dag/export`, and pins.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde_json::{Value, json};

use super::{Call, Out, tar};
use crate::content::{ContentError, ContentReader, Pin, PinKind, PinName};
use crate::ipld::read::{Entry, ReadError, View};
use crate::ipld::{Cid, car};
use crate::rpc::gateway::failure::Failure;

/// Writes files, one after the other; `offset` and `length` are those of all together.
pub(super) fn cat(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let reader = call.reader()?;
    let number = |name: &str, default: u64| call.option(name).map_or(Ok(default), |text| text.parse());
    let wrong = |_| Failure::bad("offset and length are numbers of bytes".to_owned());
    let (mut skip, mut left) = (number("offset", 0).map_err(wrong)?, number("length", u64::MAX).map_err(wrong)?);
    for cid in call.paths(&reader)? {
        let size = reader.view(cid, |view| match view {
            View::File(file) => Ok(file.size),
            other => Err(ReadError::Kind { cid: cid.into(), got: other.kind(), expected: "a file" }),
        })??;
        let start = skip.min(size);
        let end = start.saturating_add(left).min(size);
        (skip, left) = (skip - start, left - (end - start));
        reader.read_file::<Failure>(cid, start..end, |bytes| Ok(out.write_all(bytes)?))?;
    }
    Ok(())
}

/// As UnixFS numbers kinds, and the size of a file. An entry whose block is not here has neither.
fn look(reader: &ContentReader, cid: Cid) -> Result<(u32, u64, String), Failure> {
    let look = |view: &View| match view {
        View::File(file) => (2, file.size, String::new()),
        View::Directory { .. } | View::Shard { .. } => (1, 0, String::new()),
        View::Symlink { target, .. } => (4, 0, String::from_utf8_lossy(target).into_owned()),
    };
    match reader.view(cid, look) {
        Err(ContentError::Missing { .. } | ContentError::Read(ReadError::Codec { .. })) => Ok((0, 0, String::new())),
        other => Ok(other?),
    }
}

/// Lists directories.
pub(super) fn ls(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let reader = call.reader()?;
    let mut objects = Vec::new();
    for (cid, path) in call.paths(&reader)?.into_iter().zip(call.arguments()) {
        let is_directory = look(&reader, cid)?.0 == 1;
        let entries = match is_directory {
            true => reader.list(cid)?.0,
            false => vec![Entry { name: Vec::new(), cid, dag_size: 0 }],
        };
        let mut links = Vec::new();
        for Entry { name, cid, .. } in entries {
            let (kind, size, target) = look(&reader, cid)?;
            let name = String::from_utf8_lossy(&name).into_owned();
            links.push(json!({ "Name": name, "Hash": cid, "Size": size, "Type": kind, "Target": target }));
        }
        objects.push(json!({ "Hash": path, "Links": links }));
    }
    Ok(writeln!(out, "{}", json!({ "Objects": objects }))?)
}

/// Writes an archive.
pub(super) fn get(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let reader = call.reader()?;
    for (cid, path) in call.paths(&reader)?.into_iter().zip(call.arguments()).take(1) {
        let name = path.rsplit('/').find(|name| !name.is_empty()).unwrap_or(path);
        tar::write(&reader, cid, name.as_bytes(), out)?;
    }
    Ok(())
}

/// Writes a block.
pub(super) fn block_get(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let reader = call.reader()?;
    for cid in call.paths(&reader)? {
        out.write_all(reader.get(&cid)?.bytes())?;
    }
    Ok(())
}

/// Says how long blocks are.
pub(super) fn block_stat(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let reader = call.reader()?;
    for cid in call.paths(&reader)? {
        let size = reader.get(&cid)?.bytes().len();
        writeln!(out, "{}", json!({ "Key": cid, "Size": size }))?;
    }
    Ok(())
}

/// Writes a CAR.
pub(super) fn dag_export(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let reader = call.reader()?;
    for root in call.paths(&reader)?.into_iter().take(1) {
        out.write_all(&car::header(&[root]))?;
        reader.walk::<Failure>([root], |block| match block.cid().inline() {
            Some(_) => Ok(()),
            None => Ok(car::write_block(out, block.cid(), block.bytes())?),
        })?;
    }
    Ok(())
}

/// Keeps blocks that are here.
pub(super) fn pin_add(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let name = call.option("name").unwrap_or_default();
    let name: PinName = name.parse().map_err(|error| Failure::bad(format!("name: {error}")))?;
    let reader = call.reader()?;
    let cids = call.paths(&reader)?;
    let kind = if call.flag("recursive", true) { PinKind::Recursive } else { PinKind::Direct };
    for cid in &cids {
        let checked = reader.check(Pin { cid: *cid, kind, name: name.clone() })?;
        call.store()?.pin_checked(&checked)?;
    }
    Ok(writeln!(out, "{}", json!({ "Pins": cids }))?)
}

/// Lists what is kept.
pub(super) fn pin_ls(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let reader = call.reader()?;
    let wanted = call.option("type").unwrap_or("all");
    if !["all", "recursive", "direct", "indirect"].contains(&wanted) {
        return Err(Failure::Failed { text: format!("invalid type '{wanted}'") });
    }
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    let mut pins = reader.pins()?;
    let is_indirect_wanted = matches!(wanted, "all" | "indirect");
    let indirect = if is_indirect_wanted { reader.indirect(&mut pins)? } else { Vec::new() };
    for pin in pins.iter().filter(|pin| wanted == "all" || pin.kind.to_string() == wanted) {
        keys.insert(pin.cid.to_string(), json!({ "Type": pin.kind.to_string(), "Name": pin.name }));
    }
    for cid in indirect {
        keys.insert(cid.to_string(), json!({ "Type": "indirect", "Name": "" }));
    }
    let named: Vec<&str> = call.arguments().collect();
    if !named.is_empty() {
        let cids = call.paths(&reader)?;
        for (cid, path) in cids.iter().zip(named) {
            if !keys.contains_key(&cid.to_string()) {
                return Err(Failure::Failed { text: format!("path '{path}' is not pinned") });
            }
        }
        keys.retain(|key, _| cids.iter().any(|cid| cid.to_string() == *key));
    }
    Ok(writeln!(out, "{}", json!({ "Keys": keys }))?)
}

/// Keeps blocks no longer.
pub(super) fn pin_rm(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let mut store = call.store()?;
    let cids = call.paths(store.reader())?;
    for cid in &cids {
        store.unpin(cid).map_err(|error| match error {
            ContentError::NotPinned { .. } => Failure::Failed { text: "not pinned or pinned indirectly".to_owned() },
            other => other.into(),
        })?;
    }
    Ok(writeln!(out, "{}", json!({ "Pins": cids }))?)
}

/// Says who this is.
pub(super) fn id(call: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let agent = concat!("cairn/", env!("CARGO_PKG_VERSION"));
    let id = call.id();
    Ok(writeln!(
        out,
        "{}",
        json!({ "ID": id, "PublicKey": "", "Addresses": [], "AgentVersion": agent, "Protocols": [] })
    )?)
}

/// Says whose commands these are.
pub(super) fn version(_: &Call, _: &mut dyn Read, out: &mut Out) -> Result<(), Failure> {
    let system = format!("{}/{}", std::env::consts::ARCH, std::env::consts::OS);
    let version = json!({ "Version": super::VERSION, "Commit": "", "Repo": "", "System": system, "Golang": "" });
    Ok(writeln!(out, "{version}")?)
}
