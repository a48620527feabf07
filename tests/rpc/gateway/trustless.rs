//! Blocks and CARs. The cases are those of `ipfs/gateway-conformance` (`trustless_gateway_raw_test.go` and
//! `trustless_gateway_car_test.go`), and what clients rely on besides.

use std::fs;
use std::io::{Read, Write};
use std::num::NonZeroUsize;

use cairn::ipld::read::View;
use cairn::ipld::{Block, Choices, ChunkSize, Cid, Codec, Fanout, HashFunction, dagpb};
use cairn::rpc::Gateway;
use serde_json::json;

use super::scene::Scene;

const RAW: &str = "application/vnd.ipld.raw";

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 131 % 251) as u8).collect()
}

fn scene() -> Scene {
    Scene::new(
        |_| (),
        |adding| {
            let ascii = adding.file("ascii", b"hello application/vnd.ipld.car");
            let multi = adding.file("multi", &pattern(1_026));
            let sub = adding.directory("sub", vec![ascii.named("ascii.txt"), multi.named("multi.txt")]);
            adding.directory("root", vec![ascii.named("ascii.txt"), sub.named("subdir")]);
            let twice = vec![ascii.named("a"), ascii.named("b"), multi.named("c")];
            adding.directory("twice", twice);
            let inline = Cid::v1(Codec::RAW, HashFunction::Identity, b"inline").unwrap();
            adding.directory("within", vec![dagpb::Link { cid: inline, name: b"inline".to_vec(), size: 6 }]);
            let names = (0..40).map(|n| multi.named(format!("{n}.txt"))).collect();
            let fanout = Fanout::new(8).ok();
            let choices = Choices { max_directory_links: NonZeroUsize::new(8), fanout, ..Choices::default() };
            adding.options.sharding = choices.options().unwrap().sharding;
            adding.directory("shards", names);
            let header = [7; 80];
            let cid = Cid::v1(Codec::BITCOIN_BLOCK, HashFunction::DblSha2_256, &header).unwrap();
            adding.block("header", &Block::check(cid, header.to_vec()).unwrap());
        },
    )
}

#[test]
fn headers_of_the_chain_are_served_without_a_copy() {
    let scene = scene();
    let hash = scene.fixture.generate(3, 1)[1];
    let header = scene.fixture.call("getblockheader", json!([hash]));
    let cid = header["cid"].as_str().unwrap();
    assert!(cid.starts_with("bagyacvra"), "as Kubo names headers: {cid}");
    let bytes = hex::decode(scene.fixture.call("getblockheader", json!([hash, false])).as_str().unwrap()).unwrap();
    let got = scene.get(&format!("/ipfs/{cid}?format=raw"), &[("Cache-Control", "only-if-cached")]);
    assert_eq!((got.status, &got.body, got.is_whole), (200, &bytes, true));
    let car = scene.get(&format!("/ipfs/{cid}?format=car&dag-scope=block"), &[]);
    assert_eq!((car.status, car.is_whole), (200, true));
    assert!(car.body.ends_with(&bytes));
    assert_eq!(scene.get(&format!("/routing/v1/providers/{cid}"), &[]).text().matches("/http").count(), 1);
    let other = Cid::v1(Codec::BITCOIN_BLOCK, HashFunction::DblSha2_256, &[7; 80]).unwrap();
    assert_eq!(scene.get(&format!("/ipfs/{other}?format=raw"), &[]).status, 200, "it is in the store");
    let other = Cid::v1(Codec::BITCOIN_BLOCK, HashFunction::DblSha2_256, &[8; 80]).unwrap();
    assert_eq!(scene.get(&format!("/ipfs/{other}?format=raw"), &[]).status, 404, "it is of no chain");
}

