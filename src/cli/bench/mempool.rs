//! `cairn bench mempool`: rates of admission, by the pool alone, from a peer, and over RPC.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::node::{self, Node};
use super::{Figure, payments, shortest};
use crate::chain::Chain;
use crate::consensus::params::Params;
use crate::mempool::{Limits, Mempool};
use crate::p2p::{Command, Event};
use crate::primitives::codec;
use crate::primitives::hash::Txid;
use crate::primitives::keys::SignatureCheck;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::Transaction;
use crate::storage::MemoryStore;

/// Transactions that go from one node to another: as many as a node tells a new peer of.
const RELAYED: u32 = 20_000;
/// Transactions that the pool is given at a time, by itself and over RPC.
const SUBMITTED: usize = 5_000;
const ROUNDS: u32 = 3;
/// Interval of polling the pool.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Connections over which RPC is called at the same time.
const CONNECTIONS: usize = 8;

pub(super) fn run() -> anyhow::Result<(String, Vec<Figure>)> {
    let (params, mut coins) = payments::network(RELAYED)?;
    let checks = payments::signature_checks(&params, &coins[..SUBMITTED]);
    let payments = payments::payments(&params, &mut coins);
    let chain = Chain::open(params.clone(), Arc::new(MemoryStore::new()))?;
    let times = shortest(
        ROUNDS,
        &mut [
            Box::new(|| assert!(checks.iter().all(SignatureCheck::holds))),
            Box::new(|| admit(&params, &chain, &payments[..SUBMITTED])),
        ],
    );
    let rate = |time: Duration, count: usize| count as f64 / time.as_secs_f64();
    let (signatures, admission) = (rate(times[0], SUBMITTED), rate(times[1], SUBMITTED));
    let mut figures = vec![Figure::rate("admitted by the pool alone".to_owned(), admission, "tx/s", signatures)];
    let (relayed, called) = tokio::runtime::Runtime::new()?.block_on(nodes(&params, payments))?;
    figures.push(Figure::rate("from a peer over loopback, in batches".to_owned(), relayed, "tx/s", admission));
    for (connections, rate) in called {
        let name = format!("sendrawtransaction, connections: {connections}");
        figures.push(Figure::rate(name, rate, "tx/s", admission));
    }
    let about = "\
Transactions taken into the mempool, each with one signature. References: for the pool alone, signatures checked one by
one on one thread; for the others, the pool alone, which checks them one by one. From a peer, time runs from the first: a
peer waits for 50 to 350 ms before it announces anything.";
    Ok((about.to_owned(), figures))
}

fn admit(params: &Arc<Params>, chain: &Chain, payments: &[(Txid, Transaction)]) {
    let mut pool = Mempool::new(params.clone(), Limits::default());
    let now = u64::from(params.timestamp);
    let taken =
        payments.iter().filter(|(_, tx)| pool.accept(tx.clone(), chain, UnixTime::from_secs(now)).is_ok()).count();
    assert_eq!(taken, payments.len(), "all payments are valid");
}

/// Transactions a second that a node takes from a peer which has them when it connects, and over RPC.
async fn nodes(params: &Arc<Params>, payments: Vec<(Txid, Transaction)>) -> anyhow::Result<(f64, Vec<(usize, f64)>)> {
    let requests: Vec<Vec<u8>> = payments[..2 * SUBMITTED]
        .iter()
        .map(|(_, tx)| node::call("sendrawtransaction", &[json!(hex::encode(codec::encode(tx)))]))
        .collect();
    let first = Node::start(params).await?;
    let mut called = Vec::new();
    for (connections, requests) in [1, CONNECTIONS].into_iter().zip(requests.chunks(SUBMITTED)) {
        let took = first.answer_all(connections, requests).await?;
        called.push((connections, requests.len() as f64 / took.as_secs_f64()));
    }
    let count = payments.len();
    for (_, tx) in payments.into_iter().skip(requests.len()) {
        first.handle().command(move |reply| Command::SubmitTransaction(tx, reply)).await??;
    }
    let second = Node::start(params).await?;
    let mut accepted = second.handle().subscribe();
    second.connect(&first).await?;
    while !matches!(accepted.recv().await?, Event::TransactionAccepted { .. }) {}
    drop(accepted);
    let start = Instant::now();
    let len = async || second.handle().read(|node, _| node.mempool().len()).await;
    let begun = len().await?;
    while len().await? < count {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let relayed = (count - begun) as f64 / start.elapsed().as_secs_f64();
    second.stop().await?;
    first.stop().await?;
    Ok((relayed, called))
}
