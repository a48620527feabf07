//! Signed messages.

use super::{Access, Method, Outcome};
use crate::primitives::address;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::schema::Shape;
use crate::wallet::message;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "signmessagewithprivkey",
        access: Access::Owner,
        params: &[
            required("privkey", Kind::Text, "A private key, as `cairn wallet private-key` prints it."),
            required("message", Kind::Text, "The text to sign."),
        ],
        result: Shape::Text,
        about: "Signs a message with a private key and returns the signature in base64. The key is neither kept nor logged.",
        run: |api, args| Box::pin(async move { sign_message(&api, &args) }),
    },
    Method {
        name: "verifymessage",
        access: Access::Public,
        params: &[
            required("address", Kind::Address, "The address of the key that is said to have signed."),
            required("signature", Kind::Text, "The signature in base64."),
            required("message", Kind::Text, "The text."),
        ],
        result: Shape::Boolean,
        about: "Whether the holder of an address signed a message.",
        run: |api, args| Box::pin(async move { verify_message(&api, &args) }),
    },
];

fn sign_message(api: &Api, args: &Args) -> Outcome {
    let params = api.params();
    // The error does not quote the key.
    let key = address::decode_secret(&params.address_prefix, args.get("privkey")?)
        .map_err(|error| RpcError::not_found(format!("Invalid private key: {error}")))?;
    Ok(Reply::of(&message::sign(&key, &params.genesis_hash, args.get("message")?)))
}

fn verify_message(api: &Api, args: &Args) -> Outcome {
    let key = api.key_of(args.get("address")?)?;
    let verdict = message::verify(&key, &api.params().genesis_hash, args.get("message")?, args.get("signature")?);
    let verdict = verdict.map_err(|error| RpcError::new(Code::Type, format!("Malformed base64 encoding: {error}")))?;
    Ok(Reply::of(&verdict))
}
