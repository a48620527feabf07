//! What the chain and the mempool know of an address.

use serde::{Deserialize, Serialize};

use super::{Method, Outcome};
use crate::chain::Entry;
use crate::consensus::coins::{Coin, CoinView};
use crate::mempool::Mempool;
use crate::p2p::Node;
use crate::primitives::address;
use crate::primitives::hash::Txid;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{OutPoint, Transaction};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, Param, optional, required};
use crate::rpc::error::RpcError;
use crate::rpc::jsonrpc::Reply;
use crate::rpc::schema::Shape;
use crate::storage::{Database, TxLocation};

/// Coins that a balance is summed over; an address with more is an exchange's, which keeps its own books.
const MAX_COINS: usize = 1_000_000;
/// Coins or history entries in one answer.
const MAX_LISTED: usize = 100_000;

const ADDRESS: Param = required("address", Kind::Address, "The address.");

/// See [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getaddressbalance",
        params: &[ADDRESS],
        result: Shape::Object,
        about: "Grains at an address: all confirmed ones, those among them spendable now and those still immature, and \
                what the mempool would add or take.",
        run: |api, args| Box::pin(get_address_balance(api, args)),
    },
    Method {
        name: "getaddressutxos",
        params: &[
            ADDRESS,
            optional("count", Kind::Integer, "10000", "Most to list, up to 100000."),
            optional("include_mempool", Kind::Boolean, "true", "List unconfirmed coins too, after the others."),
            optional("after", Kind::Object, "null", "List the coins after this one: the last of an earlier answer."),
        ],
        result: Shape::Array(&Shape::Object),
        about: "Unspent coins of an address in the order of their outpoints, whether they can be spent now, and what in the \
                mempool spends them.",
        run: |api, args| Box::pin(get_address_utxos(api, args)),
    },
    Method {
        name: "getaddresshistory",
        params: &[
            ADDRESS,
            optional("from_height", Kind::Integer, "0", "Leave out what is below."),
            optional("count", Kind::Integer, "1000", "Most to list, up to 100000."),
            optional("newest_first", Kind::Boolean, "false", "List the newest first, those in the mempool before all."),
            optional(
                "after",
                Kind::Object,
                "null",
                "List what follows this place, an object with height and position: the last entry of an earlier answer \
                 that has one. Of the mempool, newest_first lists nothing then.",
            ),
        ],
        result: Shape::Array(&Shape::Object),
        about: "Transactions that paid an address or spent from it, oldest first, those in the mempool last.",
        run: |api, args| Box::pin(get_address_history(api, args)),
    },
    Method {
        name: "validateaddress",
        params: &[required("address", Kind::Text, "What may be an address.")],
        result: Shape::Object,
        about: "Whether text is an address of this network, and if not, why.",
        run: |api, args| Box::pin(async move { validate_address(&api, &args) }),
    },
];

fn listed(args: &Args) -> Result<usize, RpcError> {
    let count: usize = args.get("count")?;
    if count > MAX_LISTED { Err(RpcError::invalid(format!("count: at most {MAX_LISTED}"))) } else { Ok(count) }
}

/// The height at which a coin can be spent.
fn spendable_from(coin: &Coin, maturity: u32) -> u32 {
    if coin.coinbase { coin.height.saturating_add(maturity) } else { 0 }
}

/// What an unconfirmed transaction does to an address.
struct Pending {
    txid: Txid,
    time: u64,
    received: u64,
    spent: u64,
    /// Outputs to the address that nothing in the mempool spends.
    unspent: Vec<(OutPoint, u64)>,
}

/// The mempool's transactions that concern `key`, in the order in which they came. `coin` looks up confirmed coins.
fn pending<V: CoinView>(mempool: &Mempool, key: &PublicKey, view: &V) -> Result<Vec<Pending>, V::Error> {
    let mut concerned = Vec::new();
    for entry in mempool.txids().iter().filter_map(|txid| mempool.get(txid)) {
        let own = entry.tx.outpoints(entry.txid).filter(|(_, output)| output.key() == Some(key));
        let own: Vec<(OutPoint, u64)> = own.map(|(outpoint, output)| (outpoint, output.value)).collect();
        let received = own.iter().map(|(_, value)| value).sum();
        let spent = spent_from(&entry.tx, key, mempool, view)?;
        if spent == 0 && own.is_empty() {
            continue;
        }
        let unspent = own.into_iter().filter(|(outpoint, _)| mempool.spender(outpoint).is_none()).collect();
        concerned.push(Pending { txid: entry.txid, time: entry.time, received, spent, unspent });
    }
    Ok(concerned)
}

