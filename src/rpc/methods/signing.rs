//! Transactions made and signed from their parts.

use serde::Serialize;
use serde_json::{Map, Value};

use super::rawtx::{coins_of, decode};
use super::{Access, Method, Outcome};
use crate::consensus::check;
use crate::primitives::address;
use crate::primitives::amount::Amount;
use crate::primitives::hash::Txid;
use crate::primitives::keys::{PublicKey, SecretKey, Signature, SignatureCheck};
use crate::primitives::tx::{Input, OutPoint, Output, Transaction};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::rpc::values::{FromJson, member, required_member};
use crate::rpc::view::hex_of;

/// Most transactions that are combined: as many as a transaction has signers, within reason.
const MAX_COMBINED: usize = 1_000;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "createrawtransaction",
        access: Access::Owner,
        params: &[
            required("inputs", Kind::Array, "The coins to spend: objects with txid and vout."),
            required(
                "outputs",
                Kind::Any,
                "An array of objects, each with an address and its grains or with data in hex under the name data; or one \
                 object of all.",
            ),
            optional("locktime", Kind::Integer, "0", "The lowest height of a block that may hold it."),
        ],
        result: Shape::Hex,
        about: "A transaction with these inputs and outputs, not signed: each signature is 64 zero bytes. Neither the coins nor the \
                fee are looked at.",
        run: |api, args| Box::pin(async move { create(&api, &args) }),
    },
    Method {
        name: "signrawtransactionwithkey",
        access: Access::Owner,
        params: &[
            required("hexstring", Kind::Hex, "A transaction's encoding."),
            required("privkeys", Kind::Array, "Private keys, as `cairn wallet private-key` prints them."),
            optional(
                "prevtxs",
                Kind::Array,
                "null",
                "Outputs that it spends and that the chain and the mempool need not have: objects with txid, vout, amount in grains, \
                 and scriptPubKey (the key in hex) or address.",
            ),
        ],
        result: Shape::Object(&results::transaction::SIGNED),
        about: "Signs the inputs of a transaction whose keys are given. A signature commits to all outputs spent, so all must be known. \
                The keys are neither kept nor logged.",
        run: |api, args| Box::pin(sign(api, args)),
    },
    Method {
        name: "combinerawtransaction",
        access: Access::Owner,
        params: &[required("txs", Kind::Array, "Encodings in hex of one transaction, each signed in part.")],
        result: Shape::Hex,
        about: "The transaction with the signatures of all of them. Whether these hold is not looked at.",
        run: |_, args| Box::pin(async move { combine(&args) }),
    },
];

fn create(api: &Api, args: &Args) -> Outcome {
    let outpoints: Vec<OutPoint> = args.get("inputs")?;
    let inputs = outpoints.into_iter().map(|outpoint| Input { outpoint, signature: Signature::EMPTY }).collect();
    let given: Value = args.get("outputs")?;
    let objects = match &given {
        Value::Object(object) => vec![object],
        _ => args.get::<Vec<&Map<String, Value>>>("outputs")?,
    };
    let outputs = objects.into_iter().flatten().map(|(name, value)| output(api, name, value));
    let outputs = outputs.collect::<Result<Vec<Output>, RpcError>>()?;
    let tx = Transaction { version: 1, inputs, outputs, lock_height: args.get("locktime")? };
    check::check_transaction(&tx, &tx.txid()).map_err(|error| RpcError::invalid(error.to_string()))?;
    Ok(Reply::of(&hex_of(&tx)))
}

fn output(api: &Api, name: &str, value: &Value) -> Result<Output, RpcError> {
    let invalid = |error: String| RpcError::invalid(format!("outputs: {name}: {error}"));
    if name == "data" {
        let text = <&str>::from_json(value).map_err(invalid)?;
        return Ok(Output::data(hex::decode(text).map_err(|error| invalid(error.to_string()))?));
    }
    let grains = u64::from_json(value).map_err(invalid)?;
    Ok(Output::pay(api.key_of(name)?, Amount::from_grains(grains)))
}

/// An output spent, as the caller describes it.
fn previous(api: &Api, given: &Value) -> Result<(OutPoint, Output), RpcError> {
    let invalid = |error: String| RpcError::invalid(format!("prevtxs: {error}"));
    let outpoint = OutPoint::from_json(given).map_err(invalid)?;
    let object = <&Map<String, Value>>::from_json(given).map_err(invalid)?;
    let value = Amount::from_grains(required_member(object, "amount").map_err(invalid)?);
    let key = match member::<&str>(object, "address").map_err(invalid)? {
        Some(text) => api.key_of(text)?,
        None => {
            let text: &str = required_member(object, "scriptPubKey").map_err(invalid)?;
            let mut key = [0; 32];
            hex::decode_to_slice(text, &mut key)
                .map_err(|error| invalid(format!("scriptPubKey: expected a key of 32 bytes in hex: {error}")))?;
            PublicKey(key)
        }
    };
    Ok((outpoint, Output::pay(key, value)))
}

