//! Mining.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Access, Method, Outcome, rawtx};
use crate::chain::{BlockTree, ChainError, Entry};
use crate::p2p::{Command, Node};
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::rpc::view::{DifficultyView, hex_of};
use crate::runtime::mining::{Chosen, GenerateError, GenerateOfError, generate, generate_of};
use crate::runtime::work::{self, Rejection};

/// Blocks that the network's hash rate is estimated over, unless told otherwise.
pub(in crate::rpc) const RATE_SPAN: u32 = 120;
/// Blocks that one call may make.
const MAX_GENERATED: u32 = 100_000;
/// Nonces that are tried for a block of chosen transactions, as many as Bitcoin Core tries.
const MAX_TRIES: u64 = 1_000_000;
/// Longest rest of a miner.
const MAX_REST: Duration = Duration::from_secs(60);

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getmininginfo",
        access: Access::Public,
        params: &[],
        result: Shape::Object(&results::mining::MINING_INFO),
        about: "Whether and how fast this node mines, and the height and target of the next block.",
        run: |api, _| Box::pin(get_mining_info(api)),
    },
    Method {
        name: "getnetworkhashps",
        access: Access::Public,
        params: &[
            optional("nblocks", Kind::Integer, "120", "Number of blocks to estimate from; -1 for the default."),
            optional("height", Kind::Integer, "-1", "Height of the last of these blocks; -1 for the tip."),
        ],
        result: Shape::Number,
        about: "Hash rate of the whole network in hashes a second, estimated from the work and times of past blocks.",
        run: |api, args| Box::pin(get_network_hash_ps(api, args)),
    },
    Method {
        name: "setgenerate",
        access: Access::Owner,
        params: &[
            required("generate", Kind::Boolean, "Whether to mine."),
            optional("genproclimit", Kind::Integer, "1", "Number of threads, at most one for each core."),
            optional(
                "address",
                Kind::Address,
                "null",
                "The address to pay. Default: the one that the miner paid last.",
            ),
        ],
        result: Shape::Null,
        about: "Starts or stops mining. A node that has not mined since its start needs an address.",
        run: |api, args| Box::pin(set_generate(api, args)),
    },
    Method {
        name: "restminer",
        access: Access::Owner,
        params: &[required("milliseconds", Kind::Integer, "For how long, up to 60000; 0 ends a rest.")],
        result: Shape::Null,
        about: "Has the node's miner rest. It goes on by itself, so that no miner stays off when the caller is killed; a caller \
                that needs longer calls again in time. generatetoaddress works meanwhile.",
        run: |api, args| Box::pin(rest_miner(api, args)),
    },
    Method {
        name: "generatetoaddress",
        access: Access::Owner,
        params: &[
            required("nblocks", Kind::Integer, "Number of blocks, up to 100000."),
            required("address", Kind::Address, "The address to pay."),
            optional("maxtries", Kind::Integer, "1000000", "Maximum number of hashes to try."),
        ],
        result: Shape::Array(&Shape::Hash),
        about: "Mines blocks at once and returns their hashes: fewer than asked for if maxtries does not suffice.",
        run: |api, args| Box::pin(generate_to_address(api, args)),
    },
    Method {
        name: "generateblock",
        access: Access::Owner,
        params: &[
            required("output", Kind::Address, "The address to pay."),
            required(
                "transactions",
                Kind::Array,
                "Its transactions in order: ids of the mempool's, or encodings in hex; none for an empty block.",
            ),
            optional(
                "submit",
                Kind::Boolean,
                "true",
                "Whether the node takes it; without, the answer has its encoding.",
            ),
        ],
        result: Shape::Object(&results::mining::GENERATED),
        about: "Mines a block of these transactions alone. Its coinbase takes none of their fees.",
        run: |api, args| Box::pin(generate_block(api, args)),
    },
    Method {
        name: "submitheader",
        access: Access::Owner,
        params: &[required("hexdata", Kind::Hex, "The header's 80 bytes.")],
        result: Shape::Null,
        about: "Validates a header, and requests its block from peers if the block may join the best chain.",
        run: |api, args| Box::pin(submit_header(api, args)),
    },
];