#[test]
fn a_block_is_served_as_it_is() {
    let scene = scene();
    let bytes = pattern(256);
    let got = scene.get("/ipfs/{multi.0}?format=raw", &[]);
    assert_eq!((got.status, &got.body, got.is_whole), (200, &bytes, true));
    let cid = scene.cids["multi.0"];
    for (name, value) in [
        ("Content-Type", Some(RAW)),
        ("Content-Length", Some("256")),
        ("Etag", Some(&*format!("\"{cid}.raw\""))),
        ("Cache-Control", Some("public, max-age=29030400, immutable")),
        ("X-Content-Type-Options", Some("nosniff")),
        ("Accept-Ranges", Some("bytes")),
        ("X-Ipfs-Path", Some(&*format!("/ipfs/{cid}"))),
        ("X-Ipfs-Roots", Some(&*cid.to_string())),
        ("Content-Disposition", Some(&*format!("attachment; filename=\"{cid}.bin\"; filename*=UTF-8''{cid}.bin"))),
        ("Content-Location", None),
        ("Access-Control-Allow-Origin", None),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }

    let tag = "\"{multi.0}.raw\"";
    let location = scene.fill("/ipfs/{multi.0}?format=raw");
    let filename = "attachment; filename=\"te_st _.bin\"; filename*=UTF-8''te%22st%20%D1%82.bin";
    // Path, headers of the request, status, bytes, a header of the answer.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a [u8], (&'a str, Option<&'a str>));
    let cases: &[Case] = &[
        ("/ipfs/{multi.0}", &[("Accept", RAW)], 200, &bytes, ("Content-Location", Some(&location))),
        (
            "/ipfs/{multi.0}?format=raw&filename=te%22st%20%D1%82.bin",
            &[],
            200,
            &bytes,
            ("Content-Disposition", Some(filename)),
        ),
        (
            "/ipfs/{multi.0}?format=raw",
            &[("Range", "bytes=10-19")],
            206,
            &bytes[10..20],
            ("Content-Range", Some("bytes 10-19/256")),
        ),
        (
            "/ipfs/{multi.0}?format=raw",
            &[("Range", "bytes=-6")],
            206,
            &bytes[250..],
            ("Content-Range", Some("bytes 250-255/256")),
        ),
        (
            "/ipfs/{multi.0}?format=raw",
            &[("Range", "bytes=256-")],
            416,
            b"there are no such bytes\n",
            ("Content-Range", Some("bytes */256")),
        ),
        ("/ipfs/{multi.0}?format=raw", &[("Range", "bytes=1-2,4-5")], 200, &bytes, ("Content-Range", None)),
        ("/ipfs/{multi.0}?format=raw", &[("If-None-Match", tag)], 304, b"", ("Content-Type", None)),
        ("/ipfs/{multi.0}?format=raw", &[("If-None-Match", "\"{multi.0}\"")], 200, &bytes, ("Content-Type", Some(RAW))),
        ("/ipfs/{header}?format=raw", &[], 200, &[7; 80], ("Content-Length", Some("80"))),
        // The probe of clients, and other blocks that are in their CIDs.
        ("/ipfs/bafkqaaa?format=raw", &[], 200, b"", ("Content-Length", Some("0"))),
        ("/ipfs/bafkqaaa", &[("Accept", RAW)], 200, b"", ("Content-Length", Some("0"))),
        ("/ipfs/bafkqablimvwgy3y?format=raw", &[], 200, b"hello", ("Content-Length", Some("5"))),
        // What is not here, no CID, or not served.
        ("/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn?format=raw", &[], 404, b"", ("Cache-Control", None)),
        (
            "/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn?format=raw",
            &[("Cache-Control", "only-if-cached")],
            412,
            b"",
            ("Etag", None),
        ),
        (
            "/ipfs/{multi.0}?format=raw",
            &[("Cache-Control", "only-if-cached")],
            200,
            &bytes,
            ("Etag", Some(&*scene.fill(tag))),
        ),
        ("/ipfs/QmInvalidCID?format=raw", &[], 400, b"", ("Etag", None)),
        ("/ipfs/{root}/ascii.txt?format=raw", &[], 406, b"", ("Etag", None)),
        ("/ipfs/{root}", &[], 406, b"", ("Etag", None)),
        ("/ipfs/{root}?format=tar", &[], 406, b"", ("Etag", None)),
        ("/ipfs/{root}", &[("Accept", "application/vnd.ipld.dag-json")], 406, b"", ("Etag", None)),
        ("/ipns/{root}", &[], 404, b"", ("Etag", None)),
    ];
    for (path, headers, status, body, (name, value)) in cases {
        let got = scene.get(path, headers);
        assert_eq!(got.status, *status, "{path} {headers:?}: {got:?}");
        assert!(*status >= 400 && body.is_empty() || got.body == *body, "{path} {headers:?}: {got:?}");
        assert_eq!(got.header(name), *value, "{path} {headers:?}");
        let head = scene.send("HEAD", path, headers);
        assert_eq!((head.status, head.body.len()), (*status, 0), "HEAD {path} {headers:?}");
        if *status < 300 {
            let length = Some(body.len().to_string());
            assert_eq!(head.header("Content-Length").map(str::to_owned), length, "HEAD {path} {headers:?}");
        }
    }
    let got = scene.send("POST", "/ipfs/{root}?format=raw", &[]);
    assert_eq!((got.status, got.header("Allow")), (405, Some("GET, HEAD")));
    // As every page of another site.
    assert_eq!(scene.get("/ipfs/{multi.0}?format=raw", &[("Origin", "http://evil.example")]).status, 403);
    assert_eq!(scene.get("/ipfs/{multi.0}?format=raw", &[("Host", "evil.example")]).status, 403);
}