/// Grains of `key`'s coins that an unconfirmed transaction spends.
fn spent_from<V: CoinView>(tx: &Transaction, key: &PublicKey, mempool: &Mempool, view: &V) -> Result<u64, V::Error> {
    let mut sum = 0;
    for input in &tx.inputs {
        let outpoint = input.outpoint;
        let output = match mempool.get(&outpoint.txid) {
            Some(parent) => parent.tx.outputs.get(outpoint.index as usize).cloned(),
            None => view.coin(&outpoint)?.map(|coin| coin.output),
        };
        sum += output.filter(|output| output.key() == Some(key)).map_or(0, |output| output.value);
    }
    Ok(sum)
}

/// Up to `limit` confirmed coins of `key`, those after one if it is given, and the tip as of which they are.
async fn coins_of(
    api: &Api,
    key: PublicKey,
    after: Option<OutPoint>,
    limit: usize,
) -> Result<(Vec<(OutPoint, Coin)>, Entry), RpcError> {
    api.read(move |db, tip| Ok((db.address_coins(&key, after.as_ref(), limit)?, *tip))).await
}

async fn get_address_balance(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Balance {
        balance: u64,
        spendable: u64,
        immature: u64,
        pending: i64,
        coins: usize,
    }
    let key = api.key_of(args.get("address")?)?;
    let (coins, tip) = coins_of(&api, key, None, MAX_COINS + 1).await?;
    if coins.len() > MAX_COINS {
        return Err(RpcError::invalid(format!("the address has more than {MAX_COINS} coins")));
    }
    let maturity = api.params().coinbase_maturity;
    api.node(move |node, _| {
        let (chain, mempool) = (node.chain(), node.mempool());
        let next = tip.height + 1;
        let mut balance = Balance { balance: 0, spendable: 0, immature: 0, pending: 0, coins: coins.len() };
        for (outpoint, coin) in &coins {
            let value = coin.output.value;
            balance.balance += value;
            if next < spendable_from(coin, maturity) {
                balance.immature += value;
            } else if mempool.spender(outpoint).is_none() {
                balance.spendable += value;
            }
        }
        for pending in pending(mempool, &key, chain)? {
            balance.pending += pending.received as i64 - pending.spent as i64;
        }
        Ok(Reply::of(&balance))
    })
    .await?
}

async fn get_address_utxos(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Utxo {
        txid: Txid,
        vout: u32,
        value: u64,
        /// Null while unconfirmed.
        height: Option<u32>,
        confirmations: u32,
        coinbase: bool,
        /// Whether a transaction sent now may spend it.
        spendable: bool,
        /// The transaction in the mempool that does.
        #[serde(skip_serializing_if = "Option::is_none")]
        spentby: Option<Txid>,
    }
    /// Other members are passed over, so that an entry of an answer will do.
    #[derive(Deserialize)]
    struct After {
        txid: Txid,
        vout: u32,
    }
    let key = api.key_of(args.get("address")?)?;
    let count = listed(&args)?;
    let include_mempool: bool = args.get("include_mempool")?;
    let after: Option<After> = args.get("after")?;
    let after = after.map(|coin| OutPoint { txid: coin.txid, index: coin.vout });
    let (coins, tip) = coins_of(&api, key, after, count).await?;
    let maturity = api.params().coinbase_maturity;
    let listing = move |node: &mut Node, _| {
        let (chain, mempool) = (node.chain(), node.mempool());
        let next = tip.height + 1;
        let confirmed = coins.iter().map(|(outpoint, coin)| {
            let spentby = mempool.spender(outpoint);
            Utxo {
                txid: outpoint.txid,
                vout: outpoint.index,
                value: coin.output.value,
                height: Some(coin.height),
                confirmations: next.saturating_sub(coin.height),
                coinbase: coin.coinbase,
                spendable: spentby.is_none() && next >= spendable_from(coin, maturity),
                spentby,
            }
        });
        let mut utxos: Vec<Utxo> = confirmed.collect();
        if include_mempool {
            let unspent = pending(mempool, &key, chain)?.into_iter().flat_map(|pending| pending.unspent);
            utxos.extend(unspent.take(count - utxos.len()).map(|(outpoint, value)| Utxo {
                txid: outpoint.txid,
                vout: outpoint.index,
                value,
                height: None,
                confirmations: 0,
                coinbase: false,
                spendable: true,
                spentby: None,
            }));
        }
        Ok::<_, RpcError>(utxos)
    };
    Ok(Reply::of(&api.node(listing).await??))
}

