//! The server itself.

use super::{GROUPS, Method, Outcome, find};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;

/// See [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "help",
        params: &[optional("command", Kind::Text, "null", "The method to explain.")],
        about: "All methods with their parameters, or everything about one.",
        run: |_, args| Box::pin(async move { help(&args) }),
    },
    Method {
        name: "stop",
        params: &[],
        about: "Stops the node.",
        run: |api, _| Box::pin(async move { Ok(stop(&api)) }),
    },
    Method {
        name: "uptime",
        params: &[],
        about: "Seconds since the node was started.",
        run: |api, _| Box::pin(async move { Ok(Reply::of(&api.handle.uptime().as_secs())) }),
    },
];

fn help(args: &Args) -> Outcome {
    if let Some(name) = args.get::<Option<&str>>("command")? {
        let unknown = || RpcError::new(Code::Misc, format!("help: unknown command: {name}"));
        return Ok(Reply::of(&find(name).ok_or_else(unknown)?.help()));
    }
    let mut text = String::new();
    for (heading, methods) in GROUPS {
        text += &format!("== {heading} ==\n");
        methods.iter().for_each(|method| text += &format!("{}\n", method.usage()));
        text.push('\n');
    }
    text += "help METHOD explains one.";
    Ok(Reply::of(&text))
}

fn stop(api: &Api) -> Reply {
    tracing::info!("told to stop over RPC");
    api.handle.shutdown();
    Reply::of("Cairn is stopping")
}