#[test]
fn a_car_holds_the_path_and_what_is_asked_for() {
    let scene = scene();
    let multi = ["multi", "multi.0", "multi.1", "multi.2", "multi.3", "multi.4"];
    for (path, root, blocks) in [
        ("{root}/subdir/ascii.txt", "ascii", &["root", "sub", "ascii"][..]),
        ("{root}/subdir?dag-scope=block", "sub", &["root", "sub"]),
        ("{root}/subdir/multi.txt?dag-scope=block", "multi", &["root", "sub", "multi"]),
        ("{root}?dag-scope=entity", "root", &["root"]),
        ("{root}/subdir/ascii.txt?dag-scope=entity", "ascii", &["root", "sub", "ascii"]),
        ("{root}/subdir/multi.txt?dag-scope=entity", "multi", &[&["root", "sub"][..], &multi].concat()),
        ("{root}/subdir?dag-scope=all", "sub", &[&["root", "sub", "ascii"][..], &multi].concat()),
        ("{root}/subdir/multi.txt?dag-scope=all", "multi", &[&["root", "sub"][..], &multi].concat()),
        (
            "{root}/subdir/multi.txt?dag-scope=entity&entity-bytes=0:*",
            "multi",
            &[&["root", "sub"][..], &multi].concat(),
        ),
        ("{root}?dag-scope=entity&entity-bytes=0:*", "root", &["root"]),
        ("{multi}?dag-scope=entity&entity-bytes=512:*", "multi", &["multi", "multi.2", "multi.3", "multi.4"]),
        ("{multi}?dag-scope=entity&entity-bytes=512:1023", "multi", &["multi", "multi.2", "multi.3"]),
        ("{multi}?dag-scope=entity&entity-bytes=512:-256", "multi", &["multi", "multi.2", "multi.3"]),
        ("{multi}?dag-scope=entity&entity-bytes=-5:*", "multi", &["multi", "multi.3", "multi.4"]),
        ("{multi}?dag-scope=entity&entity-bytes=-9999:*", "multi", &multi),
        ("{multi}?dag-scope=entity&entity-bytes=-9999:-3", "multi", &multi[..5]),
        ("{multi}?dag-scope=entity&entity-bytes=0:0", "multi", &["multi", "multi.0"]),
        ("{multi}?entity-bytes=0:0", "multi", &["multi", "multi.0"]),
        ("{multi}?dag-scope=block&entity-bytes=0:0", "multi", &["multi"]),
        ("{multi}?dag-scope=entity&entity-bytes=5000:6000", "multi", &["multi"]),
        ("{header}?dag-scope=entity", "header", &["header"]),
        ("{header}?dag-scope=block", "header", &["header"]),
        ("{twice}", "twice", &[&["twice", "ascii"][..], &multi].concat()),
        ("{twice}?car-dups=n", "twice", &[&["twice", "ascii"][..], &multi].concat()),
        ("{twice}?car-dups=y", "twice", &[&["twice", "ascii", "ascii"][..], &multi].concat()),
        // Blocks that are in their CIDs are never sent.
        ("{within}?car-dups=y", "within", &["within"]),
        ("bafkqaaa", "bafkqaaa", &[]),
        (
            "bafkqaf3imvwgy3zaneqgc3janfxgy2lomvscay3jmqfa?car-dups=y",
            "bafkqaf3imvwgy3zaneqgc3janfxgy2lomvscay3jmqfa",
            &[],
        ),
    ] {
        let join = if path.contains('?') { '&' } else { '?' };
        let path = format!("/ipfs/{path}{join}format=car");
        let got = scene.get(&path, &[]);
        assert!(got.is_whole, "{path}: {got:?}");
        assert_eq!(scene.car(&got), (root.to_owned(), blocks.iter().map(|b| (*b).to_owned()).collect()), "{path}");
        let head = scene.send("HEAD", &path, &[]);
        assert_eq!((head.status, head.header("Etag")), (200, got.header("Etag")), "{path}");
    }
    for (path, status) in [
        ("{root}/subdir/i-do-not-exist", 404),
        ("{root}/ascii.txt/below-a-file", 404),
        ("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", 404),
        ("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn/path", 404),
        ("{multi}?entity-bytes=5:2", 400),
        ("{multi}?entity-bytes=a:b", 400),
        ("{multi}?entity-bytes=0", 400),
        ("{multi}?dag-scope=elephant", 400),
        ("{multi}?car-version=2", 400),
        // What is below it is not known here, so "all" cannot be served.
        ("{header}", 406),
    ] {
        let join = if path.contains('?') { '&' } else { '?' };
        let got = scene.get(&format!("/ipfs/{path}{join}format=car"), &[]);
        assert_eq!(got.status, status, "{path}: {got:?}");
    }
}

