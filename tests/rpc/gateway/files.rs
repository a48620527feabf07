//! Files and sites. The cases are those of `ipfs/gateway-conformance` (`path_gateway_unixfs_test.go`,
//! `subdomain_gateway_ipfs_test.go`, `redirects_file_test.go`) that need no IPNS, and what keeps sites apart.

use std::num::NonZeroUsize;

use cairn::ipld::{Cid, Codec, HashFunction, Metadata, symlink};
use cairn::rpc::Gateway;

use super::scene::Scene;

const REDIRECTS: &str = "\
/redirect-one /one.html
/302-redirect-two /two.html 302
/200-index /index.html 200
/posts/:year/:month/:day/:title /articles/:year/:month/:day/:title 301
/splat/* /redirected-splat/:splat 301
/source/* /target?fixed=1&given=2 301
/not-found/* /404.html 404
/gone/* /410.html 410
/unavail/* /451.html 451
/* /index.html 200";

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 131 % 251) as u8).collect()
}

fn scene() -> Scene {
    Scene::new(
        |config| config.gateway = Gateway::Files,
        |adding| {
            let text = adding.file("text", b"I am a txt file\n");
            let data = adding.file("data", &pattern(1_026));
            let inner = adding.directory("inner", vec![text.named("file-źł.txt")]);
            let outer = adding.directory("outer", vec![inner.named("ę")]);
            let mut link = None;
            let mut sink = |block| -> Result<(), std::convert::Infallible> {
                link = Some(block);
                Ok(())
            };
            let to = symlink(b"../elsewhere", Metadata::NONE, &adding.options, &mut sink).unwrap();
            adding.block("link", &link.unwrap());
            let odd = adding.directory("odd", vec![text.named("<b>&\"'100%25?#"), to.named("link")]);
            let entries = vec![outer.named("ą"), text.named("a.txt"), data.named("data"), odd.named("odd")];
            adding.directory("tree", entries);

            let page = adding.file("page", b"<!doctype html><title>mine</title>my index");
            let articles = adding.directory("articles", vec![page.named("index.html")]);
            let rules = adding.file("rules", REDIRECTS.as_bytes());
            let gone = ["404", "410", "451"].map(|n| (n, adding.file(n, format!("my {n}").as_bytes())));
            let mut entries = vec![page.named("index.html"), rules.named("_redirects"), articles.named("articles")];
            entries.extend(gone.map(|(n, file)| file.named(format!("{n}.html"))));
            entries.push(text.named("a.txt"));
            adding.directory("site", entries);
            let rules = adding.file("bad", b"/a /b\nmalformed");
            adding.directory("badsite", vec![rules.named("_redirects"), text.named("found.html")]);
            let rules = adding.file("long", "# too long\n".repeat(6_000).as_bytes());
            adding.directory("longsite", vec![rules.named("_redirects")]);

            adding.options.sharding.max_links = NonZeroUsize::new(8);
            let names = (0..40).map(|n| text.named(format!("{n}.txt"))).chain([page.named("index.html")]).collect();
            adding.directory("shards", names);
        },
    )
}

/// Under an address, every site has the node's origin, and therefore none of its own.
#[test]
fn files_and_directories_are_served() {
    let scene = scene();
    let data = pattern(1_026);
    let cid = |name: &str| scene.cids[name].to_string();
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a [u8], (&'a str, Option<String>));
    let cases: &[Case] = &[
        ("/ipfs/{text}", &[], 200, b"I am a txt file\n", ("Content-Type", Some("text/plain; charset=utf-8".into()))),
        ("/ipfs/{tree}/a.txt", &[], 200, b"I am a txt file\n", ("Etag", Some(format!("\"{}\"", cid("text"))))),
        ("/ipfs/{tree}/data", &[], 200, &data, ("Content-Type", Some("application/octet-stream".into()))),
        ("/ipfs/{tree}/data", &[], 200, &data, ("Content-Security-Policy", Some("sandbox".into()))),
        ("/ipfs/{tree}/data", &[], 200, &data, ("Cache-Control", Some("public, max-age=29030400, immutable".into()))),
        ("/ipfs/{tree}/data", &[], 200, &data, ("X-Ipfs-Path", Some(format!("/ipfs/{}/data", cid("tree"))))),
        ("/ipfs/{tree}/data", &[], 200, &data, ("X-Ipfs-Roots", Some(format!("{},{}", cid("tree"), cid("data"))))),
        (
            "/ipfs/{tree}/data",
            &[("Range", "bytes=500-799")],
            206,
            &data[500..800],
            ("Content-Range", Some("bytes 500-799/1026".into())),
        ),
        ("/ipfs/{tree}/data", &[("Range", "bytes=-26")], 206, &data[1_000..], ("Content-Length", Some("26".into()))),
        ("/ipfs/{tree}/data", &[("Range", "bytes=2000-")], 416, b"", ("Content-Range", Some("bytes */1026".into()))),
        (
            "/ipfs/{tree}/data",
            &[("If-None-Match", "W/\"{data}\"")],
            304,
            b"",
            ("Etag", Some(format!("\"{}\"", cid("data")))),
        ),
        ("/ipfs/{tree}/data?filename=a.png", &[], 200, &data, ("Content-Type", Some("image/png".into()))),
        (
            "/ipfs/{tree}/data?filename=a.png",
            &[],
            200,
            &data,
            ("Content-Disposition", Some("inline; filename=\"a.png\"; filename*=UTF-8''a.png".into())),
        ),
        ("/ipfs/{tree}/data?download=true", &[], 200, &data, ("Content-Disposition", Some("attachment".into()))),
        (
            "/ipfs/{tree}/data?download=true&filename=a",
            &[],
            200,
            &data,
            ("Content-Disposition", Some("attachment; filename=\"a\"; filename*=UTF-8''a".into())),
        ),
        (
            "/ipfs/{tree}/%C4%85/%C4%99/file-%C5%BA%C5%82.txt",
            &[],
            200,
            b"I am a txt file\n",
            ("Etag", Some(format!("\"{}\"", cid("text")))),
        ),
        (
            "/ipfs/{tree}/odd/%3Cb%3E%26%22%27100%2525%3F%23",
            &[],
            200,
            b"I am a txt file\n",
            ("Etag", Some(format!("\"{}\"", cid("text")))),
        ),
        ("/ipfs/{tree}/odd/link", &[], 200, b"../elsewhere", ("Content-Type", Some("inode/symlink".into()))),
        ("/ipfs/{shards}/17.txt", &[], 200, b"I am a txt file\n", ("Etag", Some(format!("\"{}\"", cid("text"))))),
        (
            "/ipfs/{site}/",
            &[],
            200,
            b"<!doctype html><title>mine</title>my index",
            ("Etag", Some(format!("\"{}\"", cid("site")))),
        ),
        (
            "/ipfs/{site}/",
            &[],
            200,
            b"<!doctype html><title>mine</title>my index",
            ("Content-Type", Some("text/html; charset=utf-8".into())),
        ),
        (
            "/ipfs/{shards}/",
            &[],
            200,
            b"<!doctype html><title>mine</title>my index",
            ("X-Ipfs-Roots", Some(cid("shards"))),
        ),
        // Directories have a slash.
        ("/ipfs/{tree}", &[], 301, b"", ("Location", Some(format!("/ipfs/{}/", cid("tree"))))),
        (
            "/ipfs/{tree}/%C4%85/%C4%99?a=b",
            &[],
            301,
            b"",
            ("Location", Some(format!("/ipfs/{}/%C4%85/%C4%99/?a=b", cid("tree")))),
        ),
        // A block has a path now.
        (
            "/ipfs/{tree}/a.txt?format=raw",
            &[],
            200,
            b"I am a txt file\n",
            ("Content-Type", Some("application/vnd.ipld.raw".into())),
        ),
        (
            "/ipfs/{tree}/a.txt",
            &[("Accept", "application/vnd.ipld.raw")],
            200,
            b"I am a txt file\n",
            ("Content-Location", Some(format!("/ipfs/{}/a.txt?format=raw", cid("tree")))),
        ),
        ("/ipfs/{tree}/i-do-not-exist", &[], 404, b"", ("Etag", None)),
        ("/ipfs/{site}/redirect-one", &[], 404, b"", ("Location", None)),
        ("/ipfs/{tree}/a.txt?format=tar", &[], 406, b"", ("Etag", None)),
        // Nothing that runs, or changes a page, comes from content into the node's own pages.
        ("/ipfs/{tree}/a.txt", &[("Sec-Fetch-Dest", "script")], 403, b"", ("Etag", None)),
        ("/ipfs/{tree}/a.txt", &[("Sec-Fetch-Dest", "style")], 403, b"", ("Etag", None)),
        ("/ipfs/{tree}/a.txt", &[("Service-Worker", "script")], 403, b"", ("Etag", None)),
        (
            "/ipfs/{tree}/a.txt",
            &[("Sec-Fetch-Dest", "document")],
            200,
            b"I am a txt file\n",
            ("Etag", Some(format!("\"{}\"", cid("text")))),
        ),
    ];
    for (path, headers, status, body, (name, value)) in cases {
        let got = scene.get(path, headers);
        assert_eq!((got.status, got.is_whole), (*status, true), "{path} {headers:?}: {got:?}");
        assert!(body.is_empty() || got.body == *body, "{path} {headers:?}: {got:?}");
        assert_eq!(got.header(name), value.as_deref(), "{path} {headers:?}");
        assert_eq!(got.header("X-Content-Type-Options").is_some(), [200, 206, 304].contains(status), "{path}");
        let head = scene.send("HEAD", path, headers);
        assert_eq!((head.status, head.body.len(), head.header(name)), (*status, 0, value.as_deref()), "HEAD {path}");
    }
    let header = Cid::v1(Codec::BITCOIN_BLOCK, HashFunction::DblSha2_256, b"header").unwrap();
    assert_eq!(scene.get(&format!("/ipfs/{header}"), &[]).status, 404);
}

