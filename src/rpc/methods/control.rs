//! The server itself.

use std::time::Instant;

use serde::Serialize;

use super::{Access, GROUPS, Method, Outcome, discover, find};
use crate::consensus::params::Retarget;
use crate::p2p::Command;
use crate::primitives::time::UnixTime;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::runtime::process;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "help",
        access: Access::OwnerEarly,
        params: &[optional("command", Kind::Text, "null", "The method to explain.")],
        result: Shape::Text,
        about: "Lists all methods with their parameters, or describes one method in full.",
        run: |_, args| Box::pin(async move { help(&args) }),
    },
    Method {
        name: "getmemoryinfo",
        access: Access::OwnerEarly,
        params: &[optional("mode", Kind::Text, "\"stats\"", "The only mode is \"stats\".")],
        result: Shape::Object(&results::control::MEMORY_INFO),
        about: "Bytes of memory that this process uses. It locks no memory pages, so the figures of Bitcoin Core are 0.",
        run: |_, args| Box::pin(async move { get_memory_info(&args) }),
    },
    Method {
        name: "getrpcinfo",
        access: Access::OwnerEarly,
        params: &[],
        result: Shape::Object(&results::control::RPC_INFO),
        about: "The calls in progress, and how many microseconds each has been running. The path of the log is empty, \
                since logs go to stderr.",
        run: |api, _| Box::pin(async move { Ok(get_rpc_info(&api)) }),
    },
    Method {
        name: "rpc.discover",
        access: Access::OwnerEarly,
        params: &[],
        result: Shape::Map(&Shape::Any),
        about: "An OpenRPC document, for programs, of every method with its parameters and result.",
        run: |_, _| Box::pin(async { Ok(Reply::of(&discover::document())) }),
    },
    Method {
        name: "stop",
        access: Access::OwnerEarly,
        params: &[],
        result: Shape::Text,
        about: "Stops the node.",
        run: |api, _| Box::pin(async move { Ok(stop(&api)) }),
    },
    Method {
        name: "setmocktime",
        access: Access::OwnerEarly,
        params: &[required("timestamp", Kind::Integer, "Seconds since 1970; 0 returns to the real clock.")],
        result: Shape::Null,
        about: "Sets the node's clock to a fixed time. Works only on test networks without retargeting (\"retarget\": \
                \"none\"), where blocks are instant.",
        run: |api, args| Box::pin(set_mock_time(api, args)),
    },
    Method {
        name: "uptime",
        access: Access::OwnerEarly,
        params: &[],
        result: Shape::Integer,
        about: "Seconds since the node was started.",
        run: |api, _| Box::pin(async move { Ok(Reply::of(&api.handle.uptime().as_secs())) }),
    },
];

fn help(args: &Args) -> Outcome {
    if let Some(name) = args.get::<Option<&str>>("command")? {
        // Not an error, as in Bitcoin Core.
        return Ok(Reply::of(&find(name).map_or_else(|| format!("help: unknown command: {name}"), Method::help)));
    }
    let mut text = String::new();
    for (heading, methods) in GROUPS {
        text += &format!("== {heading} ==\n");
        methods.iter().for_each(|method| text += &format!("{}\n", method.usage()));
        text.push('\n');
    }
    text += "help METHOD describes one of them.";
    Ok(Reply::of(&text))
}

fn get_memory_info(args: &Args) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        locked: Region,
        /// All of the process, in the same form: clients take every member for a region of memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        resident: Option<Region>,
    }
    #[derive(Serialize, Default)]
    struct Region {
        used: u64,
        free: u64,
        total: u64,
        locked: u64,
        chunks_used: u64,
        chunks_free: u64,
    }
    match args.get("mode")? {
        "stats" => {
            let resident = process::usage().ok().map(|usage| usage.resident_bytes);
            let resident = resident.map(|bytes| Region { used: bytes, total: bytes, ..Region::default() });
            Ok(Reply::of(&Info { locked: Region::default(), resident }))
        }
        mode => Err(RpcError::invalid(format!("unknown mode {mode}"))),
    }
}

fn get_rpc_info(api: &Api) -> Reply {
    #[derive(Serialize)]
    struct Info {
        active_commands: Vec<Active>,
        logpath: &'static str,
    }
    #[derive(Serialize)]
    struct Active {
        method: &'static str,
        duration: u64,
    }
    let active = |(method, since): (_, Instant)| Active { method, duration: since.elapsed().as_micros() as u64 };
    Reply::of(&Info { active_commands: api.under_way().into_iter().map(active).collect(), logpath: "" })
}

async fn set_mock_time(api: Api, args: Args) -> Outcome {
    let time: i64 = args.get("timestamp")?;
    if api.params().retarget != Retarget::None {
        return Err(RpcError::new(
            Code::Misc,
            "setmocktime is for networks without retargeting, where blocks are instant",
        ));
    }
    // Headers count time in 32 bits.
    let time = u32::try_from(time).map_err(|_| RpcError::invalid(format!("timestamp: expected 0 to {}", u32::MAX)))?;
    api.ready()?;
    api.handle.set_mock_time(UnixTime::from_secs(u64::from(time)));
    // Timers that are due at the new time run before this is answered.
    api.command(Command::Tick).await?;
    Ok(Reply::null())
}

fn stop(api: &Api) -> Reply {
    tracing::info!("told to stop over RPC");
    api.handle.shutdown();
    Reply::of("Cairn is stopping")
}
