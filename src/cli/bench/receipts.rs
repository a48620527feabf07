//! `cairn bench receipts`: how large receipts are and how long their check takes, for chains of growing length; and the
//! light client's headers.

use std::convert::Infallible;
use std::hint::black_box;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;

use super::fixture::{Fixture, Scratch};
use super::{Figure, shortest};
use crate::consensus::headers::{Checkpoint, HeaderTail};
use crate::consensus::params::{GenesisSpec, Retarget};
use crate::light::{Headers, Kept};
use crate::p2p::message::MAX_HEADERS;
use crate::primitives::hash::LedgerRoot;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::merkle::Branch;
use crate::primitives::mmr;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::Transaction;
use crate::receipt::succinct::{Source, prove, verify_chain};
use crate::receipt::{Evidence, Receipt};
use crate::runtime::HeaderFile;

/// Blocks of the shortest chain; the next has ten times as many.
const SHORTEST: u32 = 1_000;
/// Blocks on top of the one that the receipt is for.
const DEPTH: u32 = 500;
const ROUNDS: u32 = 10;
/// Of the tree over a full block's transactions, some 5,500.
const FULL_LEVELS: u32 = 13;

/// How long the chains become.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Args {
    /// Blocks of the longest chain
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    blocks: u32,
}

pub(super) fn run(args: &Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let lengths =
        || iter::successors(Some(SHORTEST), |length| Some(length * 10)).take_while(|length| *length <= args.blocks);
    let mut spec = GenesisSpec { retarget: Retarget::Asert, max_future_secs: 360, ..GenesisSpec::regtest() };
    spec.mine_nonce();
    let mut chain = Proved::new(Fixture::of(spec.clone(), 1));
    let mut figures = Vec::new();
    for length in lengths() {
        chain.grow(length);
        figures.extend(chain.receipts("")?);
    }
    figures.extend(chain.light()?);
    drop(chain);
    let mut fixture = Fixture::of(spec, 1);
    fixture.fill(FULL_LEVELS);
    let mut chain = Proved::new(fixture);
    for length in lengths() {
        chain.grow(length);
        figures.extend(chain.receipts(" full")?);
    }
    let about = "\
Receipts in the compact form, for a payment under 500 blocks, the proof of the chain that a light client begins with, and
its headers, on a chain of blocks with a coinbase each, and on one of full blocks, 4,097 to 8,192 transactions each.
References: the headers alone, 80 bytes each, checked by a verifier that keeps none."
        .to_owned();
    Ok((about, figures))
}

/// A chain of blocks without payments, and what receipts are made from.
struct Proved {
    fixture: Fixture,
    headers: Vec<Header>,
    coinbases: Vec<Transaction>,
    /// What each block after genesis commits to besides headers.
    ledgers: Vec<LedgerRoot>,
    nodes: Vec<mmr::Node>,
    range: mmr::Range,
    /// What a verifier holds who looked at the length before.
    held: Option<Checkpoint>,
}

impl Proved {
    fn new(fixture: Fixture) -> Self {
        let genesis = &fixture.params.genesis;
        let (headers, coinbases) = (vec![genesis.header], vec![genesis.transactions[0].clone()]);
        let mut range = mmr::Range::default();
        let (header, work) = (&genesis.header, fixture.params.genesis_target.work());
        let nodes = range.push(mmr::Node::leaf(header.hash(), work, header.time));
        Self { fixture, headers, coinbases, ledgers: Vec::new(), nodes, range, held: None }
    }

    fn grow(&mut self, length: u32) {
        while self.headers.len() <= length as usize {
            self.ledgers.push(self.fixture.committed().ledger_root());
            let mut block = self.fixture.pay(0);
            let work = self.fixture.params.genesis_target.work();
            let leaf = mmr::Node::leaf(block.hash(), work, block.header.time);
            self.nodes.extend(self.range.push(leaf));
            self.headers.push(block.header);
            self.coinbases.push(block.transactions.swap_remove(0));
        }
    }

    /// A chain of headers without what is before its tip, followed from genesis.
    fn followed(&self) -> anyhow::Result<HeaderTail> {
        let mut tail = HeaderTail::new(&self.fixture.params);
        tail.extend(&self.headers[1..], &self.fixture.params).map_err(|(_, error)| error)?;
        Ok(tail)
    }

    fn receipt(&self, height: Height, evidence: Evidence) -> anyhow::Result<Receipt> {
        let (transaction, branch) = self.coinbase(height);
        let tip = self.headers[self.headers.len() - 1].hash();
        Ok(Receipt { network: self.fixture.params.genesis_hash, transaction, branch, height, evidence, tip })
    }

    fn coinbase(&self, height: Height) -> (Transaction, Branch) {
        let coinbase = self.coinbases[height.as_usize()].clone();
        (coinbase, self.fixture.branch())
    }

