//! Transactions waiting for a block.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use serde::Serialize;

use super::blockchain::lacks_blocks;
use super::{Access, Method, Outcome};
use crate::mempool::{Entry, Mempool};
use crate::p2p::{Command, Node};
use crate::primitives::amount::Amount;
use crate::primitives::hash::Txid;
use crate::primitives::height::Height;
use crate::primitives::tx::{MAX_DATA_BYTES, OutPoint};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, Param, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::rpc::strangers;
use crate::rpc::view::WEIGHT;
use crate::storage::Database;

/// Most bytes of a file that is imported: twice what a full mempool takes.
const MAX_IMPORTED: u64 = 256 << 20;

const TXID: Param = required("txid", Kind::Hash, "The transaction.");
const VERBOSE: Param =
    optional("verbose", Kind::Boolean, "false", "Whether to return whole entries by id instead of ids alone.");
const IDS_OR_ENTRIES: Shape =
    Shape::Either(&[Shape::Array(&Shape::Hash), Shape::Map(&Shape::Object(&results::mempool::MEMPOOL_ENTRY))]);

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getmempoolinfo",
        access: Access::Public,
        params: &[],
        result: Shape::Object(&results::mempool::MEMPOOL_INFO),
        about: "Size of the mempool, and the minimum fee rate in grains a byte.",
        run: |api, _| Box::pin(get_mempool_info(api)),
    },
    Method {
        name: "getrawmempool",
        access: Access::Public,
        params: &[
            VERBOSE,
            optional(
                "count",
                Kind::Integer,
                "null",
                "Maximum number to list. Default: all, or 1000 without credentials.",
            ),
            optional(
                "after",
                Kind::Hash,
                "null",
                "List those that arrived after this one; if it has left the mempool, start at the first.",
            ),
        ],
        result: IDS_OR_ENTRIES,
        about: "The transactions in the mempool, in order of arrival.",
        run: |api, args| Box::pin(get_raw_mempool(api, args)),
    },
    Method {
        name: "getmempoolentry",
        access: Access::Public,
        params: &[TXID],
        result: Shape::Object(&results::mempool::MEMPOOL_ENTRY),
        about: "A transaction in the mempool: its fee, its size, and its parents and children there.",
        run: |api, args| Box::pin(get_mempool_entry(api, args)),
    },
    Method {
        name: "getmempoolancestors",
        access: Access::Public,
        params: &[TXID, VERBOSE],
        result: IDS_OR_ENTRIES,
        about: "The ancestors of a transaction in the mempool: the unconfirmed transactions that must be mined before it.",
        run: |api, args| Box::pin(get_relatives(api, args, Mempool::ancestors)),
    },
    Method {
        name: "getmempooldescendants",
        access: Access::Public,
        params: &[TXID, VERBOSE],
        result: IDS_OR_ENTRIES,
        about: "The descendants of a transaction in the mempool: those that can be mined only after it.",
        run: |api, args| Box::pin(get_relatives(api, args, Mempool::descendants)),
    },
    Method {
        name: "gettxspendingprevout",
        access: Access::Owner,
        params: &[required("outputs", Kind::Array, "Outputs, each {\"txid\", \"vout\"}.")],
        result: Shape::Array(&Shape::Object(&results::mempool::SPENDING)),
        about: "The transaction in the mempool that spends each of these outputs, if any does.",
        run: |api, args| Box::pin(get_tx_spending_prevout(api, args)),
    },
    Method {
        name: "savemempool",
        access: Access::Owner,
        params: &[],
        result: Shape::Object(&results::mempool::SAVED_MEMPOOL),
        about: "Writes the mempool to its file, as an orderly stop does, and returns the file's name.",
        run: |api, _| Box::pin(save_mempool(api)),
    },
    Method {
        name: "importmempool",
        access: Access::Owner,
        params: &[required("filepath", Kind::Text, "The path of the file, where the node runs.")],
        result: Shape::Map(&Shape::Any),
        about: "Reads a file that savemempool wrote. As with its own when it starts, the node takes transactions that pay less than \
                the least fee, and replaces none that wait. It checks them in the moments after the answer, which is an empty object.",
        run: |api, args| Box::pin(import_mempool(api, args)),
    },
];

