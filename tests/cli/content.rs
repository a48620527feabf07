//! Content: files and directories in and out of the store, by its commands.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use cairn::ipld::dagpb::{self, Link};
use cairn::ipld::{Block, Cid, Codec, Data, HashFunction, Kind, car};
use serde_json::Value;

use crate::commands::{FAILED, NO_NODE, USAGE};
use crate::process::{Done, Place, done, wait_for};

pub(crate) fn content(place: &Place, args: &[&str]) -> Done {
    place.run("a", &[&["content"], args].concat())
}

fn json(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(&content(place, &[args, &["--json"]].concat()).ok()).unwrap()
}

/// Bytes that do not repeat.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..count as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect()
}

/// All files below a directory, with what is in them, and links with where they lead.
fn tree(dir: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        let name = PathBuf::from(path.file_name().unwrap());
        if kind.is_dir() {
            found.insert((name.join(""), Vec::new()));
            found.extend(tree(&path).into_iter().map(|(below, content)| (name.join(below), content)));
        } else if kind.is_symlink() {
            found.insert((name, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()));
        } else {
            found.insert((name, fs::read(&path).unwrap()));
        }
    }
    found
}

/// The tree of Kubo's vector `dir-nested-v0`, and its CID.
fn kubos_tree(place: &Place) -> &'static str {
    let pattern = |count: usize| (0..count).map(|i| (i * 131 % 251) as u8).collect::<Vec<u8>>();
    for dir in ["kubo/sub/deep", "kubo/emptydir"] {
        fs::create_dir_all(place.path(dir)).unwrap();
    }
    for (name, count) in [("a", 1), ("sub/b", 2), ("sub/deep/c", 300_000), ("z", 0)] {
        fs::write(place.path("kubo").join(name), pattern(count)).unwrap();
    }
    "QmThVgYVR9dyaxAcDttKyxXhBk2WskuHZi3HLuoiU9GMXV"
}

#[test]
fn a_directory_goes_in_and_comes_out_again() {
    let place = Place::new();
    let root = kubos_tree(&place);
    assert_eq!(content(&place, &["add", "-rQ", "--only-hash", "kubo"]).ok(), root);
    assert!(!place.path("a").exists(), "nothing is stored");
    let added = content(&place, &["add", "-r", "kubo"]).ok();
    let lines: Vec<&str> = added.lines().collect();
    assert_eq!(lines.len(), 8);
    assert_eq!(*lines.last().unwrap(), format!("added {root} kubo"));

    let below = |path: &str| format!("{root}/{path}");
    content(&place, &["get", root, "-o", "out"]).ok();
    assert_eq!(tree(&place.path("out")), tree(&place.path("kubo")));
    content(&place, &["get", root, "-o", "out/a"]).fails(FAILED, "exists");
    for args in [&["get", root][..], &["get", "--car", root], &["export", root]] {
        let said = "cannot write nodir/x: there is no directory nodir";
        content(&place, &[args, &["-o", "nodir/x"]].concat()).fails(FAILED, said);
    }
    content(&place, &["get", &below("sub")]).ok();
    assert_eq!(tree(&place.path("sub")), tree(&place.path("kubo/sub")));
    assert_eq!(
        content(&place, &["cat", &below("a"), &below("sub/b")]).stdout,
        "\0\0\u{83}"[..2].to_owned() + "\u{fffd}"
    );
    let middle = content(&place, &["cat", "--offset", "299990", "--length", "5", &below("sub/deep/c")]);
    assert_eq!(middle.code, 0);
    content(&place, &["cat", root]).fails(FAILED, "is a directory, not a file");
    content(&place, &["cat", &below("sub/none")]).fails(FAILED, "has no entry \"none\"");
    content(&place, &["cat", "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nm"]).fails(FAILED, "is not here");
    content(&place, &["cat", "no-cid"]).fails(USAGE, "not a CID");
    let listed = content(&place, &["ls", root]).ok();
    assert!(listed.lines().any(|line| line.ends_with(" - sub/")), "{listed}");
    assert!(listed.lines().any(|line| line.ends_with(" 1 a")), "{listed}");
    let file = json(&place, &["stat", &below("sub/deep/c")]);
    assert_eq!((&file["type"], &file["size"], &file["blocks"]), (&"file".into(), &300_000.into(), &3.into()));

    // Modes and times are kept where they are asked for.
    fs::set_permissions(place.path("kubo/a"), fs::Permissions::from_mode(0o640)).unwrap();
    let kept = content(&place, &["add", "-rQ", "--preserve-mode", "--preserve-mtime", "kubo"]).ok();
    content(&place, &["get", &kept, "-o", "kept"]).ok();
    for name in ["", "a", "sub", "sub/deep/c"] {
        let of = |dir: &str| place.path(dir).join(name).metadata().unwrap();
        assert_eq!(of("kept").modified().unwrap(), of("kubo").modified().unwrap(), "{name}");
        assert_eq!(of("kept").permissions(), of("kubo").permissions(), "{name}");
    }
}

