//! Bans of addresses.

use std::time::Duration;

use serde::Serialize;

use super::{Access, Method, Outcome};
use crate::p2p::Command;
use crate::p2p::bans::{BAN, Subnet};
use crate::primitives::time::UnixTime;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "setban",
        access: Access::Owner,
        params: &[
            required("subnet", Kind::Text, "An address, or a subnet such as 10.1.0.0/16 or 10.1.0.0/255.255.0.0."),
            required("command", Kind::Text, "\"add\" or \"remove\"."),
            optional("bantime", Kind::Integer, "0", "Seconds; 0 for a day."),
            optional(
                "absolute",
                Kind::Boolean,
                "false",
                "Whether bantime is a time in seconds since 1970 rather than a duration.",
            ),
        ],
        result: Shape::Null,
        about: "Bans an address or a subnet and closes its connections, or ends a ban.",
        run: |api, args| Box::pin(set_ban(api, args)),
    },
    Method {
        name: "listbanned",
        access: Access::Owner,
        params: &[],
        result: Shape::Array(&Shape::Object(&results::network::BAN)),
        about: "The bans in force, including those for misbehaviour.",
        run: |api, _| Box::pin(list_banned(api)),
    },
    Method {
        name: "clearbanned",
        access: Access::Owner,
        params: &[],
        result: Shape::Null,
        about: "Ends all bans.",
        run: |api, _| Box::pin(clear_banned(api)),
    },
];

async fn set_ban(api: Api, args: Args) -> Outcome {
    let subnet: &str = args.get("subnet")?;
    let subnet: Subnet = subnet
        .parse()
        .map_err(|error| RpcError::new(Code::InvalidSubnet, format!("Error: Invalid IP/Subnet: {error}")))?;
    let (time, absolute) = (args.get::<u64>("bantime")?, args.get::<bool>("absolute")?);
    match args.get::<&str>("command")? {
        "add" => {
            let now = api.handle.unix_now();
            let until = match (time, absolute) {
                (0, _) => now.saturating_add(BAN),
                (time, true) => UnixTime::from_secs(time),
                (time, false) => now.saturating_add(Duration::from_secs(time)),
            };
            if until <= now {
                return Err(RpcError::invalid("Error: Absolute timestamp is in the past"));
            }
            api.command(move |reply| Command::Ban(subnet, until, reply)).await?;
            Ok(Reply::null())
        }
        "remove" => {
            let ended = api.command(move |reply| Command::Unban(subnet, reply)).await?;
            let unknown = "Error: Unban failed. Requested address/subnet was not previously manually banned.";
            if ended { Ok(Reply::null()) } else { Err(RpcError::new(Code::InvalidSubnet, unknown)) }
        }
        _ => Err(RpcError::new(Code::Misc, "command: expected \"add\" or \"remove\"")),
    }
}

async fn list_banned(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct BanView {
        address: String,
        ban_created: u64,
        banned_until: u64,
        ban_duration: u64,
        time_remaining: u64,
        ban_reason: String,
    }
    api.node(|node, now| {
        let bans = node.bans(now).into_iter().map(|(subnet, ban)| BanView {
            address: subnet.to_string(),
            ban_created: ban.created.as_secs(),
            banned_until: ban.until.as_secs(),
            ban_duration: ban.until.saturating_since(ban.created).as_secs(),
            time_remaining: ban.until.saturating_since(now.unix).as_secs(),
            ban_reason: ban.reason,
        });
        Reply::of(&bans.collect::<Vec<_>>())
    })
    .await
}

async fn clear_banned(api: Api) -> Outcome {
    api.command(Command::ClearBans).await?;
    Ok(Reply::null())
}