#[test]
fn a_directory_without_a_page_is_listed() {
    let scene = scene();
    let got = scene.get("/ipfs/{tree}/odd/", &[]);
    let tag = format!("\"DirIndex-1_CID-{}\"", scene.cids["odd"]);
    assert_eq!((got.status, got.header("Etag")), (200, Some(tag.as_str())));
    assert_eq!(scene.get("/ipfs/{tree}/odd/", &[("If-None-Match", &tag)]).status, 304);
    assert_eq!(got.header("Cache-Control"), Some("public, max-age=604800"));
    assert!(got.header("Content-Security-Policy").unwrap().starts_with("sandbox; default-src 'none'"));
    let (page, tree) = (got.text(), scene.cids["tree"]);
    for part in [
        format!("Index of /ipfs/{tree}/odd"),
        format!("<a href=\"/ipfs/{tree}/odd/..\">..</a>"),
        // The name is text, and its link leads to it.
        format!("<a href=\"/ipfs/{tree}/odd/%3Cb%3E%26%22%27100%2525%3F%23\">&lt;b&gt;&amp;&quot;&#39;100%25?#</a>"),
    ] {
        assert!(page.contains(&part), "{part} is not in {page}");
    }
    let page = scene.get("/ipfs/{tree}/", &[]).text();
    assert!(page.contains("%C4%85\">ą</a>") && !page.contains("..</a>"), "{page}");
    let host = [("Host", "{tree}.ipfs.localhost")];
    let page = scene.get("/%C4%85/", &host).text();
    assert!(page.contains("<a href=\"/%C4%85/%C4%99\">ę</a>") && page.contains("<a href=\"/%C4%85/..\">"), "{page}");
}