async fn get_mining_info(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        blocks: Height,
        #[serde(flatten)]
        difficulty: DifficultyView,
        networkhashps: f64,
        pooledtx: usize,
        /// Grains a byte.
        blockmintxfee: u64,
        chain: String,
        generate: bool,
        genproclimit: usize,
        hashespersec: f64,
        /// Found by this node since its start.
        blocksfound: u64,
        address: Option<String>,
        next: Next,
        warnings: Vec<String>,
    }
    #[derive(Serialize)]
    struct Next {
        height: Height,
        #[serde(flatten)]
        difficulty: DifficultyView,
        /// Most bytes that a block may have.
        sizelimit: u32,
    }
    let mining = api.handle.miner().status();
    let address = mining.payee.map(|key| api.address_of(&key));
    let chain = api.params().network.clone();
    let looking = |node: &Node, _| {
        let mempool = node.mempool();
        (mempool.len(), mempool.limits().min_fee_rate, node.chain().next_context())
    };
    let (pooledtx, least, next) = api.node(looking).await?;
    let tree = api.tree()?;
    let tip = tree.tip();
    Ok(Reply::of(&Info {
        blocks: tip.height,
        difficulty: DifficultyView::new(tip.header.bits),
        networkhashps: hash_rate(&tree, &tip, RATE_SPAN),
        pooledtx,
        blockmintxfee: least.grains_per_byte(),
        chain,
        generate: mining.threads > 0,
        genproclimit: mining.threads,
        hashespersec: mining.hash_rate,
        blocksfound: mining.blocks_found,
        address,
        next: Next {
            height: next.height,
            difficulty: DifficultyView::new(next.bits),
            sizelimit: api.params().max_block_bytes,
        },
        warnings: Vec::new(),
    }))
}

/// Work of the `span` blocks up to `end`, over the time since the one before them: times do not fall along a chain.
/// Genesis is left out: it may be much older than the first mined block. So are blocks whose headers are still to come.
pub(in crate::rpc) fn hash_rate(tree: &BlockTree, end: &Entry, span: u32) -> f64 {
    let first = end.height.saturating_sub(span).max(Height::GENESIS.next());
    let first = tree.header_gap().filter(|gap| gap.has(first)).map_or(first, |gap| gap.end.min(end.height));
    let Some(start) = tree.ancestor(end, first) else { return 0.0 };
    let secs = end.header.time.saturating_sub(start.header.time);
    if secs == 0 { 0.0 } else { (end.work - start.work).as_f64() / f64::from(secs) }
}

async fn get_network_hash_ps(api: Api, args: Args) -> Outcome {
    let span: i64 = args.get("nblocks")?;
    let height: i64 = args.get("height")?;
    let span = match span {
        -1 => RATE_SPAN,
        span => u32::try_from(span)
            .ok()
            .filter(|span| (1..=100_000).contains(span))
            .ok_or_else(|| RpcError::invalid("Invalid nblocks. Must be a number from 1 to 100000, or -1."))?,
    };
    api.walk(move |tree| {
        let end = match height {
            -1 => Some(tree.tip()),
            height => u32::try_from(height).ok().and_then(|height| tree.entry_at(Height::from_u32(height))),
        };
        let end = end.ok_or_else(|| RpcError::invalid("Block does not exist at specified height"))?;
        Ok(Reply::of(&hash_rate(tree, &end, span)))
    })
    .await
}

async fn set_generate(api: Api, args: Args) -> Outcome {
    let generate: bool = args.get("generate")?;
    let threads: usize = args.get("genproclimit")?;
    let address: Option<&str> = args.get("address")?;
    let miner = api.handle.miner();
    if !generate {
        return set_miner(&api, None, 0).await;
    }
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    if !(1..=most).contains(&threads) {
        return Err(RpcError::invalid(format!(
            "genproclimit: expected 1 to {most}, as many threads as there are cores"
        )));
    }
    let payee = match address {
        Some(address) => api.key_of(address)?,
        None => miner.status().payee.ok_or_else(|| {
            RpcError::invalid(
                "address: the miner has paid none since the node's start: give one, as in `setgenerate true 1 ADDRESS`",
            )
        })?,
    };
    set_miner(&api, Some(payee), threads).await
}