async fn get_mempool_info(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        loaded: bool,
        size: usize,
        bytes: usize,
        usage: usize,
        total_fee: Amount,
        maxmempool: usize,
        /// Grains a byte, now.
        mempoolminfee: u64,
        /// Grains a byte, when the pool is not full.
        minrelaytxfee: u64,
        /// Grains a byte by which a replacement must pay more.
        incrementalrelayfee: u64,
        /// Not counted: each is sent on once.
        unbroadcastcount: u32,
        /// Whether any transaction can be replaced.
        fullrbf: bool,
        /// There are no scripts.
        permitbaremultisig: bool,
        maxdatacarriersize: usize,
        /// No limit: the mempool limits ancestors and descendants, not clusters.
        limitclustercount: u32,
        limitclustersize: u32,
        optimal: bool,
        orphans: usize,
    }
    api.node(|node, _| {
        let mempool = node.mempool();
        Reply::of(&Info {
            loaded: true,
            size: mempool.len(),
            bytes: mempool.bytes(),
            usage: mempool.usage(),
            total_fee: mempool.fees(),
            maxmempool: mempool.limits().max_bytes,
            mempoolminfee: mempool.min_fee_rate().grains_per_byte(),
            minrelaytxfee: mempool.limits().min_fee_rate.grains_per_byte(),
            incrementalrelayfee: mempool.limits().min_fee_rate.grains_per_byte(),
            unbroadcastcount: 0,
            fullrbf: true,
            permitbaremultisig: false,
            maxdatacarriersize: MAX_DATA_BYTES,
            limitclustercount: 0,
            limitclustersize: 0,
            optimal: true,
            orphans: mempool.orphan_count(),
        })
    })
    .await
}

#[derive(Serialize)]
struct EntryView {
    vsize: usize,
    weight: usize,
    time: u64,
    height: Height,
    descendantcount: usize,
    descendantsize: usize,
    ancestorcount: usize,
    ancestorsize: usize,
    /// Of what a miner judges it by: [`Entry::mining_package`].
    chunkweight: usize,
    fees: Fees,
    /// Transactions of the mempool whose outputs it spends.
    depends: BTreeSet<Txid>,
    /// Transactions of the mempool that spend its outputs.
    spentby: BTreeSet<Txid>,
    /// Bitcoin's id with signatures: the id here has them in it.
    wtxid: Txid,
    #[serde(rename = "bip125-replaceable")]
    is_replaceable: bool,
    unbroadcast: bool,
}

#[derive(Serialize)]
struct Fees {
    base: Amount,
    /// With what the owner has added to its priority, which is nothing.
    modified: Amount,
    ancestor: Amount,
    descendant: Amount,
    /// Of that package.
    chunk: Amount,
}

impl EntryView {
    fn new(entry: &Entry, mempool: &Mempool) -> Self {
        let parents = entry.tx.inputs.iter().map(|input| input.outpoint.txid);
        let outpoints = entry.tx.outpoints(entry.txid).map(|(outpoint, _)| outpoint);
        let mining = entry.mining_package();
        Self {
            vsize: entry.size,
            weight: WEIGHT * entry.size,
            time: entry.time.as_secs(),
            height: entry.height,
            descendantcount: entry.descendants.count,
            descendantsize: entry.descendants.bytes,
            ancestorcount: entry.ancestors.count,
            ancestorsize: entry.ancestors.bytes,
            chunkweight: WEIGHT * mining.bytes,
            fees: Fees {
                base: entry.fee,
                modified: entry.fee,
                ancestor: entry.ancestors.fees,
                descendant: entry.descendants.fees,
                chunk: mining.fees,
            },
            depends: parents.filter(|txid| mempool.contains(txid)).collect(),
            spentby: outpoints.filter_map(|outpoint| mempool.spender(&outpoint)).collect(),
            wtxid: entry.txid,
            is_replaceable: true,
            unbroadcast: false,
        }
    }
}

async fn get_raw_mempool(api: Api, args: Args) -> Outcome {
    let verbose: bool = args.get("verbose")?;
    let (count, after): (Option<usize>, Option<Txid>) = (args.get("count")?, args.get("after")?);
    let most = api.bound(usize::MAX, strangers::MAX_LISTED);
    if count.is_some_and(|count| count > most) {
        return Err(RpcError::invalid(format!("count: at most {most} without credentials")));
    }
    let count = count.unwrap_or(most);
    let listing = move |node: &Node, _| {
        let mempool = node.mempool();
        Listed::new(mempool, mempool.txids_after(after.as_ref()).take(count).collect(), verbose)
    };
    let listed = api.node(listing).await?;
    api.reply(&listed)
}

