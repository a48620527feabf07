//! Blocks, headers, coins.

use std::collections::BTreeMap;

use serde::Serialize;

use super::prune::{check_header_is_here, missing_headers, unavailable};
use super::{Access, Method, Outcome};
use crate::chain::{BlockTree, Entry, Retention};
use crate::consensus::coins::CoinView;
use crate::p2p::Command;
use crate::primitives::amount::Amount;
use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, FilterHeader, Hash256, Txid};
use crate::primitives::height::Height;
use crate::primitives::tx::{OutPoint, Output};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, Param, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::rpc::strangers;
use crate::rpc::view::{BlockTransactions, BlockView, DifficultyView, HeaderView, LockView};
use crate::storage::{BlockKey, Database};

const BLOCKHASH: Param = required("blockhash", Kind::Hash, "The block.");

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getblockchaininfo",
        access: Access::Public,
        params: &[],
        result: Shape::Object(&results::chain::BLOCKCHAIN_INFO),
        about: "State of the chain: heights, tip, difficulty, work, whether blocks are still missing.",
        run: |api, _| Box::pin(get_blockchain_info(api)),
    },
    Method {
        name: "getblockcount",
        access: Access::Public,
        params: &[],
        result: Shape::Integer,
        about: "Height of the tip.",
        run: |api, _| Box::pin(async move { Ok(Reply::of(&api.tip().height)) }),
    },
    Method {
        name: "getbestblockhash",
        access: Access::Public,
        params: &[],
        result: Shape::Hash,
        about: "Hash of the tip.",
        run: |api, _| Box::pin(async move { Ok(Reply::of(&api.tip().hash)) }),
    },
    Method {
        name: "getblockhash",
        access: Access::Public,
        params: &[required("height", Kind::Integer, "The height.")],
        result: Shape::Hash,
        about: "Hash of the block at a height of the best chain.",
        run: |api, args| Box::pin(async move { get_block_hash(&api, &args) }),
    },
    Method {
        name: "getblock",
        access: Access::Public,
        params: &[
            BLOCKHASH,
            optional(
                "verbosity",
                Kind::Verbosity,
                "1",
                "0 for the block's encoding in hex, 1 for an object with transaction ids, 2 for whole transactions with fees, 3 to add the coins that they spend.",
            ).or("verbose"),
        ],
        result: Shape::Either(&[Shape::Hex, Shape::Object(&results::chain::BLOCK)]),
        about: "A block as bytes, as an object with transaction ids, or with whole transactions, their fees and the coins they spend.",
        run: |api, args| Box::pin(get_block(api, args)),
    },
    Method {
        name: "getblockfilter",
        access: Access::Owner,
        params: &[BLOCKHASH, optional("filtertype", Kind::Text, "\"basic\"", "The only type is \"basic\".")],
        result: Shape::Object(&results::chain::BLOCK_FILTER),
        about: "A block's filter (BIP-158) and its filter header, in hex. The filter holds the keys of the block's outputs and of the coins that it spends.",
        run: |api, args| Box::pin(get_block_filter(api, args)),
    },
    Method {
        name: "getblockheader",
        access: Access::Public,
        params: &[BLOCKHASH, optional("verbose", Kind::Boolean, "true", "false to get the header's 80 bytes in hex.")],
        result: Shape::Either(&[Shape::Object(&results::chain::BLOCK_HEADER), Shape::Hex]),
        about: "A block's header, even if the node does not have the block's body.",
        run: |api, args| Box::pin(async move { get_block_header(&api, &args) }),
    },
    Method {
        name: "getchaintips",
        access: Access::Public,
        params: &[],
        result: Shape::Array(&Shape::Object(&results::chain::CHAIN_TIP)),
        about: "The tips of all known branches, highest first; only the 1000 highest without credentials.",
        run: |api, _| Box::pin(get_chain_tips(api)),
    },
    Method {
        name: "getdeploymentinfo",
        access: Access::Owner,
        params: &[optional("blockhash", Kind::Hash, "null", "The rules as of this block. Default: the tip.")],
        result: Shape::Object(&results::chain::DEPLOYMENT_INFO),
        about: "Rule changes being deployed: always none, since genesis fixes the rules.",
        run: |api, args| Box::pin(async move { get_deployment_info(&api, &args) }),
    },
    Method {
        name: "getdifficulty",
        access: Access::Public,
        params: &[],
        result: Shape::Number,
        about: "The tip's difficulty, as a multiple of Bitcoin's difficulty 1.",
        run: |api, _| Box::pin(async move { get_difficulty(&api) }),
    },
    Method {
        name: "getindexinfo",
        access: Access::Owner,
        params: &[optional("index_name", Kind::Text, "null", "Only this one.")],
        result: Shape::Map(&Shape::Object(&results::chain::INDEX_INFO)),
        about: "The state of the indexes of transactions, addresses and block filters. Each is written together with its block, so none is ever behind.",
        run: |api, args| Box::pin(async move { get_index_info(&api, &args) }),
    },
    Method {
        name: "gettxout",
        access: Access::Public,
        params: &[
            required("txid", Kind::Hash, "The transaction."),
            required("n", Kind::Integer, "The output's index in the transaction, from 0."),
            optional("include_mempool", Kind::Boolean, "true", "Whether to count outputs and spends in the mempool."),
        ],
        result: Shape::Either(&[Shape::Object(&results::chain::COIN), Shape::Null]),
        about: "An unspent output; null if there is none.",
        run: |api, args| Box::pin(get_tx_out(api, args)),
    },
    Method {
        name: "gettxoutsetinfo",
        access: Access::Owner,
        params: &[optional("hash_type", Kind::Text, "\"digest\"", "\"none\" to leave the digest out.")],
        result: Shape::Object(&results::chain::COIN_SET_INFO),
        about: "Number, value and digest of all unspent outputs. The call reads all of them.",
        run: |api, args| Box::pin(get_tx_out_set_info(api, args)),
    },
    Method {
        name: "invalidateblock",
        access: Access::Owner,
        params: &[BLOCKHASH],
        result: Shape::Null,
        about: "Marks a block as invalid, as if it broke a rule, and switches to the best chain without it.",
        run: |api, args| Box::pin(invalidate_block(api, args)),
    },
    Method {
        name: "reconsiderblock",
        access: Access::Owner,
        params: &[BLOCKHASH],
        result: Shape::Null,
        about: "Undoes invalidateblock for a block, its ancestors and its descendants.",
        run: |api, args| Box::pin(reconsider_block(api, args)),
    },
];

