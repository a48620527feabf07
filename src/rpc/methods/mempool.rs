//! Transactions waiting for a block.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Method, Outcome};
use crate::mempool::{Entry, Mempool};
use crate::primitives::hash::Txid;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::RpcError;
use crate::rpc::jsonrpc::Reply;

/// See [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getmempoolinfo",
        params: &[],
        about: "Size of the mempool, and the least fee in grains a byte.",
        run: |api, _| Box::pin(get_mempool_info(api)),
    },
    Method {
        name: "getrawmempool",
        params: &[optional("verbose", Kind::Boolean, "false", "Whole entries by id instead of ids.")],
        about: "The transactions in the mempool, in the order in which they came.",
        run: |api, args| Box::pin(get_raw_mempool(api, args)),
    },
    Method {
        name: "getmempoolentry",
        params: &[required("txid", Kind::Hash, "The transaction.")],
        about: "A transaction in the mempool: fee, size, and its links to others there.",
        run: |api, args| Box::pin(get_mempool_entry(api, args)),
    },
];

async fn get_mempool_info(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        loaded: bool,
        size: usize,
        bytes: usize,
        usage: usize,
        total_fee: u64,
        maxmempool: usize,
        /// Grains a byte, now.
        mempoolminfee: u64,
        /// Grains a byte, when the pool is not full.
        minrelaytxfee: u64,
        orphans: usize,
    }
    api.node(|node, _| {
        let mempool = node.mempool();
        Reply::of(&Info {
            loaded: true,
            size: mempool.len(),
            bytes: mempool.bytes(),
            usage: mempool.usage(),
            total_fee: mempool.txids().iter().filter_map(|txid| mempool.get(txid)).map(|entry| entry.fee).sum(),
            maxmempool: mempool.limits().max_bytes,
            mempoolminfee: mempool.min_fee_rate(),
            minrelaytxfee: mempool.limits().min_fee_rate,
            orphans: mempool.orphan_count(),
        })
    })
    .await
}

#[derive(Serialize)]
struct EntryView {
    vsize: usize,
    time: u64,
    height: u32,
    descendantcount: usize,
    descendantsize: usize,
    ancestorcount: usize,
    ancestorsize: usize,
    fees: Fees,
    /// Transactions of the mempool whose outputs it spends.
    depends: BTreeSet<Txid>,
    /// Transactions of the mempool that spend its outputs.
    spentby: BTreeSet<Txid>,
}

#[derive(Serialize)]
struct Fees {
    base: u64,
    ancestor: u64,
    descendant: u64,
}

impl EntryView {
    fn new(entry: &Entry, mempool: &Mempool) -> Self {
        let parents = entry.tx.inputs.iter().map(|input| input.outpoint.txid);
        let outpoints = entry.tx.outpoints(entry.txid).map(|(outpoint, _)| outpoint);
        Self {
            vsize: entry.size,
            time: entry.time,
            height: entry.height,
            descendantcount: entry.descendants.count,
            descendantsize: entry.descendants.bytes,
            ancestorcount: entry.ancestors.count,
            ancestorsize: entry.ancestors.bytes,
            fees: Fees { base: entry.fee, ancestor: entry.ancestors.fees, descendant: entry.descendants.fees },
            depends: parents.filter(|txid| mempool.contains(txid)).collect(),
            spentby: outpoints.filter_map(|outpoint| mempool.spender(&outpoint)).collect(),
        }
    }
}

async fn get_raw_mempool(api: Api, args: Args) -> Outcome {
    let verbose: bool = args.get("verbose")?;
    api.node(move |node, _| {
        let mempool = node.mempool();
        let txids = mempool.txids();
        if !verbose {
            return Reply::of(&txids);
        }
        let view = |txid: Txid| Some((txid, EntryView::new(mempool.get(&txid)?, mempool)));
        Reply::of(&txids.into_iter().filter_map(view).collect::<BTreeMap<_, _>>())
    })
    .await
}

async fn get_mempool_entry(api: Api, args: Args) -> Outcome {
    let txid: Txid = args.get("txid")?;
    api.node(move |node, _| {
        let entry = node.mempool().get(&txid).ok_or_else(|| RpcError::not_found("Transaction not in mempool"))?;
        Ok(Reply::of(&EntryView::new(entry, node.mempool())))
    })
    .await?
}
