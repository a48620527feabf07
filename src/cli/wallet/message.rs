//! Signed messages, and the private keys that sign them elsewhere.

use anyhow::{Context, bail};
use serde_json::json;

use super::unlock;
use crate::cli::Common;
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::keys::SecretKey;
use crate::wallet::{Wallet, message};

/// The signature of a message does not hold.
#[derive(Debug, thiserror::Error)]
#[error("the holder of {address} did not sign this message on this network")]
pub struct NotSigned {
    /// The address that was named.
    address: String,
}

/// Signs `text` with the key of `address`, or of the newest one.
///
/// # Errors
/// If the address is not the wallet's, or the wallet cannot be unlocked.
pub fn sign(
    wallet: &Wallet,
    address: Option<&str>,
    text: &str,
    params: &Params,
    common: &Common,
) -> anyhow::Result<()> {
    let newest = || address::encode(&params.address_prefix, &wallet.newest_key());
    let address = address.map_or_else(newest, str::to_owned);
    let signature = message::sign(&secret_key(wallet, &address, params)?, &params.genesis_hash, text);
    common.print(|| signature.clone(), || json!({ "address": address, "signature": signature }))
}

/// Checks a signature.
///
/// # Errors
/// [`NotSigned`]; if the address or the signature is not well formed.
pub fn verify(address: &str, signature: &str, text: &str, params: &Params, common: &Common) -> anyhow::Result<()> {
    let key = address::decode(&params.address_prefix, address)?;
    if !message::verify(&key, &params.genesis_hash, text, signature)? {
        bail!(NotSigned { address: address.to_owned() });
    }
    common.print(|| format!("signed by {address}"), || json!({ "address": address, "signed": true }))
}

/// Prints the private key of one of the wallet's addresses.
///
/// # Errors
/// As [`sign`].
pub fn print_private_key(wallet: &Wallet, address: &str, params: &Params, common: &Common) -> anyhow::Result<()> {
    let key = address::encode_secret(&params.address_prefix, &secret_key(wallet, address, params)?);
    common.print(|| key.to_string(), || json!({ "address": address, "private_key": *key }))
}

fn secret_key(wallet: &Wallet, address: &str, params: &Params) -> anyhow::Result<SecretKey> {
    let key = address::decode(&params.address_prefix, address)?;
    let is_own = wallet.keys().contains(&key);
    let foreign = || format!("{address} is not an address of this wallet");
    // Before the passphrase is asked for.
    is_own.then_some(()).with_context(foreign)?;
    wallet.secret_key(&unlock(wallet)?, &key).with_context(foreign)
}
