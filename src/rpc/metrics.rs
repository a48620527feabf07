//! `GET /metrics`: a node's metrics in Prometheus' text format (version 0.0.4). Needs no credentials and reveals no
//! secrets.
//!
//! Counters live in the modules that they describe; each scrape reads them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};
use tokio::time::{Duration, timeout};

use super::connections::Place;
use super::http::{Server, plain, run_blocking};
use super::methods::mining::{RATE_SPAN, hash_rate};
use super::strangers::Usage;
use crate::chain::{Histogram, Stats};
use crate::p2p::{Node, Now};
use crate::primitives::target::Target;
use crate::runtime::process::{self, ProcessUsage};
use crate::runtime::{Flow, Handle};
use crate::stratum;

/// How long the node's thread may take to answer; after it, only the other metrics are returned.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a scrape waits for those before it: for one at least, however long that takes.
const QUEUE_PATIENCE: Duration = Duration::from_secs(10);

/// `GET /metrics`. Scrapes take turns on the node's thread with all callers without credentials. They do not share
/// those callers' memory, or a flood could hide its own cost: one scrape runs at a time, and its text is short.
pub(super) async fn metrics(State(server): State<Arc<Server>>, Extension(place): Extension<Place>) -> Response {
    // A waiting connection may be closed for another, so that waiting scrapes keep no caller out.
    let Ok(Ok(turn)) = timeout(QUEUE_PATIENCE, Arc::clone(&server.scrapes).acquire_owned()).await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many scrapes: try again later");
    };
    let _busy = place.busy();
    let scraping = async move {
        let _turn = turn;
        scrape(&server).await
    };
    match run_blocking(scraping).await {
        Ok((status, text)) => (status, [("content-type", TEXT_FORMAT)], text).into_response(),
        Err(refusal) => refusal,
    }
}

