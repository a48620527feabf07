//! Balances, coins and history of addresses.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Access, Method, Outcome};
use crate::chain::Entry;
use crate::consensus::coins::Coin;
use crate::mempool::KeyEntry;
use crate::p2p::Node;
use crate::primitives::address;
use crate::primitives::amount::Amount;
use crate::primitives::hash::Txid;
use crate::primitives::height::Height;
use crate::primitives::tx::OutPoint;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, Param, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::rpc::strangers;
use crate::rpc::values::{FromJson, required_member};
use crate::storage::{Database, TxLocation};

/// Most coins of a balance. An address with more belongs to a service with its own accounts.
const MAX_COINS: usize = 1_000_000;
/// The same for callers without credentials, who share the machine with its owner.
const MAX_PUBLIC_COINS: usize = 20_000;
/// Coins or history entries in one answer.
const MAX_LISTED: usize = 100_000;
/// Coins in one answer, unless told otherwise.
const DEFAULT_COINS: usize = 10_000;
/// How often a balance is recomputed because the tip moved.
const BALANCE_ATTEMPTS: usize = 3;

const ADDRESS: Param = required("address", Kind::Address, "The address.");

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getaddressbalance",
        access: Access::Public,
        params: &[ADDRESS],
        result: Shape::Object(&results::address::BALANCE),
        about: "The balance of an address in grains: confirmed, spendable now, still immature, and the change that the \
                mempool would make.",
        run: |api, args| Box::pin(get_address_balance(api, args)),
    },
    Method {
        name: "getaddressutxos",
        access: Access::Public,
        params: &[
            ADDRESS,
            optional(
                "count",
                Kind::Integer,
                "null",
                "Maximum number to list, up to 100000, or 1000 without credentials. Default: 10000, or 1000 without credentials.",
            ),
            optional("include_mempool", Kind::Boolean, "true", "List unconfirmed coins too, after the others."),
            optional("after", Kind::Object, "null", "Continue after this coin, the last of the previous answer."),
        ],
        result: Shape::Array(&Shape::Object(&results::address::ADDRESS_COIN)),
        about: "The unspent coins of an address in order of outpoint, whether each can be spent now, and the mempool \
                transaction that spends it, if any.",
        run: |api, args| Box::pin(get_address_utxos(api, args)),
    },
    Method {
        name: "getaddresshistory",
        access: Access::Public,
        params: &[
            ADDRESS,
            optional("from_height", Kind::Integer, "0", "Leave out blocks below this height."),
            optional(
                "count",
                Kind::Integer,
                "1000",
                "Maximum number to list, up to 100000, or 1000 without credentials.",
            ),
            optional(
                "newest_first",
                Kind::Boolean,
                "false",
                "List the newest first, beginning with those in the mempool.",
            ),
            optional(
                "after",
                Kind::Object,
                "null",
                "Continue after this place, an object with height and position: that of the last confirmed entry of the \
                 previous answer. With newest_first, the mempool's transactions are then left out.",
            ),
        ],
        result: Shape::Array(&Shape::Object(&results::address::HISTORY_ENTRY)),
        about: "Transactions that paid an address or spent from it: oldest first, and those in the mempool last.",
        run: |api, args| Box::pin(get_address_history(api, args)),
    },
    Method {
        name: "validateaddress",
        access: Access::Public,
        params: &[required("address", Kind::Text, "The text to check.")],
        result: Shape::Either(&[
            Shape::Object(&results::address::VALID_ADDRESS),
            Shape::Object(&results::address::INVALID_ADDRESS),
        ]),
        about: "Whether a text is an address of this network, and if not, why.",
        run: |api, args| Box::pin(async move { validate_address(&api, &args) }),
    },
];

/// How many entries a caller may have.
fn most_listed(api: &Api) -> usize {
    api.bound(MAX_LISTED, strangers::MAX_LISTED)
}

fn bounded(api: &Api, count: usize) -> Result<usize, RpcError> {
    let most = most_listed(api);
    if count > most { Err(RpcError::invalid(format!("count: at most {most}"))) } else { Ok(count) }
}

/// A transaction of the history as an answer lists it, by its place.
struct AfterEntry(TxLocation);

impl FromJson<'_> for AfterEntry {
    fn from_json(value: &Value) -> Result<Self, String> {
        let entry = <&Map<String, Value>>::from_json(value)?;
        let (height, position) = (required_member(entry, "height")?, required_member(entry, "position")?);
        Ok(Self(TxLocation { height, position }))
    }
}

/// The height at which a coin can be spent.
fn spendable_from(coin: &Coin, maturity: u32) -> Height {
    if coin.coinbase { coin.height.saturating_add(maturity) } else { Height::GENESIS }
}

