//! Long polls: calls that wait for an event.

use std::time::Duration;

use serde::Serialize;

use super::{Access, Method, Outcome};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, Param, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::runtime::Tip;

const TIMEOUT: Param = optional(
    "timeout",
    Kind::Integer,
    "0",
    "Milliseconds after which the call returns the tip as it is; 0 to wait for ever.",
);

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "waitfornewblock",
        access: Access::Owner,
        params: &[
            TIMEOUT,
            optional(
                "current_tip",
                Kind::Hash,
                "null",
                "Wait for a tip other than this one. Default: the tip at the time of the call.",
            ),
        ],
        result: Shape::Object(&results::chain::TIP),
        about: "Waits until the tip changes, and returns the new tip's hash and height.",
        run: |api, args| Box::pin(wait_for_new_block(api, args)),
    },
    Method {
        name: "waitforblock",
        access: Access::Owner,
        params: &[required("blockhash", Kind::Hash, "The block to wait for."), TIMEOUT],
        result: Shape::Object(&results::chain::TIP),
        about: "Waits until a block is the tip, and returns the tip's hash and height.",
        run: |api, args| Box::pin(wait_for_block(api, args)),
    },
    Method {
        name: "waitforblockheight",
        access: Access::Owner,
        params: &[required("height", Kind::Integer, "The height to reach."), TIMEOUT],
        result: Shape::Object(&results::chain::TIP),
        about: "Waits until the tip has reached a height, and returns the tip's hash and height.",
        run: |api, args| Box::pin(wait_for_block_height(api, args)),
    },
];

async fn wait_for_new_block(api: Api, args: Args) -> Outcome {
    let known = args.get::<Option<BlockHash>>("current_tip")?.unwrap_or(api.tip().hash);
    wait(&api, timeout(&args)?, |tip| tip.hash != known).await
}

async fn wait_for_block(api: Api, args: Args) -> Outcome {
    let hash: BlockHash = args.get("blockhash")?;
    wait(&api, timeout(&args)?, |tip| tip.hash == hash).await
}

async fn wait_for_block_height(api: Api, args: Args) -> Outcome {
    let height: Height = args.get("height")?;
    wait(&api, timeout(&args)?, |tip| tip.height >= height).await
}

/// The argument `timeout`; 0 stands for no limit.
fn timeout(args: &Args) -> Result<Option<Duration>, RpcError> {
    let millis: i64 = args.get("timeout")?;
    let millis = u64::try_from(millis).map_err(|_| RpcError::new(Code::Misc, "Negative timeout"))?;
    Ok((millis > 0).then(|| Duration::from_millis(millis)))
}

/// Waits until the tip is `good`, the time is up or the server stops, and answers the tip.
async fn wait(api: &Api, timeout: Option<Duration>, good: impl Fn(&Tip) -> bool) -> Outcome {
    #[derive(Serialize)]
    struct Answer {
        hash: BlockHash,
        height: Height,
    }
    let _place = api.waiting_place()?;
    let mut tip = api.handle.tip();
    let timeout = async {
        match timeout {
            None => std::future::pending().await,
            Some(timeout) => tokio::time::sleep(timeout).await,
        }
    };
    tokio::select! {
        _ = tip.wait_for(good) => {}
        () = timeout => {}
        () = api.stopping() => {}
    }
    let Tip { hash, height } = api.tip();
    Ok(Reply::of(&Answer { hash, height }))
}
