//! `cairn bench rpc`: rate of answers over persistent connections.

use std::hint::black_box;

use serde_json::json;

use super::fixture::Fixture;
use super::node::{self, Node};
use super::{Figure, shortest};
use crate::p2p::Command;
use crate::primitives::height::Height;
use crate::storage::BlockKey;

/// Connections over which a node is called at the same time.
const CONNECTIONS: usize = 8;
/// Calls in a run.
const CALLS: usize = 8_000;
/// Blocks asked for in a run.
const BLOCKS: usize = 50;
/// Number of runs; the shortest counts.
const ROUNDS: u32 = 5;
/// Payments of the block that is asked for.
const PAYMENTS: usize = 1_500;

pub(super) fn run() -> anyhow::Result<(String, Vec<Figure>)> {
    let figures = tokio::runtime::Runtime::new()?.block_on(measure())?;
    let about = "\
Answers over JSON-RPC, to a client in the same process. References: for short answers, GET /health/live, which asks
nothing of the node; for blocks, the same bytes read from the store. `cairn bench mempool` has sendrawtransaction.";
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