async fn get_blockchain_info(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        chain: String,
        blocks: Height,
        headers: Height,
        bestblockhash: BlockHash,
        genesisblockhash: BlockHash,
        #[serde(flatten)]
        difficulty: DifficultyView,
        time: u32,
        mediantime: u32,
        verificationprogress: f64,
        initialblockdownload: bool,
        chainwork: String,
        size_on_disk: u64,
        pruned: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pruneheight: Option<Height>,
        #[serde(skip_serializing_if = "Option::is_none")]
        automatic_pruning: Option<bool>,
        /// In blocks, where Bitcoin Core has bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        prune_target_blocks: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        archived_blocks: Option<u32>,
        warnings: Vec<String>,
    }
    let params = api.params().clone();
    let reading = |db: &Database| Ok((db.store().bytes_on_disk(), db.state_load()?.is_some()));
    let (size_on_disk, is_loading) = api.load(reading).await?;
    let tree = api.tree()?;
    let (tip, best) = (tree.tip(), tree.best_header());
    let pruned = !tree.keeps_all();
    let target = match tree.retention() {
        Retention::Last(count) => Some(count),
        Retention::All | Retention::Manual => None,
    };
    let too_deep = tree.too_deep().map(|fork| {
        format!(
            "A branch that leaves the best chain at height {fork}, where blocks are pruned, was refused. If it is the right one, \
             start the node again with an empty data directory."
        )
    });
    let started_from = tree.started_from().map(|base| {
        format!(
            "This node started from the coins after block {base}: transactions and histories of addresses up to there are \
             missing."
        )
    });
    let fetching = tree.header_gap().map(|gap| {
        format!(
            "The headers from height {} to {} are still being fetched: nothing is answered about them.",
            gap.from,
            gap.end.saturating_sub(1)
        )
    });
    Ok(Reply::of(&Info {
        chain: params.network.clone(),
        blocks: tip.height,
        headers: best.height,
        bestblockhash: tip.hash,
        genesisblockhash: params.genesis_hash,
        difficulty: DifficultyView::new(tip.header.bits),
        time: tip.header.time,
        mediantime: tree.median_time(&tip),
        verificationprogress: (f64::from(tip.height.next().as_u32()) / f64::from(best.height.next().as_u32())).min(1.0),
        initialblockdownload: lacks_blocks(&tree, is_loading),
        chainwork: tip.work.to_string(),
        size_on_disk,
        pruned,
        pruneheight: pruned.then_some(tree.kept_from()),
        automatic_pruning: pruned.then_some(target.is_some()),
        prune_target_blocks: target,
        archived_blocks: pruned.then(|| tree.archived_blocks()),
        warnings: too_deep.into_iter().chain(started_from).chain(fetching).collect(),
    }))
}

