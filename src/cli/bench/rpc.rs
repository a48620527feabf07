//! `cairn bench rpc`: rate of answers over persistent connections.

use std::hint::black_box;

use serde_json::json;

use super::fixture::Fixture;
use super::node::{self, Node};
use super::{Figure, payments, shortest};
use crate::p2p::Command;
use crate::primitives::height::Height;
use crate::primitives::keys::SecretKey;
use crate::primitives::{address, codec};
use crate::runtime::process as own_process;
use crate::storage::BlockKey;

/// Connections over which a node is called at the same time.
const CONNECTIONS: usize = 8;
/// Calls in a run.
const CALLS: usize = 8_000;
/// Blocks asked for in a run.
const BLOCKS: usize = 50;
/// Number of runs; the shortest counts.
const ROUNDS: u32 = 5;
/// Payments sent, and blocks made, while waits are counted.
const PAID: u32 = 1_000;
const MADE: usize = 1_000;
/// Names of the threads that answer calls: of the sockets, and of the node.
const ANSWERING: [&str; 2] = ["tokio-rt-worker", "node"];
/// Payments of the block that is asked for.
const PAYMENTS: usize = 1_500;

pub(super) fn run() -> anyhow::Result<(String, Vec<Figure>)> {
    let mut figures = tokio::runtime::Runtime::new()?.block_on(measure())?;
    figures.extend(waits()?);
    let about = "\
Answers over JSON-RPC, to a client in the same process. References: for short answers, GET /health/live, which asks
nothing of the node; for blocks, the same bytes read from the store. `cairn bench mempool` has sendrawtransaction. Waits
of the node's threads beside the least that they can be: for a read, one, for the request; for a payment, one for the
request, one of the node's thread, and one for its answer; and the same three for a call that makes many blocks.";
    Ok((about.to_owned(), figures))
}

async fn measure() -> anyhow::Result<Vec<Figure>> {
    let mut chain = Fixture::new(PAYMENTS);
    let node = Node::start(&chain.params).await?;
    let mut hash = chain.params.genesis_hash;
    for _ in 0..2 {
        let block = chain.pay(PAYMENTS);
        hash = block.hash();
        node.handle().command(move |reply| Command::SubmitBlock(block, reply)).await??;
    }
    let mut figures = Vec::new();
    for connections in [1, CONNECTIONS] {
        let calls = [
            node::alive(),
            node::call("getblockhash", &[json!(2)]),
            node::call("getblockcount", &[]),
            node::call("getblockheader", &[json!(hash)]),
        ];
        let rates = rates(&node, connections, CALLS, calls).await?;
        for (name, rate) in ["getblockhash", "getblockcount", "getblockheader"].into_iter().zip(&rates[1..]) {
            figures.push(Figure::rate(format!("{name}, connections: {connections}"), *rate, "calls/s", rates[0]));
        }
    }
    // Genesis and the two above.
    let at = BlockKey { height: Height::from_u32(2), hash };
    let read = shortest(
        ROUNDS,
        &mut [Box::new(|| (0..BLOCKS).for_each(|_| drop(black_box(node.handle().db().raw_block(&at)))))],
    );
    let read = read[0].as_secs_f64() * 1e3 / BLOCKS as f64;
    for verbosity in 0..=2 {
        let rates = rates(&node, 1, BLOCKS, [node::call("getblock", &[json!(hash), json!(verbosity)])]).await?;
        figures.push(Figure::cost(format!("getblock, verbosity {verbosity}"), 1e3 / rates[0], "ms", read));
    }
    node.stop().await?;
    Ok(figures)
}

/// How often threads of a node waited for each call, over one connection, and each block.
fn waits() -> anyhow::Result<Vec<Figure>> {
    let (params, mut coins) = payments::network(PAID)?;
    let payments = payments::payments(&params, &mut coins);
    let server = tokio::runtime::Runtime::new()?;
    let node = server.block_on(Node::start(&params))?;
    // On this thread alone, whose waits are not the node's.
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut caller = client.block_on(node.caller())?;
    let payee = address::encode(&params.address_prefix, &SecretKey::from_seed([7; 32]).public_key());
    let sent =
        payments.iter().map(|(_, tx)| node::call("sendrawtransaction", &[json!(hex::encode(codec::encode(tx)))]));
    let kinds = [
        ("getblockhash: waits a call", vec![node::call("getblockhash", &[json!(0)]); CALLS], CALLS, 1.0),
        ("sendrawtransaction: waits a call", sent.collect(), payments.len(), 3.0),
        (
            "generatetoaddress: waits a block",
            vec![node::call("generatetoaddress", &[json!(MADE), json!(payee)])],
            MADE,
            3.0 / MADE as f64,
        ),
    ];
    let mut figures = Vec::new();
    for (name, requests, count, least) in kinds {
        let (waited, handed_over) = (node_waits()?, node.handle().handed_over());
        client.block_on(async {
            for request in &requests {
                caller.send(request).await?;
            }
            anyhow::Ok(())
        })?;
        let waits = (node_waits()? - waited) as f64 / count as f64;
        let handed_over = (node.handle().handed_over() - handed_over) as f64 / count as f64;
        figures.push(Figure::cost(name.to_owned(), waits, "waits", least));
        let calls = Figure::cost("  calls of the node's thread".to_owned(), handed_over, "calls", handed_over);
        figures.extend((handed_over > 0.0).then_some(calls));
    }
    server.block_on(node.stop())?;
    Ok(figures)
}

/// Waits of all threads that answer calls so far.
fn node_waits() -> anyhow::Result<u64> {
    let waits = own_process::waits()?;
    Ok(waits.iter().filter(|(name, _)| ANSWERING.iter().any(|thread| name.starts_with(thread))).map(|(_, n)| n).sum())
}

/// Answers a second to each kind of call: the best of some rounds, in which they take turns.
async fn rates<const N: usize>(
    node: &Node,
    connections: usize,
    count: usize,
    calls: [Vec<u8>; N],
) -> anyhow::Result<[f64; N]> {
    let mut best = [0f64; N];
    for _ in 0..ROUNDS {
        for (call, best) in calls.iter().zip(&mut best) {
            let took = node.answer_all(connections, &vec![call.clone(); count]).await?;
            *best = best.max(count as f64 / took.as_secs_f64());
        }
    }
    Ok(best)
}