#[test]
fn each_site_has_an_origin_of_its_own() {
    let scene = scene();
    let port = scene.fixture.address().port();
    let localhost = format!("localhost:{port}");
    let site = scene.cids["site"];
    for (path, headers, to) in [
        ("/ipfs/{site}", &[][..], format!("http://{site}.ipfs.{localhost}/")),
        ("/ipfs/{site}/", &[], format!("http://{site}.ipfs.{localhost}/")),
        ("/ipfs/{site}/a%20b/c?d=e", &[], format!("http://{site}.ipfs.{localhost}/a%20b/c?d=e")),
        ("/ipfs/{site}/", &[("X-Forwarded-Proto", "https")], format!("https://{site}.ipfs.{localhost}/")),
        (
            "/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn/x",
            &[],
            format!("http://bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354.ipfs.{localhost}/x"),
        ),
    ] {
        let headers = [&[("Host", localhost.as_str())], headers].concat();
        let got = scene.get(path, &headers);
        assert_eq!((got.status, got.header("Location")), (301, Some(to.as_str())), "{path}");
    }
    // What can be checked may stay.
    assert_eq!(scene.get("/ipfs/{site}?format=car", &[("Host", &localhost)]).status, 200);
    let long = Cid::v1(Codec::RAW, HashFunction::Sha2_512, b"long").unwrap();
    let got = scene.get(&format!("/ipfs/{long}/"), &[("Host", &localhost)]);
    assert_eq!(got.status, 400);
    assert!(got.text().contains("CID incompatible with DNS label length limit of 63"), "{got:?}");

    let host = |name: &str| format!("{{{name}}}.ipfs.{localhost}");
    for (name, path, headers, status, body) in [
        ("site", "/", &[][..], 200, "<!doctype html><title>mine</title>my index"),
        ("site", "/a.txt", &[], 200, "I am a txt file\n"),
        ("site", "/articles/", &[], 200, "<!doctype html><title>mine</title>my index"),
        ("site", "/a.txt?format=raw", &[], 200, "I am a txt file\n"),
        ("text", "/", &[], 200, "I am a txt file\n"),
        // Scripts are a site's own affair; and so are workers.
        ("site", "/a.txt", &[("Sec-Fetch-Dest", "script")], 200, "I am a txt file\n"),
        ("site", "/a.txt", &[("Service-Worker", "script")], 200, "I am a txt file\n"),
        // The node is not there: neither its pages nor its calls.
        ("tree", "/health", &[], 404, ""),
        ("tree", "/metrics", &[], 404, ""),
        ("tree", "/public", &[], 404, ""),
        ("tree", "/ipfs/{text}", &[], 404, ""),
    ] {
        let host = host(name);
        let headers = [&[("Host", host.as_str())], headers].concat();
        let got = scene.get(path, &headers);
        assert_eq!(got.status, status, "{name} {path}: {got:?}");
        assert!(body.is_empty() || got.text() == body, "{name} {path}: {got:?}");
        assert_eq!(got.header("Content-Security-Policy"), None, "{name} {path}");
    }
    let upper = format!("{}.IPFS.localhost", site.to_string().to_uppercase());
    assert_eq!(scene.get("/a.txt", &[("Host", &upper)]).status, 200);
    for (host, status) in [
        ("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn.ipfs.localhost", 400),
        ("elephant.ipfs.localhost", 400),
        ("{site}.ipns.localhost", 403),
        ("{site}.ipfs.evil.example", 403),
        ("{site}.ipfs.127.0.0.1", 403),
    ] {
        assert_eq!(scene.get("/", &[("Host", host)]).status, status, "{host}");
    }
    let (site, own) = (host("site"), format!("http://{}", host("site")));
    for method in ["POST", "PUT", "OPTIONS"] {
        assert_eq!(scene.send(method, "/", &[("Host", &site), ("Origin", &own)]).status, 405, "{method}");
    }
    assert_eq!(scene.get("/", &[("Host", &site), ("Origin", &own)]).status, 200);
    // A page of one site reads neither another site nor the node.
    assert_eq!(scene.get("/", &[("Host", &host("text")), ("Origin", &own)]).status, 403);
    assert_eq!(scene.send("POST", "/public", &[("Host", &localhost), ("Origin", &own)]).status, 403);
    let trustless = Scene::new(
        |_| (),
        |adding| {
            adding.file("text", b"text");
        },
    );
    assert_eq!(trustless.get("/", &[("Host", "{text}.ipfs.localhost")]).status, 403);
}

