//! Work for external miners, by BIP-22 and BIP-23: templates go out, found blocks come in.
//!
//! A miner that treats transactions as opaque bytes can use them: the coinbase comes whole, an id is the double SHA-256
//! of a transaction's bytes, and header and Merkle tree are Bitcoin's. It must not change the coinbase, so every
//! template has its own extra nonce and leaves only time and nonce to be rolled.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::{Access, Method, Outcome};
use crate::miner::template::{Template, latest_time};
use crate::primitives::block::Block;
use crate::primitives::codec::{self, CodecError};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Bits;
use crate::primitives::tx::Transaction;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::rpc::values::member;
use crate::runtime::work::{self, Rejection, TemplateError};
use crate::stratum;

/// Interval of mempool checks once a poll has waited long enough for a new tip (Bitcoin Core's 10 s).
const FEE_INTERVAL: Duration = Duration::from_secs(10);

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getblocktemplate",
        access: Access::Owner,
        params: &[optional(
            "template_request",
            Kind::Object,
            "{}",
            "As in BIP-22: \"longpollid\" waits until there is other work; \"mode\": \"proposal\" checks the block in \"data\".",
        )],
        result: Shape::Either(&[Shape::Object(&results::mining::TEMPLATE), Shape::Text, Shape::Null]),
        about: "The block to mine next, with its coinbase; at the URL path /mine/ADDRESS, the coinbase pays that address.",
        run: |api, args| Box::pin(get_block_template(api, args)),
    },
    Method {
        name: "submitblock",
        access: Access::Owner,
        params: &[
            required("hexdata", Kind::Hex, "The block, in the node's encoding or in BIP-22's."),
            optional("dummy", Kind::Any, "null", "Ignored, as BIP-22 demands."),
        ],
        result: Shape::Either(&[Shape::Null, Shape::Text]),
        about: "Validates and relays a mined block. The result is null if the block is now in the best chain, else the reason.",
        run: |api, args| Box::pin(submit_block(api, args)),
    },
    Method {
        name: "getstratuminfo",
        access: Access::Owner,
        params: &[],
        result: Shape::Object(&results::mining::STRATUM_INFO),
        about: "The miners connected over Stratum, with their shares, blocks and hash rates.",
        run: |api, _| Box::pin(async move { Ok(get_stratum_info(&api)) }),
    },
];

/// The members of a template request that are used; by BIP-22, unknown members are ignored.
struct Request {
    mode: Option<String>,
    data: Option<String>,
    longpollid: Option<String>,
}

impl Request {
    fn read(members: &Map<String, Value>) -> Result<Self, String> {
        let text = |name| member(members, name);
        Ok(Self { mode: text("mode")?, data: text("data")?, longpollid: text("longpollid")? })
    }
}

async fn get_block_template(api: Api, args: Args) -> Outcome {
    let request = Request::read(args.get("template_request")?)
        .map_err(|error| RpcError::new(Code::Type, format!("template_request: {error}")))?;
    match request.mode.as_deref() {
        None | Some("template") => {}
        Some("proposal") => return propose(&api, request.data).await,
        Some(other) => {
            return Err(RpcError::invalid(format!(
                "template_request: mode is {other:?}, expected \"template\" or \"proposal\""
            )));
        }
    }
    // Before any waiting, so that a wrong address is reported immediately.
    let payee = api.payee()?;
    let known = request.longpollid.map(|text| LongPollId::parse(&text)).transpose()?;
    if let Some(known) = &known {
        api.awake(wait_for_better(&api, known)).await?;
    }
    let (template, revision) = api.awake(api.handle.templates().get(payee, known.map(|known| known.revision))).await?;
    Ok(Reply::of(&TemplateView::new(&template, revision, &api)))
}

async fn propose(api: &Api, data: Option<String>) -> Outcome {
    let data =
        data.ok_or_else(|| RpcError::new(Code::Type, "template_request: a proposal needs the block as \"data\""))?;
    let block = decode_block(&data)?;
    let rejection = api.node(move |node, now| work::propose(node, now, block)).await??;
    Ok(Reply::of(&rejection.map(|rejection| rejection.reason)))
}

async fn submit_block(api: Api, args: Args) -> Outcome {
    let block = decode_block(args.get("hexdata")?)?;
    let rejection = api.awake(work::submit(&api.handle, block)).await??;
    if let Some(Rejection { reason, detail }) = &rejection {
        tracing::info!(reason, detail, "a block that was submitted is not the new tip");
    }
    Ok(Reply::of(&rejection.map(|rejection| rejection.reason)))
}