async fn get_relatives(api: Api, args: Args, of: fn(&Mempool, &Txid) -> Vec<Txid>) -> Outcome {
    let (txid, verbose): (Txid, bool) = (args.get("txid")?, args.get("verbose")?);
    api.node(move |node, _| {
        let mempool = node.mempool();
        mempool.get(&txid).ok_or_else(not_in_mempool)?;
        Ok(Reply::of(&Listed::new(mempool, of(mempool, &txid), verbose)))
    })
    .await?
}

/// Transactions as they are listed. Collected on the node's thread, serialised elsewhere.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Ids(Vec<Txid>),
    Entries(BTreeMap<Txid, EntryView>),
}

impl Listed {
    fn new(mempool: &Mempool, txids: Vec<Txid>, verbose: bool) -> Self {
        if !verbose {
            return Self::Ids(txids);
        }
        let view = |txid: Txid| Some((txid, EntryView::new(mempool.get(&txid)?, mempool)));
        Self::Entries(txids.into_iter().filter_map(view).collect())
    }
}

async fn get_tx_spending_prevout(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Spending {
        txid: Txid,
        vout: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        spendingtxid: Option<Txid>,
    }
    let outputs: Vec<OutPoint> = args.get("outputs")?;
    if outputs.is_empty() {
        return Err(RpcError::invalid("Invalid parameter, outputs are missing"));
    }
    api.node(move |node, _| {
        let spending = |outpoint: OutPoint| Spending {
            txid: outpoint.txid,
            vout: outpoint.index,
            spendingtxid: node.mempool().spender(&outpoint),
        };
        Reply::of(&outputs.into_iter().map(spending).collect::<Vec<_>>())
    })
    .await
}

fn not_in_mempool() -> RpcError {
    RpcError::not_found("Transaction not in mempool")
}

async fn save_mempool(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Saved {
        filename: PathBuf,
    }
    let failed = |error| RpcError::new(Code::Misc, format!("Unable to dump mempool to disk: {error}"));
    Ok(Reply::of(&Saved { filename: api.awake(api.handle.save_mempool()).await?.map_err(failed)? }))
}

async fn import_mempool(api: Api, args: Args) -> Outcome {
    let failed = |error: &dyn Display| RpcError::new(Code::Misc, format!("Unable to import mempool file: {error}"));
    let path = PathBuf::from(args.get::<&str>("filepath")?);
    api.node(|node, _| {
        let chain = node.chain();
        if lacks_blocks(&chain.tree(), chain.state_load().is_some()) {
            return Err(RpcError::new(Code::NotReady, "blocks are missing whose coins its transactions may spend"));
        }
        match node.mempool().is_unfinished() {
            true => Err(RpcError::new(Code::NotReady, "transactions of a file before are still being checked")),
            false => Ok(()),
        }
    })
    .await??;
    let read = move |_: &Database| {
        let read = || {
            // To open a pipe would wait for a writer.
            if !fs::metadata(&path)?.is_file() {
                return Err(io::Error::other("it is not a file"));
            }
            let mut bytes = Vec::new();
            File::open(&path)?.take(MAX_IMPORTED + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > MAX_IMPORTED {
                return Err(io::Error::other(format!("it has more than {MAX_IMPORTED} bytes")));
            }
            Ok(bytes)
        };
        read().map_err(|error| failed(&error))
    };
    let bytes = api.load(read).await?;
    api.command(move |reply| Command::RestoreMempool(bytes, reply)).await?.map_err(|error| failed(&error))?;
    Ok(Reply::of(&BTreeMap::<&str, ()>::new()))
}

async fn get_mempool_entry(api: Api, args: Args) -> Outcome {
    let txid: Txid = args.get("txid")?;
    api.node(move |node, _| {
        let entry = node.mempool().get(&txid).ok_or_else(not_in_mempool)?;
        Ok(Reply::of(&EntryView::new(entry, node.mempool())))
    })
    .await?
}
