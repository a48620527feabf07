//! Who has content, and that this node has it.

use std::time::Duration;

use serde_json::json;

use super::discovery::{await_found, lookup_view};
use super::{Access, Method, Outcome};
use crate::content::ContentReader;
use crate::ipld::Cid;
use crate::p2p::kad::NodeId;
use crate::p2p::{Command, Event};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::runtime::exchange::{FetchError, FetchStatus, Part, Progress, Wanted};

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "findproviders",
        access: Access::Owner,
        params: &[required("cid", Kind::Text, "The content's CID.")],
        result: Shape::Object(&results::content::PROVIDERS),
        about: "Looks for the nodes that say that they have the block of a CID, and what is below it. Ends within 30 seconds.",
        run: |api, args| Box::pin(find_providers(api, args)),
    },
    Method {
        name: "providecontent",
        access: Access::Owner,
        params: &[required("cid", Kind::Text, "A CID whose block this node has.")],
        result: Shape::Object(&results::content::ANNOUNCED),
        about: "Announces to the nodes nearest to the key of a CID that this node has its content, which they remember for 48 hours. \
                Pinned content is announced without it, again every 22 hours.",
        run: |api, args| Box::pin(provide_content(api, args)),
    },
    Method {
        name: "fetchcontent",
        access: Access::Owner,
        params: &[
            required("path", Kind::Text, "A CID, or CID/name/name."),
            optional("timeout", Kind::Integer, "30", "Seconds without any block after which the fetch fails."),
            optional("wait", Kind::Integer, "1", "Seconds after which the call is answered though the fetch goes on."),
            optional(
                "scope",
                Kind::Text,
                "\"all\"",
                "\"all\" below the path's end, \"entity\" for a file or a directory's list of names, \"block\" for one block.",
            ),
            optional(
                "offset",
                Kind::Integer,
                "0",
                "The first byte of a file that is wanted, with the scope \"entity\".",
            ),
            optional("length", Kind::Integer, "null", "How many bytes of the file are wanted. Default: all."),
        ],
        result: Shape::Object(&results::content::FETCH),
        about: "Fetches from peers what this node lacks of a DAG, and answers how far that is. A call with the same path watches \
                the same fetch, which ends half a minute after the last call. Nothing is pinned.",
        run: |api, args| Box::pin(fetch_content(api, args)),
    },
];

/// Longest time without any block that a caller may allow, and longest time until a call is answered, in seconds.
const MAX_PATIENCE_SECS: u64 = 3_600;
const MAX_WAIT_SECS: u64 = 60;

/// What of the file or directory at the path's end is wanted.
fn part(args: &Args) -> Result<Part, RpcError> {
    let (offset, length): (i64, Option<i64>) = (args.get("offset")?, args.get("length")?);
    let bytes = |name: &str, bytes: i64| {
        u64::try_from(bytes).map_err(|_| RpcError::invalid(format!("{name}: expected a number of bytes")))
    };
    let from = bytes("offset", offset)?;
    let to = length.map(|length| bytes("length", length)).transpose()?.map(|length| from.saturating_add(length));
    match (args.get::<&str>("scope")?, from, to) {
        ("entity", 0, None) => Ok(Part::Entity),
        ("entity", from, to) => Ok(Part::Bytes { from, to: to.unwrap_or(u64::MAX) }),
        ("all", 0, None) => Ok(Part::All),
        ("block", 0, None) => Ok(Part::Block),
        ("all" | "block", ..) => Err(RpcError::invalid("offset and length need the scope \"entity\"")),
        _ => Err(RpcError::invalid("scope: expected \"all\", \"entity\" or \"block\"")),
    }
}