#[test]
fn what_is_pinned_stays() {
    let place = Place::new();
    let root = kubos_tree(&place);
    fs::write(place.path("other"), bytes(5_000)).unwrap();
    content(&place, &["add", "-Q", "-r", "kubo"]).ok();
    let other = content(&place, &["add", "-Q", "--pin=false", "other"]).ok();
    assert_eq!(content(&place, &["pin", "ls", "--type", "recursive"]).ok(), format!("{root} recursive"));
    assert_eq!(json(&place, &["pin", "ls", "-t", "indirect"]).as_array().unwrap().len(), 9);
    content(&place, &["export", root, "-o", "kubo.car"]).ok();
    content(&place, &["get", root, "--car", "-o", "same.car"]).ok();
    assert_eq!(fs::read(place.path("kubo.car")).unwrap(), fs::read(place.path("same.car")).unwrap());

    assert_eq!(json(&place, &["gc"])["blocks"], 1);
    content(&place, &["cat", &other]).fails(FAILED, "is not here");
    content(&place, &["get", root]).ok();
    content(&place, &["pin", "rm", &other]).fails(FAILED, "is not pinned");
    content(&place, &["pin", "rm", root]).ok();
    content(&place, &["pin", "add", root, "--recursive=false", "--name", "top"]).ok();
    assert_eq!(content(&place, &["pin", "ls", "-n"]).ok(), format!("{root} direct top"));
    assert_eq!(json(&place, &["gc"])["blocks"], 9);
    content(&place, &["ls", &format!("{root}/sub")]).fails(FAILED, "is not here");
    // A root with missing blocks would stop collections.
    content(&place, &["pin", "add", root]).fails(FAILED, "is not here");

    let imported = content(&place, &["import", "kubo.car"]).ok();
    assert!(imported.starts_with(&format!("pinned root {root}\n10 blocks")), "{imported}");
    assert_eq!(content(&place, &["pin", "ls", "-t", "direct"]).ok(), "", "one pin replaces the other");
    content(&place, &["get", root, "-o", "again"]).ok();
    assert_eq!(tree(&place.path("again")), tree(&place.path("kubo")));
}

#[test]
fn the_store_has_a_limit_and_makes_room() {
    let place = Place::new();
    let limited = |args: &[&str]| content(&place, &[&["--content-max", "100kB"], args].concat());
    let file = |name: &str, count| fs::write(place.path(name), bytes(count)).unwrap();
    file("pinned", 30_000);
    file("loose", 40_000);
    file("large", 60_000);
    file("huge", 90_000);
    let pinned = limited(&["add", "-Q", "pinned"]).ok();
    let loose = limited(&["add", "-Q", "--pin=false", "loose"]).ok();
    limited(&["add", "-Q", "huge"]).fails(FAILED, "do not fit");
    limited(&["add", "huge"]).fails(FAILED, "do not fit");
    limited(&["cat", &loose]).fails(FAILED, "is not here");
    limited(&["cat", &pinned]).ok();
    let large = limited(&["add", "-Q", "-s", "size-1000", "large"]).ok();
    limited(&["get", &large]).ok();
    limited(&["add", "-Q", "large"]).fails(FAILED, "do not fit");
    content(&place, &["add", "-Q", "large"]).ok();
    content(&place, &["--content-max", "lots", "gc"]).fails(USAGE, "expected a number of bytes");
}

#[test]
fn a_pin_that_lacks_a_block_is_not_in_order() {
    let place = Place::new();
    fs::write(place.path("file"), bytes(600_000)).unwrap();
    let root = content(&place, &["add", "-Q", "file"]).ok();
    assert!(content(&place, &["verify"]).ok().ends_with("in order"));
    let leaf =
        block_files(&place.path("a/content")).into_iter().find(|path| fs::metadata(path).unwrap().len() > 200_000);
    fs::remove_file(leaf.unwrap()).unwrap();
    content(&place, &["verify"]).fails(FAILED, &format!("below the pin {root}"));
}