async fn get_address_balance(api: Api, args: Args) -> Outcome {
    #[derive(Default, Serialize)]
    struct Balance {
        balance: Amount,
        spendable: Amount,
        immature: Amount,
        pending: i64,
        coins: usize,
    }
    let key = api.key_of(args.get("address")?)?;
    let (maturity, most) = (api.params().coinbase_maturity, api.bound(MAX_COINS, MAX_PUBLIC_COINS));
    for _ in 0..BALANCE_ATTEMPTS {
        let (tip, mut balance) = api
            .read(move |db, tip| {
                let mut balance = Balance::default();
                for (_, coin) in db.address_coins(&key, None, most + 1)? {
                    balance.coins += 1;
                    balance.balance = balance.balance.saturating_add(coin.output.value);
                    if tip.height.next() < spendable_from(&coin, maturity) {
                        balance.immature = balance.immature.saturating_add(coin.output.value);
                    }
                }
                Ok((tip.hash, balance))
            })
            .await?;
        if balance.coins > most {
            return Err(RpcError::invalid(format!("the address has more than {most} coins")));
        }
        let (now, sums) = api.node(move |node, _| (node.chain().tip().hash, node.mempool().key_sums(&key))).await?;
        // Otherwise a block has confirmed some of the mempool's transactions meanwhile.
        if now == tip {
            let spendable = balance.balance.saturating_sub(balance.immature);
            balance.spendable = spendable.saturating_sub(sums.spent_confirmed());
            balance.pending = sums.received.as_signed_grains() - sums.spent.as_signed_grains();
            return Ok(Reply::of(&balance));
        }
    }
    Err(RpcError::new(Code::Misc, "the tip changed while the chain was read; try again"))
}

async fn get_address_utxos(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Utxo {
        txid: Txid,
        vout: u32,
        value: Amount,
        /// Null while unconfirmed.
        height: Option<Height>,
        confirmations: u32,
        coinbase: bool,
        /// Whether a transaction sent now may spend it.
        spendable: bool,
        /// The transaction in the mempool that does.
        #[serde(skip_serializing_if = "Option::is_none")]
        spentby: Option<Txid>,
    }
    let key = api.key_of(args.get("address")?)?;
    let count = match args.get::<Option<usize>>("count")? {
        Some(count) => bounded(&api, count)?,
        None => DEFAULT_COINS.min(most_listed(&api)),
    };
    let include_mempool: bool = args.get("include_mempool")?;
    let after: Option<OutPoint> = args.get("after")?;
    let (coins, tip) = api.read(move |db, tip| Ok((db.address_coins(&key, after.as_ref(), count)?, *tip))).await?;
    let maturity = api.params().coinbase_maturity;
    let listing = move |node: &Node, _| {
        let mempool = node.mempool();
        let next = tip.height.next();
        let confirmed = coins.iter().map(|(outpoint, coin)| {
            let spentby = mempool.spender(outpoint);
            Utxo {
                txid: outpoint.txid,
                vout: outpoint.index,
                value: coin.output.value,
                height: Some(coin.height),
                confirmations: next.blocks_since(coin.height),
                coinbase: coin.coinbase,
                spendable: spentby.is_none() && next >= spendable_from(coin, maturity),
                spentby,
            }
        });
        let mut utxos: Vec<Utxo> = confirmed.collect();
        if include_mempool {
            let unspent = mempool.key_unspent(&key);
            utxos.extend(unspent.take(count.saturating_sub(utxos.len())).map(|(outpoint, value)| Utxo {
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
        utxos
    };
    let utxos = api.node(listing).await?;
    api.reply(&utxos)
}

async fn get_address_history(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct View {
        txid: Txid,
        /// Null while unconfirmed.
        height: Option<Height>,
        /// Its place in the block.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<u32>,
        confirmations: u32,
        /// The block's time, or when it came into the mempool.
        time: u64,
        received: Amount,
        spent: Amount,
    }
    let key = api.key_of(args.get("address")?)?;
    let from_height: Height = args.get("from_height")?;
    let count = bounded(&api, args.get("count")?)?;
    let newest_first: bool = args.get("newest_first")?;
    let after = args.get::<Option<AfterEntry>>("after")?.map(|AfterEntry(place)| place);
    let tree = api.tree_reader()?.clone();
    let reading = move |db: &Database, tip: &Entry| {
        let history = if newest_first {
            let last = TxLocation { height: Height::MAX, position: u32::MAX };
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
            confirmations: tip.height.next().blocks_since(entry.height),
            time: tree.entry_at(entry.height).map_or(0, |block| u64::from(block.header.time)),
            received: entry.received,
            spent: entry.spent,
        });
        Ok(confirmed.collect::<Vec<View>>())
    };
    let mut entries = api.read(reading).await?;
    if newest_first && after.is_some() {
        return api.reply(&entries);
    }
    let room = if newest_first { count } else { count.saturating_sub(entries.len()) };
    let pending = move |node: &Node, _| {
        let entries = node.mempool().key_entries(&key);
        if newest_first { entries.rev().take(room).copied().collect() } else { entries.take(room).copied().collect() }
    };
    let pending: Vec<KeyEntry> = api.node(pending).await?;
    let pending = pending.into_iter().map(|KeyEntry { txid, time, received, spent }| View {
        txid,
        height: None,
        position: None,
        confirmations: 0,
        time: time.as_secs(),
        received,
        spent,
    });
    if newest_first {
        entries = pending.chain(entries).take(count).collect();
    } else {
        entries.extend(pending);
    }
    api.reply(&entries)
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
