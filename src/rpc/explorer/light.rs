//! The light client's page: one file, served at `/light`, that also works from a disk.
//!
//! It is put together once, from a template, scripts, WebAssembly modules (the light client of `crates/web`, a signer, and one for
//! content), genesis.json, the words of backups and the address at which browsers reach this node. Its policy lets it run that
//! script and those modules, show pictures that it made, and load nothing: everything comes over WebRTC, and is checked.
//! `.ci/wasm` builds the modules and holds those that are kept here to their sources.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::consensus::params::Params;
use crate::p2p::PeerAddr;
use crate::rpc::http::Server;
use crate::wallet::mnemonic;

const TEMPLATE: &str = include_str!("light/light.html");
const STYLE: &str = include_str!("light/light.css");
/// In one scope, in this order.
const SCRIPT: &str = concat!(
    include_str!("light/dial.js"),
    "\n",
    include_str!("light/call.js"),
    "\n",
    include_str!("light/store.js"),
    "\n",
    include_str!("light/client.js"),
    "\n",
    include_str!("light/shelf.js"),
    "\n",
    include_str!("light/content.js"),
    "\n",
    include_str!("light/wallet.js"),
    "\n",
    include_str!("light/light.js"),
);
/// The light client's module, that which signs, and that which has content, packed with gzip.
const MODULE: &[u8] = include_bytes!("light/cairn_web.wasm.gz");
const SIGNER: &[u8] = include_bytes!("light/cairn_signer.wasm.gz");
const LIBRARY: &[u8] = include_bytes!("light/cairn_library.wasm.gz");
/// SHA-256 of each module, unpacked, and of their sources, in hex, a line for each.
const DIGESTS: &str = include_str!("light/digests.txt");

/// The page of a network, which dials a node unless its link names others.
fn page(params: &Params, peer: Option<PeerAddr>) -> (String, String) {
    let mut digests = DIGESTS.lines();
    let [module, signer, library] = [(); 3].map(|()| digests.next().unwrap_or_default());
    let hashes = format!("{{ module: \"{module}\", signer: \"{signer}\", library: \"{library}\" }}");
    let script = format!("const HASHES = {hashes};\n{SCRIPT}");
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}' 'wasm-unsafe-eval'; style-src 'sha256-{}'; img-src blob:; base-uri 'none'; \
         form-action 'none'",
        hash(&script),
        hash(STYLE)
    );
    let parts = [
        ("{{policy}}", policy.as_str()),
        ("{{style}}", STYLE),
        ("{{script}}", &script),
        ("{{module}}", &STANDARD.encode(MODULE)),
        ("{{signer}}", &STANDARD.encode(SIGNER)),
        ("{{library}}", &STANDARD.encode(LIBRARY)),
        ("{{words}}", &mnemonic::list().join(" ")),
        // JSON that no tag can end, whatever texts it holds.
        ("{{genesis}}", &params.spec.to_json().replace('<', "\\u003c")),
        ("{{peer}}", &peer.map(|peer| peer.to_string()).unwrap_or_default()),
    ];
    // In one pass: what is put in is not searched.
    let (mut text, mut rest) = (String::with_capacity(MODULE.len() * 2), TEMPLATE);
    while let Some((before, after)) = rest.split_once("{{") {
        text += before;
        let Some((name, after)) = after.split_once("}}") else { break };
        let part = parts.iter().find(|(place, _)| place.trim_matches(['{', '}']) == name);
        text += part.map_or("", |(_, part)| *part);
        rest = after;
    }
    text += rest;
    (text, policy)
}

/// The page's route.
pub(super) fn routes(params: &Params, peer: Option<PeerAddr>) -> Router<Arc<Server>> {
    let (text, policy) = page(params, peer);
    let body = Bytes::from(text);
    // It holds hashes in base64 only.
    let policy = HeaderValue::try_from(format!("{policy}; frame-ancestors 'none'"));
    let fixed = HeaderValue::from_static;
    let headers: Vec<(HeaderName, HeaderValue)> = [
        (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, fixed("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
    ]
    .into_iter()
    .chain(policy.ok().map(|policy| (header::CONTENT_SECURITY_POLICY, policy)))
    .collect();
    let answer = move || {
        let mut response = body.clone().into_response();
        for (name, value) in &headers {
            response.headers_mut().insert(name, value.clone());
        }
        std::future::ready(response)
    };
    Router::new().route("/light", get(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::params::GenesisSpec;

    #[test]
    fn the_page_is_whole_and_its_texts_stay_texts() {
        let mut spec = GenesisSpec::regtest();
        spec.message = "</script><script>alert(1)</script>{{peer}}".to_owned();
        assert!(spec.mine_nonce());
        let params = Params::new(spec.clone()).unwrap();
        let peer = PeerAddr::WebRtc { socket: ([127, 0, 0, 1], 1).into(), certhash: [7; 32] };
        let (page, policy) = page(&params, Some(peer));
        assert_eq!(page.matches("</script>").count(), 6);
        assert!(page.contains(&format!("data-peer=\"{peer}\"")) && page.contains(&policy));
        let genesis = page.split_once("id=\"genesis\">").unwrap().1.split_once("</script>").unwrap().0;
        assert_eq!(GenesisSpec::from_json(genesis).unwrap().message, spec.message);
        let sizes = [MODULE, SIGNER, LIBRARY].map(<[u8]>::len);
        assert!(sizes[0] < 280_000 && sizes[1] < 90_000 && sizes[2] < 120_000, "{sizes:?} bytes");
    }
}