async fn get_address_history(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct View {
        txid: Txid,
        /// Null while unconfirmed.
        height: Option<u32>,
        /// Its place in the block.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<u32>,
        confirmations: u32,
        /// The block's time, or when it came into the mempool.
        time: u64,
        received: u64,
        spent: u64,
    }
    /// Other members are passed over, so that an entry of an answer will do.
    #[derive(Deserialize)]
    struct After {
        height: u32,
        position: u32,
    }
    let key = api.key_of(args.get("address")?)?;
    let from_height: u32 = args.get("from_height")?;
    let count = listed(&args)?;
    let newest_first: bool = args.get("newest_first")?;
    let after: Option<After> = args.get("after")?;
    let after = after.map(|entry| TxLocation { height: entry.height, position: entry.position });
    let tree = api.tree_reader()?.clone();
    let reading = move |db: &Database, tip: &Entry| {
        let history = if newest_first {
            let last = TxLocation { height: u32::MAX, position: u32::MAX };
            let mut history = db.address_history_back(&key, after.unwrap_or(last), count)?;
            history.retain(|entry| entry.height >= from_height);
            history
        } else {
            // The place after that one. A block has far fewer transactions than positions.
            let next = |place: TxLocation| TxLocation { position: place.position.saturating_add(1), ..place };
            let from = TxLocation { height: from_height, position: 0 };
            db.address_history(&key, after.map_or(from, next).max(from), count)?
        };
        let tree = tree.read();
        let confirmed = history.into_iter().map(|entry| View {
            txid: entry.txid,
            height: Some(entry.height),
            position: Some(entry.position),
            confirmations: (tip.height + 1).saturating_sub(entry.height),
            time: tree.entry_at(entry.height).map_or(0, |block| u64::from(block.header.time)),
            received: entry.received,
            spent: entry.spent,
        });
        Ok(confirmed.collect::<Vec<View>>())
    };
    let mut entries = api.read(reading).await?;
    if newest_first && after.is_some() {
        return Ok(Reply::of(&entries));
    }
    let pending = api.node(move |node, _| pending(node.mempool(), &key, node.chain())).await??;
    let pending = pending.into_iter().map(|pending| View {
        txid: pending.txid,
        height: None,
        position: None,
        confirmations: 0,
        time: pending.time,
        received: pending.received,
        spent: pending.spent,
    });
    if newest_first {
        entries = pending.rev().chain(entries).take(count).collect();
    } else {
        entries.extend(pending.take(count - entries.len()));
    }
    Ok(Reply::of(&entries))
}

fn validate_address(api: &Api, args: &Args) -> Outcome {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Verdict {
        Valid {
            isvalid: bool,
            address: String,
            #[serde(rename = "scriptPubKey")]
            key: String,
        },
        Invalid {
            isvalid: bool,
            error: String,
        },
    }
    let verdict = match address::decode(&api.params().address_prefix, args.get("address")?) {
        Ok(key) => Verdict::Valid { isvalid: true, address: api.address_of(&key), key: hex::encode(key.0) },
        Err(error) => Verdict::Invalid { isvalid: false, error: error.to_string() },
    };
    Ok(Reply::of(&verdict))
}