/// Whether blocks of the best header's chain are missing. While a state is being loaded, they are: the tip may be the best header
/// before others come.
pub(super) fn lacks_blocks(tree: &BlockTree, is_loading: bool) -> bool {
    is_loading || tree.best_header().work > tree.tip().work
}

fn get_block_hash(api: &Api, args: &Args) -> Outcome {
    let height: i64 = args.get("height")?;
    let hash = match u32::try_from(height) {
        Ok(height) => api.db().hash_at(Height::from_u32(height))?,
        Err(_) => None,
    };
    if let (None, Ok(height)) = (hash, u32::try_from(height)) {
        check_header_is_here(&*api.tree()?, Height::from_u32(height))?;
    }
    hash.map(|hash| Reply::of(&hash)).ok_or_else(|| RpcError::invalid("Block height out of range"))
}

/// The entry of a block that is named in a call.
pub(super) fn entry(tree: &BlockTree, hash: &BlockHash) -> Result<Entry, RpcError> {
    tree.entry(hash).ok_or_else(|| match tree.header_gap() {
        None => RpcError::not_found("Block not found"),
        Some(_) => RpcError::not_found(format!("Block not found. {}", missing_headers(tree))),
    })
}

fn get_block_header(api: &Api, args: &Args) -> Outcome {
    let hash: BlockHash = args.get("blockhash")?;
    let verbose: bool = args.get("verbose")?;
    if !verbose {
        let entry = entry(&*api.tree()?, &hash)?;
        return Ok(Reply::hex(&codec::encode(&entry.header)));
    }
    Ok(Reply::of(&view_of(api, &hash)?))
}

/// The header of a block that is named in a call, and its place.
fn view_of(api: &Api, hash: &BlockHash) -> Result<HeaderView, RpcError> {
    let tree = api.tree()?;
    let entry = entry(&tree, hash)?;
    check_header_is_here(&tree, entry.height)?;
    Ok(HeaderView::new(&tree, &entry))
}

async fn get_block(api: Api, args: Args) -> Outcome {
    let hash: BlockHash = args.get("blockhash")?;
    let verbosity: u8 = args.get("verbosity")?;
    let entry = entry(&*api.tree()?, &hash)?;
    let answer = api.clone();
    let reply = if verbosity == 0 {
        api.load(move |db| db.raw_block(&entry.key())?.map(|raw| answer.reply_hex(&raw)).transpose()).await?
    } else {
        let header = view_of(&api, &hash)?;
        api.load(move |db| block_reply(&answer, db, &entry.key(), header, verbosity)).await?
    };
    match reply {
        Some(reply) => Ok(reply),
        None => Err(unavailable(&*api.tree()?, &entry)),
    }
}

/// A block as an object, or `None` if its body is not stored.
fn block_reply(
    api: &Api,
    db: &Database,
    at: &BlockKey,
    header: HeaderView,
    verbosity: u8,
) -> Result<Option<Reply>, RpcError> {
    let Some(block) = db.block(at)? else { return Ok(None) };
    if verbosity == 1 {
        return api.reply(&BlockView::new(header, &block, block.txids())?).map(Some);
    }
    let undo = db.undo(at)?;
    let spends: usize = block.transactions.iter().map(|tx| tx.inputs.len()).sum();
    // A block that was never connected has no undo data, so its fees are not known.
    let undo = (undo.len() == spends).then_some(&undo[..]);
    let prefix = &api.params().address_prefix;
    let tx = BlockTransactions { block: &block, undo, prefix, show_coins: verbosity > 2 };
    api.reply(&BlockView::new(header, &block, tx)?).map(Some)
}

async fn get_block_filter(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct View {
        filter: String,
        header: FilterHeader,
    }
    let hash: BlockHash = args.get("blockhash")?;
    if args.get::<&str>("filtertype")? != "basic" {
        return Err(RpcError::not_found("Unknown filtertype"));
    }
    let at = entry(&*api.tree()?, &hash)?.key();
    api.read(move |db, _| {
        if db.hash_at(at.height)? != Some(hash) {
            return Err(RpcError::not_found("Filter not found. Block was not connected to active chain."));
        }
        match db.filter(&at)? {
            Some((filter, header)) => Ok(Reply::of(&View { filter: hex::encode(filter.as_bytes()), header })),
            None if at.height < db.kept_from()? => Err(RpcError::new(Code::Misc, "Filter not available (pruned data)")),
            None => Err(RpcError::internal(format!("block {hash} has no filter"))),
        }
    })
    .await
}