/// The block files of the store, with those not named yet.
fn block_files(store: &Path) -> Vec<PathBuf> {
    let list = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    list(store.join("blocks")).flat_map(list).chain(list(store.join("tmp"))).collect()
}

#[test]
fn a_damaged_block_is_named_and_mended() {
    let place = Place::new();
    fs::write(place.path("file"), bytes(600_000)).unwrap();
    let root = content(&place, &["add", "-Q", "file"]).ok();
    assert_eq!(content(&place, &["verify"]).ok(), "4 blocks in order");
    let block = block_files(&place.path("a/content"))
        .into_iter()
        .find(|path| path.metadata().unwrap().len() == 262_158)
        .expect("a leaf");
    let name = block.file_name().unwrap().to_str().unwrap();
    for damage in [&b"cut short"[..], &[0; 262_158]] {
        fs::write(&block, damage).unwrap();
        let shown = content(&place, &["cat", &root]);
        assert!(shown.code == FAILED && shown.stderr.contains(name), "{}", shown.stderr);
        for args in [&["verify"][..], &["pin", "add", &root], &["export", &root, "-o", "x.car"]] {
            content(&place, args).fails(FAILED, name);
        }
        assert!(!place.path("x.car").exists());
        content(&place, &["get", &root]).fails(FAILED, "damaged");
        assert!(!place.path(&root).exists());
        content(&place, &["add", "-Q", "file"]).ok();
        content(&place, &["verify"]).ok();
    }
    assert_eq!(json(&place, &["stat"])["bytes"], json(&place, &["stat", &root])["bytes"]);
    let left: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().ends_with(".tmp")), "{left:?}");
}