#[test]
fn a_car_says_what_it_is() {
    let scene = scene();
    let got = scene.get("/ipfs/{root}/subdir", &[("Accept", "application/vnd.ipld.car; version=1; order=dfs; dups=y")]);
    let (root, sub) = (scene.cids["root"], scene.cids["sub"]);
    for (name, value) in [
        ("Content-Type", Some("application/vnd.ipld.car; version=1; order=dfs; dups=y")),
        ("Accept-Ranges", Some("none")),
        ("Content-Length", None),
        ("Cache-Control", Some("public, max-age=29030400, immutable")),
        ("X-Content-Type-Options", Some("nosniff")),
        ("X-Ipfs-Roots", Some(&*format!("{root},{sub}"))),
        ("Content-Location", Some(&*format!("/ipfs/{root}/subdir?format=car"))),
        ("Content-Disposition", Some(&*format!("attachment; filename=\"{sub}.car\"; filename*=UTF-8''{sub}.car"))),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    // A tag for each combination, all of them weak; and one is enough for the answer that nothing has changed.
    let paths = [
        "/ipfs/{root}?format=car",
        "/ipfs/{root}?format=car&dag-scope=block",
        "/ipfs/{root}?format=car&dag-scope=entity",
        "/ipfs/{root}?format=car&entity-bytes=0:1",
        "/ipfs/{root}?format=car&entity-bytes=0:2",
        "/ipfs/{root}?format=car&car-dups=y",
        "/ipfs/{root}/subdir?format=car",
        "/ipfs/{sub}?format=car",
    ];
    let mut tags: Vec<String> =
        paths.iter().map(|path| scene.get(path, &[]).header("Etag").unwrap().to_owned()).collect();
    for (path, tag) in paths.iter().zip(&tags) {
        assert!(tag.starts_with("W/\"") && tag.contains(".car"), "{tag}");
        assert_eq!(scene.get(path, &[("If-None-Match", tag)]).status, 304, "{path}");
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), paths.len());
}

#[test]
fn a_sharded_directory_is_listed_and_passed_through() {
    let scene = scene();
    let reader = scene.reader();
    let nodes = |cids: &[String]| -> Vec<String> {
        let is_node = |name: &&String| {
            let cid = scene.cids[*name];
            reader.view(cid, |view| matches!(view, View::Shard { .. })).unwrap()
        };
        cids.iter().filter(is_node).cloned().collect()
    };
    let (root, blocks) = scene.car(&scene.get("/ipfs/{shards}?format=car&dag-scope=entity", &[]));
    let mut all: Vec<String> = scene.cids.keys().filter(|name| name.starts_with("shards")).cloned().collect();
    assert!(all.len() > 1, "it is sharded");
    assert_eq!((root.as_str(), blocks[0].as_str()), ("shards", "shards"));
    let mut sent = blocks;
    sent.sort();
    all.sort();
    assert_eq!(sent, all);
    for n in 0..40 {
        let path = format!("/ipfs/{{shards}}/{n}.txt?format=car");
        let (root, blocks) = scene.car(&scene.get(&path, &[]));
        assert_eq!(root, "multi");
        let (way, file) = blocks.split_at(blocks.iter().position(|name| name == "multi").unwrap());
        assert_eq!((nodes(way), file.len()), (way.to_vec(), 6), "{path}");
        assert_eq!(way[0], "shards");
    }
}