    /// A sample of the chain that shows a block, or none in particular if that is the tip.
    fn sample(&self, tip: Height, height: Height) -> Vec<u8> {
        let proof: Result<_, Infallible> = prove(
            &Source {
                node: &|number| Ok(self.nodes[number as usize]),
                header: &|height| Ok(self.headers[height.as_usize()]),
                coinbase: &|height| {
                    let (coinbase, branch) = self.coinbase(height);
                    Ok((coinbase, branch, self.ledgers[height.as_usize() - 1]))
                },
            },
            tip,
            height,
        );
        let Ok(proof) = proof;
        proof
    }

    /// Receipts of all shapes for a block of the chain as long as it is, and what a light client is sent that begins there. `kind`
    /// is said before its blocks.
    fn receipts(&mut self, kind: &str) -> anyhow::Result<Vec<Figure>> {
        let tip = Height::from_u32(self.headers.len() as u32 - 1);
        let height = tip.saturating_sub(DEPTH);
        let mut receipts = vec![
            ("all headers", self.receipt(height, Evidence::Headers(self.headers[1..].to_vec()))?, None),
            ("succinct", self.receipt(height, Evidence::Succinct(self.sample(tip, height)))?, None),
        ];
        let checkpoint = self.followed()?.checkpoint();
        if let Some(held) = self.held.replace(checkpoint) {
            let headers = self.headers[held.height.as_usize() + 1..].to_vec();
            let since = Evidence::Since { height: held.height, hash: held.tip.hash(), headers };
            receipts.push(("since a tenth", self.receipt(height, since)?, Some(held)));
        }
        let params = &self.fixture.params;
        let mut figures = Vec::new();
        for (shape, receipt, held) in receipts {
            let bytes = receipt.to_bytes();
            let verify = || -> anyhow::Result<_> {
                Ok(Receipt::from_bytes(black_box(&bytes))?.verify(
                    params,
                    held.as_ref(),
                    UnixTime::from_secs(u64::MAX),
                )?)
            };
            ensure!(verify()?.height == height, "the receipt is for another block");
            figures
                .extend(self.measured(&format!("{shape}, {tip}{kind} blocks"), &bytes, &|| drop(black_box(verify()))));
        }
        let bytes = self.sample(tip, tip);
        ensure!(verify_chain(&bytes, params)?.tail.height() == tip, "the proof is of another chain");
        let verify = || drop(black_box(verify_chain(black_box(&bytes), params)));
        figures.extend(self.measured(&format!("light client, {tip}{kind} blocks"), &bytes, &verify));
        Ok(figures)
    }

    /// What the check of a proof takes, and its size.
    fn measured(&self, name: &str, bytes: &[u8], verify: &dyn Fn()) -> [Figure; 2] {
        let times = shortest(ROUNDS, &mut [Box::new(verify), Box::new(|| drop(black_box(self.followed())))]);
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let headers = (self.headers.len() - 1) as f64 * 0.08;
        [
            Figure::cost(format!("{name}, checked"), millis(times[0]), "ms", millis(times[1])),
            Figure::cost(format!("{name}, size"), bytes.len() as f64 / 1e3, "kB", headers),
        ]
    }

    /// The light client's chain: its file opened and checked, and messages of a peer taken.
    fn light(&self) -> anyhow::Result<[Figure; 2]> {
        let dir = Scratch::new()?;
        let path = dir.path().join("headers");
        let params = &self.fixture.params;
        let open = || HeaderFile::open(&path)?.load(Arc::clone(params));
        let extend = || -> anyhow::Result<Headers> {
            let mut chain = Headers::new(Arc::clone(params));
            for message in self.headers[1..].chunks(MAX_HEADERS) {
                chain.extend(black_box(message)).1?;
            }
            Ok(chain)
        };
        if let Some(Kept { beginning, above, headers }) = extend()?.take_changes() {
            HeaderFile::open(&path)?.replace(beginning, above, &headers)?;
        }
        let length = self.headers.len() - 1;
        ensure!(open()?.height().as_usize() == length, "the file is short");
        let times = shortest(
            ROUNDS,
            &mut [
                Box::new(|| drop(black_box(open()))),
                Box::new(|| drop(black_box(extend()))),
                Box::new(|| drop(black_box(self.followed()))),
            ],
        );
        let figure = |what: &str, n: usize| {
            let millis = |n: usize| times[n].as_secs_f64() * 1e3;
            Figure::cost(format!("{length} headers of a light client {what}"), millis(n), "ms", millis(2))
        };
        Ok([figure("opened", 0), figure("from a peer", 1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_of_all_shapes_hold() {
        let mut fixture = Fixture::new(1);
        fixture.fill(3);
        let mut chain = Proved::new(fixture);
        chain.grow(600);
        assert_eq!(chain.receipts("").unwrap().len(), 6);
        chain.grow(1_200);
        assert_eq!(chain.receipts("").unwrap().len(), 8);
    }
}