fn get_stratum_info(api: &Api) -> Reply {
    #[derive(Serialize)]
    struct Info {
        enabled: bool,
        connections: usize,
        accepted: u64,
        rejected: Rejected,
        /// That became the tip, found by these miners.
        blocksfound: u64,
        hashespersec: f64,
        miners: Vec<MinerView>,
    }
    #[derive(Serialize)]
    struct Rejected {
        stale: u64,
        duplicate: u64,
        lowdifficulty: u64,
        invalid: u64,
    }
    #[derive(Serialize)]
    struct MinerView {
        addr: SocketAddr,
        worker: String,
        agent: String,
        difficulty: f64,
        /// Seconds since it came.
        conntime: u64,
        accepted: u64,
        rejected: u64,
        hashespersec: f64,
    }
    let off = stratum::Meters::default();
    let meters = api.stratum.as_deref().unwrap_or(&off);
    let stratum::Shares { accepted, stale, duplicate, low, invalid } = meters.shares();
    let miners: Vec<MinerView> = meters
        .miners()
        .into_iter()
        .map(|miner| MinerView {
            addr: miner.peer,
            difficulty: miner.level.difficulty(),
            conntime: miner.since.elapsed().as_secs(),
            accepted: miner.accepted,
            rejected: miner.rejected,
            hashespersec: miner.hash_rate(),
            worker: miner.worker,
            agent: miner.agent,
        })
        .collect();
    Reply::of(&Info {
        enabled: api.stratum.is_some(),
        connections: meters.connections(),
        accepted,
        rejected: Rejected { stale, duplicate, lowdifficulty: low, invalid },
        blocksfound: meters.blocks(),
        hashespersec: meters.hash_rate(),
        miners,
    })
}

/// Reads a block in either form.
///
/// The forms differ in the count of transactions after the 80 bytes of the header: eight bytes here, a CompactSize in
/// BIP-22. A block begins with a coinbase, whose encoding is version (4 bytes), count of inputs (8), which is 0, and count of
/// outputs (8), which is not. So bytes 92 to 99 are 0 in the node's form, where the count of inputs stands there, and
/// not in BIP-22's, where at least three of them are the low bytes of the count of outputs. No valid block can be read
/// both ways.
fn decode_block(text: &str) -> Result<Block, RpcError> {
    let failed =
        |error: &dyn std::fmt::Display| RpcError::new(Code::Deserialization, format!("Block decode failed: {error}"));
    let bytes = hex::decode(text).map_err(|error| failed(&format_args!("not hex: {error}")))?;
    let is_own = bytes.get(92..100).is_some_and(|inputs| inputs.iter().all(|byte| *byte == 0));
    let block = if is_own { codec::decode(&bytes) } else { decode_bip22(&bytes) };
    block.map_err(|error| failed(&error))
}

/// Reads a block as BIP-22 has it: header, CompactSize of the count, transactions.
fn decode_bip22(bytes: &[u8]) -> Result<Block, CodecError> {
    let malformed = |reason: &str| CodecError::Malformed { what: "Block".into(), reason: reason.to_owned() };
    let (header, used): (Header, usize) = codec::decode_prefix(bytes)?;
    let mut rest = &bytes[used..];
    let short = || malformed("the bytes end within the count of transactions");
    let (width, least) = match rest.split_off_first().ok_or_else(short)? {
        0xfd => (2, 0xfd),
        0xfe => (4, 0x1_0000),
        0xff => return Err(malformed("the count of transactions is beyond any block")),
        small => (0, usize::from(*small)),
    };
    let wide = rest.split_off(..width).ok_or_else(short)?;
    let count = if width == 0 { least } else { wide.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)) };
    if count < least {
        return Err(malformed("the count of transactions is not in its shortest form"));
    }
    let mut transactions: Vec<Transaction> = Vec::new();
    for _ in 0..count {
        let (transaction, used) = codec::decode_prefix(rest)?;
        transactions.push(transaction);
        rest = &rest[used..];
    }
    if !rest.is_empty() {
        return Err(CodecError::Trailing { what: "Block".into(), used: bytes.len() - rest.len(), given: bytes.len() });
    }
    Ok(Block { header, transactions })
}

