//! Who has content, and that this node has it.

use serde_json::json;

use super::discovery::{await_found, lookup_view};
use super::{Access, Method, Outcome};
use crate::content::ContentReader;
use crate::ipld::Cid;
use crate::p2p::kad::NodeId;
use crate::p2p::{Command, Event};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;

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
];

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
