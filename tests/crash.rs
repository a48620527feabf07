//! A real node, killed at random moments while it mines, pays and reorganises: every time its store opens again, and is
//! what a replay of its own blocks from genesis makes.

mod common;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use cairn::chain::{self, Chain};
use cairn::consensus::coins::Coin;
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::primitives::address;
use cairn::primitives::amount::COIN;
use cairn::primitives::codec;
use cairn::primitives::tx::{OutPoint, Output};
use cairn::rpc::client::{Client, ClientConfig};
use cairn::runtime::STORE_DIR;
use cairn::storage::SledStore;
use common::{key, spend};
use process::Place;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

/// How often the node is killed.
const KILLS: u32 = 32;
/// Coins of genesis: one a payment.
const ALLOCATIONS: u32 = 400;

fn network() -> GenesisSpec {
    let prefix = GenesisSpec::regtest().address_prefix;
    let address = address::encode(&prefix, &key(0).public_key());
    process::spec(0x207f_ffff, &vec![(address.as_str(), COIN); ALLOCATIONS as usize])
}

/// Keeps a node at work, until it answers no more.
struct Work {
    client: Client,
    rng: ChaCha20Rng,
    params: Params,
    address: String,
    /// The next coin of genesis to spend.
    next_coin: Arc<AtomicU32>,
}

impl Work {
    /// Tells `begun` of every order before it is given. Ends with the first that gets no answer.
    fn go_on(mut self, begun: &Sender<()>) {
        while begun.send(()).is_ok() && self.order().is_some() {}
    }

    fn order(&mut self) -> Option<()> {
        match self.rng.random_range(0..10) {
            0..4 => {
                let blocks = self.rng.random_range(1..6);
                self.generate(blocks)
            }
            4..7 => self.pay(),
            _ => self.reorganise(),
        }
    }

    fn generate(&mut self, blocks: u32) -> Option<()> {
        self.call("generatetoaddress", &[json!(blocks), json!(self.address)]).map(drop)
    }

    /// Spends a coin of genesis; the next block takes it in.
    fn pay(&mut self) -> Option<()> {
        let index = self.next_coin.fetch_add(1, Ordering::Relaxed) % ALLOCATIONS + 1;
        let genesis = &self.params.genesis.transactions[0];
        let output = genesis.outputs[index as usize].clone();
        let coin = (OutPoint { txid: genesis.txid(), index }, Coin { output, height: 0, coinbase: false }, &key(0));
        let outputs = vec![Output::pay(key(1).public_key(), COIN / 2), Output::pay(key(2).public_key(), COIN / 4)];
        let tx = spend(&self.params, &[coin], outputs);
        self.call("sendrawtransaction", &[json!(hex::encode(codec::encode(&tx)))]).map(drop)
    }

    /// Refuses some blocks, mines as many others and one more, and takes the first back: two branches of unequal work.
    fn reorganise(&mut self) -> Option<()> {
        let height = u32::try_from(self.call("getblockcount", &[])?.as_u64()?).ok()?;
        let depth = self.rng.random_range(1..12).min(height);
        if depth == 0 {
            return Some(());
        }
        let refused = self.call("getblockhash", &[json!(height - depth + 1)])?;
        self.call("invalidateblock", std::slice::from_ref(&refused))?;
        let longer = self.rng.random_bool(0.5);
        self.generate(if longer { depth + 1 } else { depth.max(2) - 1 })?;
        self.call("reconsiderblock", &[refused]).map(drop)
    }

    /// An error in the answer is an answer; `None` is the node's death.
    fn call(&self, method: &str, params: &[Value]) -> Option<Value> {
        use cairn::rpc::client::ClientError;
        match self.client.call(method, params) {
            Ok(value) => Some(value),
            // A payment may be of a coin that is spent already.
            Err(ClientError::Rpc { .. }) if method == "sendrawtransaction" => Some(Value::Null),
            Err(error @ ClientError::Rpc { .. }) => panic!("{method} {params:?}: {error}"),
            Err(_) => None,
        }
    }
}

#[test]
fn a_node_killed_at_any_moment_comes_back_with_the_coins_of_a_replay() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let place = Place::new();
    let spec = network();
    place.found(&spec);
    let params = Params::new(spec).unwrap();
    let next_coin = Arc::new(AtomicU32::new(0));
    let mut last = params.genesis_hash;
    let (mut reorganised, mut height) = (0, 0);
    for kill in 0..KILLS {
        let node = place.node("node", &[]);
        assert_eq!(node.tip().1, last.to_string(), "seed {seed}, before kill {kill}");
        let work = Work {
            client: Client::new(ClientConfig { url: None, data_dir: place.path("node"), timeout: None }).unwrap(),
            rng: ChaCha20Rng::seed_from_u64(rng.random()),
            params: params.clone(),
            address: address::encode(&params.address_prefix, &key(3).public_key()),
            next_coin: next_coin.clone(),
        };
        let (begun, orders) = mpsc::channel();
        let worker = std::thread::spawn(move || work.go_on(&begun));
        // The blow falls while some order is carried out, or shortly after.
        for _ in 0..rng.random_range(1..16) {
            orders.recv().expect("the node answers while it lives");
        }
        let moment = Instant::now() + Duration::from_micros(rng.random_range(0..20_000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        node.kill();
        drop(orders);
        worker.join().expect("every order is carried out, or nobody is there");

        let store = SledStore::open(&place.path("node").join(STORE_DIR)).unwrap();
        let chain = Chain::open(Arc::new(params.clone()), Arc::new(store)).unwrap();
        let report = chain::check(chain.db(), &params, &mut |_, _| {});
        let report = report.unwrap_or_else(|error| panic!("seed {seed}, after kill {kill}: {error}"));
        assert_eq!((report.height, chain.tip().hash), (chain.tip().height, chain.tip().hash));
        // What had been there after the kill before was on the disk: it is still there, with its body.
        assert!(chain.entry(&last).is_some_and(|entry| entry.has_body()), "seed {seed}: kill {kill} lost {last}");
        reorganised += u32::from(!chain.is_on_best_chain(chain.entry(&last).unwrap()));
        println!("kill {kill}: height {}, {} headers, {} coins", report.height, report.headers, report.coins);
        (last, height) = (chain.tip().hash, report.height);
    }
    println!("{KILLS} kills, {reorganised} of them with the last tip left behind");
    assert!(height > KILLS && reorganised > 0, "too little was done between kills: height {height}");
}
