//! Checks a receipt with nothing but genesis.json, as any program may: `cargo run -p cairn-core --example verify_receipt --
//! genesis.json pay.json`.

use std::error::Error;
use std::fs::{self, File};
use std::time::{SystemTime, UNIX_EPOCH};

use cairn_core::consensus::params::Params;
use cairn_core::primitives::address;
use cairn_core::primitives::time::UnixTime;
use cairn_core::receipt::Receipt;

fn main() -> Result<(), Box<dyn Error>> {
    let [genesis, receipt] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "GENESIS RECEIPT")?;
    let params = Params::from_json(&fs::read_to_string(genesis)?)?;
    let receipt = Receipt::read(File::open(receipt)?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let proven = receipt.verify(&params, None, UnixTime::from_secs(now))?;
    proven.warnings().iter().for_each(|text| eprintln!("warning: {text}"));
    proven.demand(6)?; // The work of six blocks on top.
    println!("{} is in block {} with {} confirmations", proven.txid, proven.block, proven.weight.confirmations);
    for output in &receipt.transaction.outputs {
        if let Some(key) = output.key() {
            println!("{} to {}", output.value.in_coins(), address::encode(&params.address_prefix, key));
        }
    }
    Ok(())
}