/// A command that adds stdin, and has read what was sent so far but for what fits into a pipe.
fn adding(place: &Place, sent: &[u8]) -> Child {
    let mut command = place.command("a", &["content", "add", "-Q"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(sent).unwrap();
    child
}

#[test]
fn one_process_changes_the_store() {
    let place = Place::new();
    let mut first = adding(&place, &bytes(2 << 20));
    wait_for("the store to be open", || place.path("a/content/pins").exists().then_some(()));
    content(&place, &["gc"]).fails(FAILED, "another process uses the content");
    content(&place, &["add", "-Q", "--only-hash", "genesis.json"]).ok();
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
    content(&place, &["stat"]).ok();
}

#[test]
fn others_read_meanwhile() {
    let place = Place::new();
    let root = kubos_tree(&place);
    content(&place, &["add", "-rQ", "kubo"]).ok();
    let lock = fs::File::open(place.path("a/content/lock")).unwrap();
    lock.lock().unwrap();
    content(&place, &["pin", "rm", root]).fails(FAILED, "another process uses the content");
    assert_eq!(content(&place, &["pin", "ls", "-t", "recursive"]).ok(), format!("{root} recursive"));
    let stat = json(&place, &["stat"]);
    assert_eq!((&stat["recursive_pins"], &stat["bytes"]), (&1.into(), &json(&place, &["stat", root])["bytes"]));
    content(&place, &["verify"]).ok();
    let path = format!("{root}/sub/b");
    for args in [&["ls", root][..], &["cat", &path], &["export", root], &["get", root, "-o", "got"]] {
        content(&place, args).ok();
    }
}

/// Killed while blocks wait, are renamed or have a name, and while pins are made: what was pinned stays whole.
#[test]
fn a_kill_loses_no_pin_and_leaves_no_half_block() {
    let place = Place::new();
    let root = kubos_tree(&place);
    content(&place, &["add", "-rQ", "kubo"]).ok();
    let whole = || {
        assert!(content(&place, &["verify"]).ok().ends_with("in order"));
        content(&place, &["export", root]).ok();
        // Reads all blocks below every pin.
        content(&place, &["pin", "ls"]).ok();
        // The next process that changes the store tidies up.
        content(&place, &["pin", "add", root]).ok();
        assert_eq!(fs::read_dir(place.path("a/content/tmp")).unwrap().count(), 0);
    };
    // 80 MB are more than wait together.
    let data = bytes(80 << 20);
    for (sent, temporary, named) in [(0, 0, 0), (100_000, 0, 0), (9 << 20, 1, 0), (80 << 20, 0, 200)] {
        let mut child = adding(&place, &data[..sent]);
        wait_for("blocks", || {
            let files = block_files(&place.path("a/content"));
            let count = files.iter().filter(|path| path.parent().unwrap().ends_with("tmp")).count();
            (count >= temporary && files.len() - count >= named).then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        whole();
    }
    let usage = json(&place, &["stat"]);
    content(&place, &["gc", "--silent"]).ok();
    let after = json(&place, &["stat"]);
    assert!(usage["blocks"].as_u64() > after["blocks"].as_u64());
    assert_eq!(after["bytes"], json(&place, &["stat", root])["bytes"]);

    // Each of these files has a pin of its own.
    let names: Vec<String> = (0..300).map(|n| format!("file-{n}")).collect();
    names.iter().for_each(|name| fs::write(place.path(name), name).unwrap());
    for pins in [2, 150] {
        let args: Vec<&str> =
            ["content", "add", "--silent"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let mut child = place.command("a", &args).spawn().unwrap();
        wait_for("some pins", || {
            let made = fs::read_dir(place.path("a/content/pins/recursive")).unwrap().count();
            (made >= pins || child.try_wait().unwrap().is_some()).then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        whole();
    }
}

/// A CAR of these blocks, the last as its root.
pub(crate) fn hostile_car(blocks: &[(Cid, Vec<u8>)]) -> Vec<u8> {
    let mut out = car::header(&[blocks.last().unwrap().0]);
    blocks.iter().for_each(|(cid, bytes)| car::write_block(&mut out, cid, bytes).unwrap());
    out
}

pub(crate) fn block(codec: Codec, bytes: Vec<u8>) -> (Cid, Vec<u8>) {
    (Cid::v1(codec, HashFunction::Sha2_256, &bytes).unwrap(), bytes)
}

pub(crate) fn node(links: &[(Cid, &[u8])], data: &Data) -> (Cid, Vec<u8>) {
    let link = |(cid, name): &(Cid, &[u8])| Link { cid: *cid, name: name.to_vec(), size: 1 };
    block(Codec::DAG_PB, dagpb::encode(&links.iter().map(link).collect::<Vec<_>>(), &data.encode()))
}

#[test]
fn nothing_is_written_outside_the_target() {
    let place = Place::new();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    let file = block(Codec::RAW, b"out".to_vec());
    let directory = Data::new(Kind::Directory);
    let inner = node(&[(file.0, b"x")], &directory);
    let leads_out = node(&[], &Data { bytes: outside.to_str().unwrap().as_bytes(), ..Data::new(Kind::Symlink) });
    let absolute = outside.join("x").into_os_string().into_encoded_bytes();
    type Links<'a> = &'a [(Cid, &'a [u8])];
    let cases: [(Links, &str); 8] = [
        (&[(file.0, b"..")], "is no name"),
        (&[(file.0, b".")], "is no name"),
        (&[(file.0, b"")], "is no name"),
        (&[(file.0, b"../outside/x")], "is no name"),
        (&[(file.0, b"in/side")], "is no name"),
        (&[(file.0, &absolute)], "is no name"),
        (&[(leads_out.0, b"a"), (inner.0, b"a")], "File exists"),
        (&[(file.0, b"a\0b")], "is no name"),
    ];
    for (links, said) in cases {
        let root = node(links, &directory);
        let cid = root.0.to_string();
        let car = hostile_car(&[file.clone(), inner.clone(), leads_out.clone(), root]);
        fs::write(place.path("hostile.car"), car).unwrap();
        content(&place, &["import", "hostile.car"]).ok();
        content(&place, &["get", &cid, "-o", "target"]).fails(FAILED, said);
        assert!(!place.path("target").exists());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert!(content(&place, &["ls", &cid]).ok().contains(' '));
    }
    // A link that leads out is made as it is, and nothing goes through it.
    let root = node(&[(leads_out.0, b"link")], &directory);
    let cid = root.0.to_string();
    fs::write(place.path("link.car"), hostile_car(&[leads_out, root])).unwrap();
    content(&place, &["import", "link.car"]).ok();
    content(&place, &["get", &cid, "-o", "target"]).ok();
    assert_eq!(fs::read_link(place.path("target/link")).unwrap(), outside);
    symlink("target", place.path("indirect")).unwrap();
    content(&place, &["get", &file.0.to_string(), "-o", "indirect/link/"]).ok();
    assert_eq!(fs::read(outside.join(file.0.to_string())).unwrap(), b"out", "the user's own path is followed");
}

/// A directory of twenty small blocks, each naming the next a hundred times.
#[test]
fn a_directory_without_end_is_not_written() {
    let place = Place::new();
    let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let mut blocks = vec![block(Codec::RAW, b"x".to_vec())];
    for _ in 0..20 {
        let below = blocks.last().unwrap().0;
        let links: Vec<(Cid, &[u8])> = names.iter().map(|name| (below, name.as_bytes())).collect();
        blocks.push(node(&links, &Data::new(Kind::Directory)));
    }
    let root = blocks.last().unwrap().0.to_string();
    fs::write(place.path("bomb.car"), hostile_car(&blocks)).unwrap();
    content(&place, &["import", "bomb.car"]).ok();
    assert_eq!(json(&place, &["stat", &root])["blocks"], 21);
    content(&place, &["get", &root, "--max-entries", "500"]).fails(FAILED, "--max-entries");
    assert!(!place.path(&root).exists());
}

#[test]
fn what_cannot_be_taken() {
    let place = Place::new();
    let good = block(Codec::RAW, b"good".to_vec());
    let bad = (good.0, b"evil".to_vec());
    fs::write(place.path("bad.car"), hostile_car(&[bad])).unwrap();
    content(&place, &["import", "bad.car"]).fails(FAILED, "are not those of the block");
    fs::write(place.path("none.car"), b"no car").unwrap();
    content(&place, &["import", "none.car"]).fails(FAILED, "cannot import none.car");
    let header = Block::check(good.0, good.1.clone()).unwrap();
    let chain = block(Codec::BITCOIN_BLOCK, vec![0; 80]);
    fs::write(place.path("chain.car"), hostile_car(&[(*header.cid(), good.1), chain.clone()])).unwrap();
    content(&place, &["import", "chain.car"]).fails(FAILED, "only raw and dag-pb blocks can be read");
    assert_eq!(json(&place, &["stat", &chain.0.to_string()])["type"], "bitcoin-block");

    fs::create_dir_all(place.path("dir/sub")).unwrap();
    symlink("..", place.path("dir/sub/up")).unwrap();
    content(&place, &["add", "dir"]).fails(FAILED, "add it with -r");
    content(&place, &["add", "-r", "--dereference-symlinks", "dir"]).fails(FAILED, "a directory above it");
    content(&place, &["add", "-rQ", "a"]).fails(FAILED, "is the store itself");
    content(&place, &["add", "none"]).fails(FAILED, "cannot read none");
    content(&place, &["add", "-w", "genesis.json", "./genesis.json"]).fails(FAILED, "has the same name as another");
    for (args, said) in [
        (["--chunker", "size-0"], "must be greater than 0"),
        (["--chunker", "rabin"], "rabin and buzhash are not available"),
        (["--hash", "md5"], "expected one of identity, sha1"),
        (["--cid-version", "2"], "expected 0 or 1"),
        (["--max-file-links", "1"], "2 to 8192 links"),
        (["--inline-limit", "129"], "exceeds maximum allowed size of 128"),
        (["--mtime-nsecs", "5"], "--mtime"),
    ] {
        content(&place, &[&["add", "genesis.json"], &args[..]].concat()).fails(USAGE, said);
    }
    let both = ["add", "genesis.json", "--cid-version", "0", "--hash", "sha3-256"];
    content(&place, &both).fails(USAGE, "CIDv0 only supports sha2-256");
}

/// Options and input as Kubo takes them.
#[test]
fn options_are_kubos() {
    let place = Place::new();
    fs::write(place.path("x"), (0..10).map(|i| (i * 131 % 251) as u8).collect::<Vec<_>>()).unwrap();
    for (flags, cid) in [
        ("--mode=0644", "QmZ3K8G3tP8XBunVqwPvXfwSVdcaTGMn7a47ni5dKQPqrD"),
        ("--mode=420", "QmZ3K8G3tP8XBunVqwPvXfwSVdcaTGMn7a47ni5dKQPqrD"),
        ("--cid-version=1 --mode=0", "bafkreig5n7vulyenmqg7wgv4ddculp5mp5bum7kqg5wywltvxhcl55xyym"),
        ("--cid-version=1 -w", "bafybeibdt7dxw6zrhagb3n26rlodsbzvg6o7nvc6of4yzw7jbtxxjyjdpq"),
        ("--cid-version=1 --mtime=1700000000", "bafybeiernmywm5qykhr3umpx7qs36two7rz2vouymba5m3wcmvogcxpyea"),
        ("--profile unixfs-v1-2025", "bafkreig5n7vulyenmqg7wgv4ddculp5mp5bum7kqg5wywltvxhcl55xyym"),
    ] {
        let args: Vec<&str> = ["add", "-Q", "x"].into_iter().chain(flags.split(' ')).collect();
        assert_eq!(content(&place, &args).ok(), cid, "{flags}");
    }
    let mut command = place.command("a", &["content", "add", "-q", "-w", "--stdin-name", "x", "--cid-version=1"]);
    command.stdin(fs::File::open(place.path("x")).unwrap());
    let lines = done(command).ok();
    assert_eq!(lines.lines().last(), Some("bafybeibdt7dxw6zrhagb3n26rlodsbzvg6o7nvc6of4yzw7jbtxxjyjdpq"));
}

#[test]
fn a_block_of_the_chain_is_read_from_a_node() {
    let place = Place::new();
    let node = place.node("a", &[]);
    node.generate(3, &place.wallet("wallet"));
    let hash = node.call("getblockhash", &[2.into()]);
    let cid = node.call("getblockheader", std::slice::from_ref(&hash))["cid"].as_str().unwrap().to_owned();
    let block = node.call("getblock", &[hash, 0.into()]).as_str().unwrap().to_owned();
    let target = place.path("block");
    content(&place, &["get", &cid, "-o", target.to_str().unwrap()]).ok();
    assert_eq!(hex::encode(fs::read(&target).unwrap()), block);
    content(&place, &["get", &cid, "-o", target.to_str().unwrap()]).fails(FAILED, "exists");
    content(&place, &["get", &cid, "--car"]).fails(FAILED, "leave out --car");
    fs::create_dir(place.path("there")).unwrap();
    content(&place, &["get", &cid, "-o", "there"]).fails(FAILED, "there exists");
    content(&place, &["get", &cid, "-o", "there/"]).ok();
    let raw =
        place.command("a", &["content", "cat", &cid, "--offset", "10", "--length", "70"]).output().unwrap().stdout;
    assert_eq!(hex::encode(raw), block[20..160]);
    let other = Cid::v1(Codec::BITCOIN_BLOCK, HashFunction::DblSha2_256, &[8; 80]).unwrap();
    content(&place, &["cat", &other.to_string()]).fails(FAILED, "Block not found");
    // No peer is asked for what no block can have.
    for cid in [cid.as_str(), &other.to_string()] {
        for command in ["get", "cat", "ls", "stat", "export", "provide"] {
            content(&place, &[command, &format!("{cid}/x")]).fails(FAILED, &format!("{cid} has no entry \"x\""));
        }
    }
    assert!(node.terminate().success());
    content(&place, &["cat", &cid]).fails(NO_NODE, "read from a node");
}

#[test]
fn what_is_got_never_lands_in_what_is_there() {
    let place = Place::new();
    let root = kubos_tree(&place);
    content(&place, &["add", "-Q", "-r", "kubo"]).ok();
    // Left by a process that was killed, by one that runs, and for another target.
    let running = format!(".copy.{}.tmp", std::process::id());
    for name in [".copy.4194305.tmp", running.as_str(), ".copy.of.4194305.tmp"] {
        fs::create_dir(place.path(name)).unwrap();
        fs::write(place.path(name).join("part"), "").unwrap();
    }
    content(&place, &["get", root, "-o", "copy"]).ok();
    assert!(!place.path(".copy.4194305.tmp").exists());
    assert!(place.path(&running).exists() && place.path(".copy.of.4194305.tmp").exists());
    content(&place, &["get", root, "-o", "copy"]).fails(FAILED, "copy exists");
    assert_eq!(tree(&place.path("copy")), tree(&place.path("kubo")));
    // A slash names a directory to write into.
    content(&place, &["get", root, "-o", "copy/"]).ok();
    assert_eq!(tree(&place.path("copy").join(root)), tree(&place.path("kubo")));
    content(&place, &["get", root, "-o", "."]).ok();
    content(&place, &["get", root, "-o", "./"]).fails(FAILED, "exists");
}