async fn get_chain_tips(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Tip {
        height: Height,
        hash: BlockHash,
        branchlen: u32,
        status: &'static str,
    }
    let most = api.bound(usize::MAX, strangers::MAX_LISTED);
    let tips = api.walk(|tree| Ok(tree.tips())).await?.into_iter().take(most).map(|tip| Tip {
        height: tip.height,
        hash: tip.hash,
        branchlen: tip.branch_len,
        status: tip.status.name(),
    });
    Ok(Reply::of(&tips.collect::<Vec<_>>()))
}

fn get_difficulty(api: &Api) -> Outcome {
    let bits = api.tree()?.tip().header.bits;
    Ok(Reply::of(&bits.target().map(|target| target.difficulty()).map_err(RpcError::internal)?))
}

fn get_deployment_info(api: &Api, args: &Args) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        hash: BlockHash,
        height: Height,
        script_flags: [&'static str; 0],
        deployments: BTreeMap<String, ()>,
    }
    let hash: Option<BlockHash> = args.get("blockhash")?;
    let tree = api.tree()?;
    let entry = hash.map_or(Ok(tree.tip()), |hash| entry(&tree, &hash))?;
    Ok(Reply::of(&Info { hash: entry.hash, height: entry.height, script_flags: [], deployments: BTreeMap::new() }))
}

fn get_index_info(api: &Api, args: &Args) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        synced: bool,
        best_block_height: Height,
    }
    let wanted: Option<&str> = args.get("index_name")?;
    let indexes = ["txindex", "addressindex", "basic block filter index"].into_iter();
    let indexes = indexes.filter(|name| wanted.is_none_or(|wanted| wanted == *name));
    let info = |name| (name, Info { synced: true, best_block_height: api.tip().height });
    Ok(Reply::of(&indexes.map(info).collect::<BTreeMap<_, _>>()))
}

async fn get_tx_out(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct TxOut {
        bestblock: BlockHash,
        confirmations: u32,
        value: Amount,
        #[serde(rename = "scriptPubKey")]
        lock: LockView,
        coinbase: bool,
    }
    let outpoint = OutPoint { txid: args.get::<Txid>("txid")?, index: args.get("n")? };
    let include_mempool: bool = args.get("include_mempool")?;
    let prefix = api.params().address_prefix.clone();
    api.node(move |node, _| {
        let (chain, mempool) = (node.chain(), node.mempool());
        if include_mempool && mempool.spender(&outpoint).is_some() {
            return Ok(Reply::null());
        }
        let tip = chain.tip();
        let view = |output: &Output, confirmations, coinbase| {
            Reply::of(&TxOut {
                bestblock: tip.hash,
                confirmations,
                value: output.value,
                lock: LockView::new(&output.lock, &prefix),
                coinbase,
            })
        };
        if let Some(coin) = chain.coin(&outpoint)? {
            return Ok(view(&coin.output, tip.height.next().blocks_since(coin.height), coin.coinbase));
        }
        let pending = mempool.get(&outpoint.txid).filter(|_| include_mempool);
        let output = pending.and_then(|entry| entry.tx.outputs.get(outpoint.index as usize));
        // A data output is no coin: it cannot be spent, so it is not unspent either.
        Ok(output.filter(|output| output.key().is_some()).map_or_else(Reply::null, |output| view(output, 0, false)))
    })
    .await?
}

async fn get_tx_out_set_info(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        height: Height,
        bestblock: BlockHash,
        txouts: u64,
        /// Bitcoin Core's measure of the set that does not depend on the database: not kept.
        bogosize: u64,
        /// Equal sets have equal digests.
        #[serde(skip_serializing_if = "Option::is_none")]
        digest: Option<Hash256>,
        disk_size: u64,
        total_amount: Amount,
    }
    let has_digest = match args.get("hash_type")? {
        "digest" => true,
        "none" => false,
        other => return Err(RpcError::invalid(format!("'{other}' is not a valid hash_type"))),
    };
    let reading = |db: &Database, tip: &Entry| Ok((*tip, db.coin_stats()?, db.store().bytes_on_disk()));
    let (tip, stats, disk_size) = api.read(reading).await?;
    let (height, bestblock) = (tip.height, tip.hash);
    let (txouts, total_amount) = (stats.count, stats.value);
    let digest = has_digest.then_some(stats.digest);
    Ok(Reply::of(&Info { height, bestblock, txouts, bogosize: 0, digest, disk_size, total_amount }))
}

async fn invalidate_block(api: Api, args: Args) -> Outcome {
    let hash: BlockHash = args.get("blockhash")?;
    api.command(move |reply| Command::Invalidate(hash, reply)).await??;
    Ok(Reply::null())
}

async fn reconsider_block(api: Api, args: Args) -> Outcome {
    let hash: BlockHash = args.get("blockhash")?;
    api.command(move |reply| Command::Reconsider(hash, reply)).await??;
    Ok(Reply::null())
}