/// A caller must see that an answer is not whole, and one who needs no more than is here gets it.
#[test]
fn missing_and_damaged_blocks_break_an_answer_off() {
    let mut scene = scene();
    scene.remove("multi.2");
    for path in ["{multi}?format=car", "{root}/subdir?format=car", "{multi}?format=car&dag-scope=entity"] {
        assert_eq!(scene.get(&format!("/ipfs/{path}"), &[]).status, 404, "{path}: found out before anything was sent");
    }
    for (bytes, blocks) in [("0:511", 3), ("768:*", 3), ("-2:*", 2)] {
        let got = scene.get(&format!("/ipfs/{{multi}}?format=car&entity-bytes={bytes}"), &[]);
        assert_eq!((scene.car(&got).1.len(), got.is_whole), (blocks, true), "{bytes}");
    }
    assert_eq!(scene.get("/ipfs/{multi.2}?format=raw", &[]).status, 404);

    fs::write(scene.place("multi.3"), pattern(255)).unwrap();
    let got = scene.get("/ipfs/{multi.3}?format=raw", &[]);
    assert_eq!(got.status, 404);
    assert!(got.text().contains("damaged") && !got.text().contains("/blocks/"), "{}", got.text());
    assert_eq!(scene.get("/ipfs/{multi}?format=car&entity-bytes=768:800", &[]).status, 404);

    scene.add(|adding| {
        adding.options.chunk_size = ChunkSize::new(100_000).unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
        adding.file("large", &bytes);
    });
    let car = || scene.get("/ipfs/{large}?format=car", &[]);
    assert!(car().is_whole);
    scene.remove("large.9");
    let got = car();
    assert_eq!((got.status, got.is_whole), (200, false));
}

#[test]
fn the_node_serves_what_is_added_while_it_runs_and_nothing_when_told_so() {
    let mut scene = Scene::new(|_| (), |_| ());
    let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"later").unwrap();
    let path = format!("/ipfs/{cid}?format=raw");
    assert_eq!(scene.get(&path, &[]).status, 404);
    scene.add(|adding| {
        adding.file("later", b"later");
    });
    assert_eq!(scene.get(&path, &[]).body, b"later");

    let scene = Scene::new(
        |config| config.gateway = Gateway::Off,
        |adding| {
            adding.file("later", b"later");
        },
    );
    assert_eq!(scene.get(&path, &[]).status, 404);
}

/// A node of a few bytes that names one child a million times, in layers.
#[test]
fn work_for_one_answer_is_bounded() {
    let scene = Scene::new(
        |_| (),
        |adding| {
            let mut below = adding.file("leaf", b"x");
            for layer in 0..6 {
                let links: Vec<dagpb::Link> = (0..60).map(|_| below.named("")).collect();
                let bytes = dagpb::encode(&links, b"");
                let cid = Cid::v1(Codec::DAG_PB, HashFunction::Sha2_256, &bytes).unwrap();
                adding.block(&format!("layer{layer}"), &Block::check(cid, bytes).unwrap());
                below.cid = cid;
            }
            // Each of these waits for the one before.
            let links: Vec<dagpb::Link> = (0..20_000_u32)
                .map(|n| {
                    let cid = Cid::v1(Codec::RAW, HashFunction::Identity, &n.to_be_bytes()).unwrap();
                    dagpb::Link { cid, name: Vec::new(), size: 0 }
                })
                .collect();
            let bytes = dagpb::encode(&links, b"");
            let cid = Cid::v1(Codec::DAG_PB, HashFunction::Sha2_256, &bytes).unwrap();
            adding.block("wide", &Block::check(cid, bytes).unwrap());
        },
    );
    let (_, blocks) = scene.car(&scene.get("/ipfs/{layer5}?format=car", &[]));
    assert_eq!(blocks.len(), 7, "each block once");
    let got = scene.get("/ipfs/{layer5}?format=car&car-dups=y", &[]);
    assert!(!got.is_whole && got.body.len() > 1_000_000, "{} bytes", got.body.len());
    assert!(!scene.get("/ipfs/{wide}?format=car", &[]).is_whole);
}

#[test]
fn callers_who_do_not_read_give_way_to_others() {
    let scene = Scene::new(
        |config| config.limits.downloads = 2,
        |adding| {
            adding.options.chunk_size = ChunkSize::new(1 << 20).unwrap();
            adding.file("large", &pattern(16 << 20));
            adding.file("small", b"small");
        },
    );
    let request = scene.fill("GET /ipfs/{large}?format=car HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let deaf: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = scene.fixture.deaf();
            stream.write_all(request.as_bytes()).unwrap();
            // Its answer is being made.
            stream.read_exact(&mut [0; 15]).unwrap();
            stream
        })
        .collect();
    let got = scene.get("/ipfs/{small}?format=raw", &[]);
    assert_eq!((got.status, got.body.as_slice()), (200, &b"small"[..]));
    let rest = deaf.into_iter().map(|mut stream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        rest.len()
    });
    assert!(rest.min().unwrap() < 16 << 20, "one of them was closed");
}