#[test]
fn a_site_redirects_what_it_does_not_have() {
    let scene = scene();
    let host = ("Host", "{site}.ipfs.localhost");
    for (path, status, body, to) in [
        ("/redirect-one", 301, "", Some("/one.html")),
        ("/302-redirect-two", 302, "", Some("/two.html")),
        ("/200-index", 200, "<!doctype html><title>mine</title>my index", None),
        ("/posts/2022/01/01/hello-world", 301, "", Some("/articles/2022/01/01/hello-world")),
        ("/splat/one.html", 301, "", Some("/redirected-splat/one.html")),
        ("/source/a?given=3&more=4", 301, "", Some("/target?fixed=1&given=3&more=4")),
        ("/not-found/x", 404, "my 404", None),
        ("/gone/x", 410, "my 410", None),
        ("/unavail/x", 451, "my 451", None),
        ("/catch-all", 200, "<!doctype html><title>mine</title>my index", None),
        // What is there is never redirected.
        ("/a.txt", 200, "I am a txt file\n", None),
    ] {
        let got = scene.get(path, &[host]);
        assert_eq!((got.status, got.header("Location")), (status, to), "{path}: {got:?}");
        assert!(body.is_empty() || got.text() == body, "{path}: {got:?}");
    }
    let got = scene.get("/not-found/x", &[host]);
    assert_eq!(got.header("Etag"), Some(format!("\"{}\"", scene.cids["404"]).as_str()));
    let tag = scene.get("/catch-all", &[host]).header("Etag").unwrap().to_owned();
    assert_eq!(scene.get("/catch-all", &[host, ("If-None-Match", &tag)]).status, 304);

    for (site, path, status, text) in [
        ("badsite", "/not-found", 500, "could not parse _redirects: line 2"),
        ("badsite", "/found.html", 200, "I am a txt file"),
        ("longsite", "/not-found", 500, "redirects file size cannot exceed"),
    ] {
        let host = format!("{{{site}}}.ipfs.localhost");
        let got = scene.get(path, &[("Host", &host)]);
        assert_eq!(got.status, status, "{site}{path}");
        assert!(got.text().contains(text), "{site}{path}: {got:?}");
    }
}