async fn fetch_content(api: Api, args: Args) -> Outcome {
    let path: &str = args.get("path")?;
    let (root, names) = path.split_once('/').unwrap_or((path, ""));
    let root: Cid = root.parse().map_err(|error| RpcError::invalid(format!("path: {error}")))?;
    let names = names.as_bytes().to_vec();
    let seconds = |name, most: u64| -> Result<Duration, RpcError> {
        let seconds: i64 = args.get(name)?;
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds <= most);
        seconds.map(Duration::from_secs).ok_or_else(|| RpcError::invalid(format!("{name}: expected 0 to {most}")))
    };
    let (patience, wait) = (seconds("timeout", MAX_PATIENCE_SECS)?, seconds("wait", MAX_WAIT_SECS)?);
    let wanted = Wanted { root, path: names, part: part(&args)? };
    let exchange = api.handle.exchange().ok_or_else(|| {
        RpcError::new(Code::Misc, "this node exchanges no content: it was started with --no-exchange")
    })?;
    let _place = api.waiting_place()?;
    let status = tokio::select! {
        status = api.fetches.fetch(exchange, wanted, patience, wait) => status,
        () = api.stopping() => None,
    };
    let FetchStatus { progress, ended } =
        status.ok_or_else(|| RpcError::new(Code::Misc, "too many fetches are under way"))?;
    match ended {
        Some(Err(error @ (FetchError::NoProvider { .. } | FetchError::Unreachable { .. }))) => {
            return Err(RpcError::not_found(error.to_string()));
        }
        Some(Err(error)) => return Err(RpcError::new(Code::Misc, error.to_string())),
        Some(Ok(())) | None => {}
    }
    let Progress { blocks, bytes, fetched_blocks, fetched_bytes, sources, providers, liars } = &progress;
    Ok(Reply::of(&json!({
        "complete": ended.is_some(),
        "blocks": blocks,
        "bytes": bytes,
        "fetched_blocks": fetched_blocks,
        "fetched_bytes": fetched_bytes,
        "sources": sources,
        "providers": providers,
        "liars": liars.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })))
}

/// The CID that a call is about, and its key.
fn named(args: &Args) -> Result<(Cid, NodeId), RpcError> {
    let text: &str = args.get("cid")?;
    let cid: Cid = text.parse().map_err(|error| RpcError::invalid(format!("cid: {error}")))?;
    if cid.inline().is_some() {
        return Err(RpcError::invalid("cid: the content is in the CID itself"));
    }
    Ok((cid, NodeId::of_content(&cid.multihash())))
}

async fn find_providers(api: Api, args: Args) -> Outcome {
    let (cid, key) = named(&args)?;
    let found = await_found(&api, move |reply| Command::FindProviders(key, reply)).await?;
    let providers = found.providers.iter().map(|contact| {
        json!({
            "nodeid": contact.id.to_string(),
            "address": contact.address,
        })
    });
    let lookup = lookup_view(&found);
    Ok(Reply::of(&json!({
        "cid": cid,
        "key": key.to_string(),
        "providers": providers.collect::<Vec<_>>(),
        "path": lookup["path"],
        "took": lookup["took"],
        "complete": lookup["complete"],
    })))
}

async fn provide_content(api: Api, args: Args) -> Outcome {
    let (cid, key) = named(&args)?;
    let dir = api.content_dir.clone();
    let is_here = tokio::task::spawn_blocking(move || ContentReader::open(&dir)?.size(&cid));
    let is_here = is_here.await.map_err(RpcError::internal)?.map_err(RpcError::internal)?.is_some();
    if !is_here {
        return Err(RpcError::not_found(format!("the block {cid} is not here")));
    }
    let _place = api.waiting_place()?;
    let mut events = api.handle.subscribe();
    let knows_others = api.node(|node, _| !node.contacts().is_empty()).await?;
    if !knows_others {
        return Err(RpcError::new(Code::Misc, "this node knows no other to announce it to"));
    }
    if !api.command(move |reply| Command::Announce(key, reply)).await? {
        return Err(RpcError::new(Code::Misc, "this node provides as much as it can"));
    }
    let is_it = |event: &Event| match event {
        Event::Announced { key: announced, nodes } if *announced == key => Some(*nodes),
        _ => None,
    };
    let nodes = super::discovery::await_event(&api, &mut events, is_it).await?;
    Ok(Reply::of(&json!({ "cid": cid, "key": key.to_string(), "nodes": nodes })))
}