async fn scrape(server: &Server) -> (StatusCode, String) {
    let api = server.api.for_stranger(0);
    let mut families = of_runtime(&api.handle);
    families.extend(api.stratum.iter().flat_map(|meters| of_stratum(meters)));
    families.extend(of_strangers(server.usage()));
    let store = api.load(|db| Ok(db.store().bytes_on_disk()));
    let node = timeout(PATIENCE, api.node(of_node));
    let (store, node) = tokio::join!(store, node);
    if let Ok(bytes) = store {
        families.push(gauge("cairn_store_bytes", "Bytes that the database takes on disk.", bytes as f64));
    }
    let ready = matches!(node, Ok(Ok(_)));
    families.push(gauge("cairn_ready", "1 once the chain is read and the node answers.", f64::from(u8::from(ready))));
    if let Ok(Ok(node)) = node {
        families.extend(node);
    }
    match TextEncoder::new().encode_to_string(&families) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Metrics that do not need the node's thread.
fn of_runtime(handle: &Handle) -> Vec<MetricFamily> {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    let totals = handle.network_totals();
    let mining = handle.miner().status();
    let flows = [("received", &totals.received), ("sent", &totals.sent)];
    let by_kind = |value: fn(&crate::runtime::Messages) -> u64| {
        let labelled = |(direction, flow): (&'static str, &Flow)| {
            let kinds = flow.by_kind().collect::<Vec<_>>();
            kinds.into_iter().map(move |(kind, messages)| {
                counter_of(value(&messages), &[("direction", direction), ("kind", kind.name())])
            })
        };
        flows.into_iter().flat_map(labelled).collect::<Vec<_>>()
    };
    let bytes = flows.map(|(direction, flow)| counter_of(flow.bytes, &[("direction", direction)]));
    let mut families = vec![
        family("cairn_build_info", "The program's version.", MetricType::GAUGE, vec![gauge_of(1.0, &version)]),
        gauge("cairn_uptime_seconds", "Seconds since the node started.", handle.uptime().as_secs_f64()),
        family("cairn_network_bytes_total", "Bytes over connections with peers.", MetricType::COUNTER, bytes.to_vec()),
        family(
            "cairn_messages_total",
            "Messages exchanged with peers.",
            MetricType::COUNTER,
            by_kind(|messages| messages.count),
        ),
        family(
            "cairn_message_bytes_total",
            "Bytes of the messages exchanged with peers, framing included.",
            MetricType::COUNTER,
            by_kind(|messages| messages.bytes),
        ),
        gauge(
            "cairn_mining_hashes_per_second",
            "Hash rate of this node's own miner, in hashes a second.",
            mining.hash_rate,
        ),
        gauge("cairn_mining_threads", "Number of mining threads.", mining.threads as f64),
        counter("cairn_mined_blocks_total", "Blocks found by this node's own miner and accepted.", mining.blocks_found),
    ];
    families.extend(of_process());
    families
}

/// What callers without credentials cost.
fn of_strangers(usage: Usage) -> Vec<MetricFamily> {
    let Usage { memory, node_calls, node_time } = usage;
    vec![
        gauge(
            "cairn_rpc_public_bytes",
            "Bytes of memory that calls without credentials and their answers take.",
            memory as f64,
        ),
        counter(
            "cairn_rpc_public_node_calls_total",
            "Calls to the node's thread that callers without credentials caused.",
            node_calls,
        ),
        family(
            "cairn_rpc_public_node_seconds_total",
            "Time of the node's thread that callers without credentials took.",
            MetricType::COUNTER,
            vec![seconds_of(node_time)],
        ),
    ]
}

/// Stratum statistics.
fn of_stratum(meters: &stratum::Meters) -> Vec<MetricFamily> {
    let stratum::Shares { accepted, stale, duplicate, low, invalid } = meters.shares();
    let shares = [
        ("accepted", accepted),
        ("stale", stale),
        ("duplicate", duplicate),
        ("low_difficulty", low),
        ("invalid", invalid),
    ]
    .map(|(result, count)| counter_of(count, &[("result", result)]));
    vec![
        gauge("cairn_stratum_connections", "Miners connected over Stratum.", meters.connections() as f64),
        family("cairn_stratum_shares_total", "Shares submitted over Stratum.", MetricType::COUNTER, shares.to_vec()),
        counter("cairn_stratum_blocks_total", "Blocks submitted over Stratum that became the tip.", meters.blocks()),
        gauge(
            "cairn_stratum_hashes_per_second",
            "Hash rate of the miners connected over Stratum, estimated from their shares.",
            meters.hash_rate(),
        ),
    ]
}

/// Processor time, memory and files of this process, under the names that Prometheus gives them everywhere. Known on Linux
/// only.
fn of_process() -> Vec<MetricFamily> {
    let Ok(ProcessUsage { cpu, resident_bytes, virtual_bytes, descriptors, max_descriptors, threads, started }) =
        process::usage()
    else {
        return Vec::new();
    };
    let mut families = vec![
        family("process_cpu_seconds_total", "Processor seconds used.", MetricType::COUNTER, vec![seconds_of(cpu)]),
        gauge("process_resident_memory_bytes", "Resident memory in bytes.", resident_bytes as f64),
        gauge("process_virtual_memory_bytes", "Virtual memory in bytes.", virtual_bytes as f64),
        gauge("process_open_fds", "Open file descriptors.", descriptors as f64),
        gauge(
            "process_start_time_seconds",
            "Start time of the process in seconds since 1970.",
            started.as_secs() as f64,
        ),
        gauge("process_threads", "Threads of the process.", threads as f64),
    ];
    if let Some(most) = max_descriptors {
        families.push(gauge("process_max_fds", "Maximum number of open file descriptors.", most as f64));
    }
    families
}

/// Metrics from the node's thread.
fn of_node(node: &Node, now: Now) -> Vec<MetricFamily> {
    let (chain, mempool) = (node.chain(), node.mempool());
    let tip = chain.tip();
    let (inbound, outbound) = node.connection_counts();
    let peers = [("inbound", inbound), ("outbound", outbound)]
        .map(|(direction, count)| gauge_of(count as f64, &[("direction", direction)]));
    let Stats { check, connect, commit, reorganisation } = chain.stats();
    vec![
        gauge("cairn_chain_height", "Height of the best chain.", f64::from(tip.height.as_u32())),
        gauge(
            "cairn_chain_headers_height",
            "Height of the best header.",
            f64::from(chain.best_header().height.as_u32()),
        ),
        gauge("cairn_chain_headers", "Headers known, on all branches.", chain.header_count() as f64),
        gauge("cairn_chain_work", "Expected hashes of the best chain.", tip.work.as_f64()),
        gauge(
            "cairn_chain_difficulty",
            "Difficulty of the tip.",
            tip.header.bits.target().map_or(0.0, Target::difficulty),
        ),
        gauge(
            "cairn_tip_timestamp_seconds",
            "Time in the tip's header, in seconds since 1970.",
            f64::from(tip.header.time),
        ),
        gauge(
            "cairn_network_hashes_per_second",
            "Hash rate of the whole network in hashes a second, estimated from recent blocks.",
            hash_rate(&chain.tree(), &tip, RATE_SPAN),
        ),
        family("cairn_peers", "Peers: connections that have completed the hello.", MetricType::GAUGE, peers.to_vec()),
        gauge("cairn_banned_subnets", "Bans in force.", node.bans(now).len() as f64),
        gauge("cairn_known_addresses", "Addresses of nodes in the address book.", node.known_addresses().len() as f64),
        gauge("cairn_kad_contacts", "Nodes in the table of contacts.", node.contacts().len() as f64),
        gauge("cairn_mempool_transactions", "Transactions in the mempool.", mempool.len() as f64),
        gauge("cairn_mempool_bytes", "Their bytes.", mempool.bytes() as f64),
        gauge("cairn_mempool_usage_bytes", "Memory that the mempool takes.", mempool.usage() as f64),
        gauge(
            "cairn_mempool_min_fee_rate",
            "Minimum fee rate for admission to the mempool, in grains a byte.",
            mempool.min_fee_rate().grains_per_byte() as f64,
        ),
        gauge("cairn_mempool_orphans", "Orphans: transactions that wait for a parent.", mempool.orphan_count() as f64),
        histogram("cairn_block_check_seconds", "Time to check the rules that need a block alone.", check),
        histogram(
            "cairn_block_connect_seconds",
            "Time to check a block against the coins, signatures included.",
            connect,
        ),
        histogram("cairn_block_commit_seconds", "Time to write the changes of a connected block.", commit),
        histogram(
            "cairn_reorganisation_depth_blocks",
            "Number of blocks that a reorganisation disconnected.",
            reorganisation,
        ),
    ]
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn labels(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

fn gauge_of(value: f64, with: &[(&str, &str)]) -> Metric {
    let (mut metric, mut gauge) = (Metric::from_label(labels(with)), Gauge::default());
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

fn counter_of(value: u64, with: &[(&str, &str)]) -> Metric {
    let (mut metric, mut counter) = (Metric::from_label(labels(with)), Counter::default());
    counter.set_value(value as f64);
    metric.set_counter(counter);
    metric
}

fn seconds_of(time: Duration) -> Metric {
    let (mut metric, mut counter) = (Metric::from_label(Vec::new()), Counter::default());
    counter.set_value(time.as_secs_f64());
    metric.set_counter(counter);
    metric
}

fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![gauge_of(value, &[])])
}

fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    family(name, help, MetricType::COUNTER, vec![counter_of(value, &[])])
}

fn histogram(name: &str, help: &str, counted: &Histogram) -> MetricFamily {
    let mut below = 0;
    // The last one, which has no bound, is written from the count.
    let buckets = counted.buckets().filter(|(bound, _)| bound.is_finite()).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let (mut metric, mut histogram) = (Metric::default(), prometheus::proto::Histogram::default());
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counted.count());
    histogram.set_sample_sum(counted.sum());
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}