/// Names a template: the tip that it builds on and the mempool's revision, as Bitcoin Core writes it.
struct LongPollId {
    tip: BlockHash,
    revision: u64,
}

impl LongPollId {
    fn parse(text: &str) -> Result<Self, RpcError> {
        let parts =
            text.split_at_checked(64).and_then(|(tip, revision)| Some((tip.parse().ok()?, revision.parse().ok()?)));
        let (tip, revision) = parts.ok_or_else(|| {
            RpcError::invalid(format!("longpollid: this node has made no template with the id {text:?}"))
        })?;
        Ok(Self { tip, revision })
    }
}

/// Waits until the tip is another, or fees are better and some time has passed, or the server stops.
async fn wait_for_better(api: &Api, known: &LongPollId) -> Result<(), RpcError> {
    let _place = api.waiting_place()?;
    let mut tip = api.handle.tip();
    let better_fees = async {
        sleep(api.fee_patience).await;
        while api.node(|node, _| node.mempool().revision()).await? == known.revision {
            sleep(FEE_INTERVAL.min(api.fee_patience)).await;
        }
        Ok(())
    };
    tokio::select! {
        _ = tip.wait_for(|tip| tip.hash != known.tip) => Ok(()),
        better = better_fees => better,
        () = api.stopping() => Ok(()),
    }
}

impl From<TemplateError> for RpcError {
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::Stopped(stopped) => stopped.into(),
            TemplateError::Chain(error) => error.into(),
        }
    }
}

/// A template as BIP-22 and BIP-23 have it.
#[derive(Serialize)]
struct TemplateView {
    capabilities: [&'static str; 1],
    version: i32,
    /// Bitcoin's soft forks; this network has none.
    rules: [&'static str; 0],
    previousblockhash: BlockHash,
    transactions: Vec<TransactionView>,
    /// With this and without `coinbasevalue`, no miner builds a coinbase of Bitcoin's format. Polls go to the URL of
    /// the template, so there is no `longpolluri`: cpuminer would append one to its own URL.
    coinbasetxn: TransactionView,
    longpollid: String,
    target: String,
    mintime: u32,
    maxtime: u32,
    mutable: [&'static str; 1],
    noncerange: &'static str,
    sizelimit: u32,
    curtime: u32,
    bits: Bits,
    height: Height,
}

#[derive(Serialize)]
struct TransactionView {
    data: String,
    txid: Txid,
    /// Bitcoin's hash with witnesses: the id has the signatures in it, so it is the same.
    hash: Txid,
    /// Places of transactions in the list, from 1, that must come before.
    depends: Vec<usize>,
    /// For the coinbase, minus the sum of the others' fees.
    fee: i64,
}

impl TransactionView {
    fn new(transaction: &Transaction, txid: Txid, fee: i64, depends: Vec<usize>) -> Self {
        Self { data: hex::encode(codec::encode(transaction)), txid, hash: txid, depends, fee }
    }
}

impl TemplateView {
    fn new(template: &Template, revision: u64, api: &Api) -> Self {
        let Header { version, previous, time, bits, .. } = template.header;
        let places: HashMap<&Txid, usize> = template.details.iter().map(|(txid, _)| txid).zip(1..).collect();
        let transactions = template.transactions.iter().zip(template.details.iter()).map(|(tx, (txid, fee))| {
            let parents = tx.inputs.iter().filter_map(|input| places.get(&input.outpoint.txid).copied());
            let mut depends: Vec<usize> = parents.collect();
            depends.sort_unstable();
            depends.dedup();
            TransactionView::new(tx, *txid, fee.as_signed_grains(), depends)
        });
        let fees = template.fees.as_signed_grains();
        let params = api.params();
        Self {
            capabilities: ["proposal"],
            version,
            rules: [],
            previousblockhash: previous,
            transactions: transactions.collect(),
            coinbasetxn: TransactionView::new(&template.coinbase, template.coinbase.txid(), -fees, Vec::new()),
            longpollid: format!("{previous}{revision}"),
            target: hex::encode(template.target.0.to_be_bytes::<32>()),
            mintime: template.min_time,
            maxtime: latest_time(api.handle.unix_now(), params.max_future_secs).max(template.min_time),
            mutable: ["time"],
            noncerange: "00000000ffffffff",
            sizelimit: params.max_block_bytes,
            curtime: time,
            bits,
            height: template.height,
        }
    }
}
