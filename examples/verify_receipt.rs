//! Checks a receipt with nothing but genesis.json, as any program may: `cargo run --no-default-features --example
//! verify_receipt -- genesis.json pay.json`.

use std::error::Error;
use std::fs::{self, File};

use cairn::consensus::params::Params;
use cairn::primitives::{address, amount::format_coins};
use cairn::receipt::Receipt;

fn main() -> Result<(), Box<dyn Error>> {
    let [genesis, receipt] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "GENESIS RECEIPT")?;
    let params = Params::from_json(&fs::read_to_string(genesis)?)?;
    let receipt = Receipt::read(File::open(receipt)?)?;
    let proven = receipt.verify(&params, None)?;
    println!("{} is in block {} with {} confirmations", proven.txid, proven.block, proven.confirmations);
    for output in &receipt.transaction.outputs {
        if let Some(key) = output.key() {
            println!("{} coins to {}", format_coins(output.value), address::encode(&params.address_prefix, key));
        }
    }
    Ok(())
}