/// Has the miner mine, or stop: then no block is still to come. A paused node mines nothing, and does so when it goes on.
async fn set_miner(api: &Api, payee: Option<PublicKey>, threads: usize) -> Outcome {
    let _ = api.handle.unless_paused(api.handle.miner().set(payee, threads)).await;
    Ok(Reply::null())
}

async fn rest_miner(api: Api, args: Args) -> Outcome {
    let how_long = Duration::from_millis(args.get("milliseconds")?);
    if how_long > MAX_REST {
        return Err(RpcError::invalid(format!("milliseconds: at most {}", MAX_REST.as_millis())));
    }
    let _ = api.handle.unless_paused(api.handle.miner().rest(how_long)).await;
    Ok(Reply::null())
}

async fn generate_to_address(api: Api, args: Args) -> Outcome {
    let count: u32 = args.get("nblocks")?;
    let payee = api.key_of(args.get("address")?)?;
    let tries: u64 = args.get("maxtries")?;
    if count > MAX_GENERATED {
        return Err(RpcError::invalid(format!("nblocks: at most {MAX_GENERATED}")));
    }
    Ok(Reply::of(&api.awake(generate(&api.handle, payee, count as usize, tries)).await?))
}

impl From<GenerateError> for RpcError {
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Stopped(stopped) => stopped.into(),
            GenerateError::Chain(error) => error.into(),
        }
    }
}

async fn generate_block(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Generated {
        hash: BlockHash,
        #[serde(skip_serializing_if = "Option::is_none")]
        hex: Option<String>,
    }
    let payee = api.key_of(args.get("output")?)?;
    let submit: bool = args.get("submit")?;
    let names: Vec<String> = args.get("transactions")?;
    let chosen = |name: &String| match name.parse() {
        Ok(txid) => Ok(Chosen::Waiting(txid)),
        Err(_) => Ok(Chosen::Given(Arc::new(rawtx::decode(name)?))),
    };
    let chosen = names.iter().map(chosen).collect::<Result<_, RpcError>>()?;
    let block = api.awake(generate_of(&api.handle, payee, chosen, MAX_TRIES)).await?;
    let (hash, hex) = (block.hash(), (!submit).then(|| hex_of(&block)));
    if submit && let Some(Rejection { reason, detail }) = api.awake(work::submit(&api.handle, block)).await?? {
        return Err(RpcError::new(Code::Verify, format!("{reason}: {detail}")));
    }
    api.reply(&Generated { hash, hex })
}

impl From<GenerateOfError> for RpcError {
    fn from(error: GenerateOfError) -> Self {
        match error {
            GenerateOfError::Stopped(stopped) => stopped.into(),
            GenerateOfError::Chain(error) => error.into(),
            GenerateOfError::NotWaiting { .. } => Self::not_found(error.to_string()),
            GenerateOfError::Invalid(_) => Self::new(Code::Verify, error.to_string()),
            GenerateOfError::TooHard { .. } => Self::new(Code::Misc, error.to_string()),
        }
    }
}

async fn submit_header(api: Api, args: Args) -> Outcome {
    let header: Header = codec::decode_hex(args.get("hexdata")?)
        .map_err(|error| RpcError::new(Code::Deserialization, format!("Block header decode failed: {error}")))?;
    let result = api.command(move |reply| Command::SubmitHeader(header, reply)).await?;
    result.map(|()| Reply::null()).map_err(|error| match error {
        ChainError::UnknownParent { parent, .. } => {
            RpcError::new(Code::Verify, format!("Must submit previous header ({parent}) first"))
        }
        ChainError::Rule { .. } | ChainError::Refused { .. } | ChainError::TooDeep { .. } => {
            RpcError::new(Code::Verify, error.to_string())
        }
        error => error.into(),
    })
}