async fn sign(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Signed {
        hex: String,
        complete: bool,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        errors: Vec<Unsigned>,
    }
    #[derive(Serialize)]
    struct Unsigned {
        txid: Txid,
        vout: u32,
        error: &'static str,
    }
    let mut tx: Transaction = decode(args.get("hexstring")?)?;
    // The errors do not quote keys.
    let prefix = &api.params().address_prefix;
    let keys = args.get::<Vec<&str>>("privkeys")?.into_iter().map(|text| address::decode_secret(prefix, text));
    let keys = keys.collect::<Result<Vec<SecretKey>, _>>();
    let keys = keys.map_err(|error| RpcError::not_found(format!("Invalid private key: {error}")))?;
    let given = args.get::<Option<Vec<Value>>>("prevtxs")?.unwrap_or_default();
    let given = given.iter().map(|given| previous(&api, given)).collect::<Result<Vec<_>, _>>()?;

    let mut spent = Vec::with_capacity(tx.inputs.len());
    for (input, known) in tx.inputs.iter().zip(coins_of(&api, &tx).await?) {
        let given = given.iter().find(|(outpoint, _)| *outpoint == input.outpoint).map(|(_, output)| output.clone());
        let known = known.map(|coin| coin.output);
        if given.as_ref().zip(known.as_ref()).is_some_and(|(given, known)| given != known) {
            let outpoint = input.outpoint;
            let differs = format!("Previous output mismatch: {outpoint} has another value or key than prevtxs says");
            return Err(RpcError::new(Code::Deserialization, differs));
        }
        spent.push(given.or(known));
    }
    let unknown: Vec<bool> = spent.iter().map(Option::is_none).collect();
    let mut held = vec![false; spent.len()];
    if let Some(spent) = spent.into_iter().collect::<Option<Vec<Output>>>() {
        let digest = tx.signature_digest(&api.params().genesis_hash, &spent);
        for ((input, output), held) in tx.inputs.iter_mut().zip(&spent).zip(&mut held) {
            let Some(key) = output.key() else { continue };
            if let Some(secret) = keys.iter().find(|secret| secret.public_key() == *key) {
                input.signature = secret.sign(&digest);
            }
            *held = SignatureCheck { key: *key, signature: input.signature, digest }.holds();
        }
    }
    let is_any_unknown = unknown.contains(&true);
    let errors: Vec<Unsigned> = tx
        .inputs
        .iter()
        .zip(unknown.iter().zip(&held))
        .filter(|(_, (_, held))| !**held)
        .map(|(Input { outpoint, .. }, (unknown, _))| {
            let error = match (*unknown, is_any_unknown) {
                (true, _) => "Input not found or already spent",
                (false, true) => "Another input is not known, and signatures commit to all",
                (false, false) => "No valid signature, and no key for it",
            };
            Unsigned { txid: outpoint.txid, vout: outpoint.index, error }
        })
        .collect();
    Ok(Reply::of(&Signed { hex: hex_of(&tx), complete: errors.is_empty(), errors }))
}

fn combine(args: &Args) -> Outcome {
    let txs: Vec<&str> = args.get("txs")?;
    if !(1..=MAX_COMBINED).contains(&txs.len()) {
        return Err(RpcError::invalid(format!("txs: expected 1 to {MAX_COMBINED} transactions")));
    }
    let mut txs = txs.into_iter().map(decode).collect::<Result<Vec<Transaction>, _>>()?.into_iter();
    let mut combined = txs.next().ok_or_else(|| RpcError::invalid("Missing transactions"))?;
    for tx in txs {
        let outpoints = |tx: &Transaction| tx.inputs.iter().map(|input| input.outpoint).collect::<Vec<_>>();
        let parts = |tx: &Transaction| (tx.version, outpoints(tx), tx.outputs.clone(), tx.lock_height);
        if parts(&tx) != parts(&combined) {
            return Err(RpcError::invalid("txs: not all are the same transaction"));
        }
        for (input, other) in combined.inputs.iter_mut().zip(tx.inputs) {
            if input.signature == Signature::EMPTY {
                input.signature = other.signature;
            }
        }
    }
    Ok(Reply::of(&hex_of(&combined)))
}
