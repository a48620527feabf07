//! `cairn wallet`: keys in a file, and payments through a node.
//!
//! No option of a single payment or address is an environment variable, which would apply to all later ones.

pub(super) mod send;

mod coins;
mod history;
mod light;
pub(super) mod message;
mod offline;
mod order;
mod qr;
mod replace;
mod scan;
mod view;

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use self::light::LightArgs;
use self::offline::{BroadcastArgs, PrepareArgs, SignArgs};
use self::replace::{By, ReplaceArgs};
use self::scan::{Scan, ScanArgs};
use self::send::SendArgs;
use super::account::{self, Balance};
use super::client::ClientArgs;
use super::console::note;
use super::{Common, prompt};
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::{Amount, counted};
use crate::primitives::hash::Txid;
use crate::wallet::account::Account;
use crate::wallet::keyfile::KeyFileError;
use crate::wallet::labels::{self, Kind, LabelError, Labels};
use crate::wallet::mnemonic::Mnemonic;
use crate::wallet::{Secret, Wallet};

/// Longest wait for a node's answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Most bytes of words that are read.
const MAX_WORDS_BYTES: usize = 4096;

/// Options of `cairn wallet`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The wallet's file [default: wallet.json in the data directory]
    #[arg(long = "wallet", global = true, env = "CAIRN_WALLET", value_name = "FILE")]
    wallet: Option<PathBuf>,
    #[command(subcommand)]
    command: WalletCommand,
}

#[derive(Debug, Subcommand)]
enum WalletCommand {
    /// Create a wallet, or restore one from its words
    #[command(after_help = "\
Examples:
  cairn wallet new                       # 12 words
  cairn wallet new --words 24
  cairn wallet new --restore             # asks for the words
  cairn wallet new --restore --gap-limit 100 < words.txt

An existing file is never overwritten. At a terminal, the command asks for the passphrase that encrypts the file. Otherwise \
it takes CAIRN_PASSPHRASE, and without that the file is not encrypted.")]
    New(NewArgs),
    /// Print an address for receiving payments
    #[command(after_help = "\
Examples:
  cairn wallet address
  cairn wallet address --new             # one that was never handed out before
  cairn wallet address --new --label Ada # its label stands in the history")]
    Address {
        /// Hand out a new address
        #[arg(long)]
        new: bool,
        /// Who or what the new address is for
        #[arg(long, value_name = "TEXT", requires = "new", value_parser = label)]
        label: Option<String>,
        /// Print all addresses that were handed out, oldest first
        #[arg(long, conflicts_with = "new")]
        all: bool,
    },
    /// Search for used addresses that are not in the file, and add them
    #[command(after_help = "\
Example:
  cairn wallet scan                      # after `new --restore` without a node")]
    Scan {
        #[command(flatten)]
        node: ClientArgs,
        #[command(flatten)]
        light: LightArgs,
        #[command(flatten)]
        options: ScanArgs,
    },
    /// Sign a message with the key of an address
    #[command(after_help = "\
Examples:
  cairn wallet sign-message 'I was here.'  # with the newest address
  cairn wallet sign-message 'I was here.' --address cairn1…

Prints the signature. It is good for this network only, and spends nothing.")]
    SignMessage {
        /// The text to sign
        text: String,
        /// The address that signs [default: the newest]
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
    },
    /// Check that the holder of an address signed a message
    #[command(after_help = "\
Example:
  cairn wallet verify-message cairn1… SIGNATURE 'I was here.'

Needs no wallet and no node. Exit code 3 if the signature does not hold.")]
    VerifyMessage {
        /// The address that is said to have signed
        address: String,
        /// The signature in base64
        signature: String,
        /// The text
        text: String,
    },
    /// Print the private key of an address
    #[command(after_help = "\
Example:
  cairn wallet private-key cairn1…

Anyone who sees the key can take the coins of the address.")]
    PrivateKey {
        /// An address of this wallet
        address: String,
    },
    /// Print the words that restore the wallet
    #[command(after_help = "\
Example:
  cairn wallet words

Anyone who sees the words can take the coins.")]
    Words,
    /// Print the balance
    #[command(after_help = "\
Example:
  cairn wallet balance
  cairn wallet balance --light --peer 203.0.113.7:7331  # proven by peers")]
    Balance {
        #[command(flatten)]
        node: ClientArgs,
        #[command(flatten)]
        light: LightArgs,
    },
    /// Print the coins, by the outpoints that `send --from` takes
    #[command(after_help = "\
Example:
  cairn wallet coins")]
    Coins(ClientArgs),
    /// Pay one address or several in one transaction
    #[command(after_help = "\
Examples:
  cairn wallet send cairn1… 2.5
  cairn wallet send cairn1… 2.5 cairn1… 0.5 --label 'rent and water'
  cairn wallet send cairn1… all --dry-run  # what would be spent and paid
  cairn wallet send cairn1… 2.5 --from TXID:0 --from TXID:1
  cairn wallet send cairn1… 2.5 --data 'for the tea'
  cairn wallet send cairn1… 2.5 --wait 1   # returns when it is in a block
  cairn wallet send cairn1… 2.5 --light --peer 203.0.113.7:7331

Prints the transaction's id. Amounts are in coins; the fee is added to them, or taken from what all is. Change goes to an \
address of this wallet that is none of the payees. A payment never replaces another one of this wallet.")]
    Send {
        #[command(flatten)]
        node: ClientArgs,
        #[command(flatten)]
        light: LightArgs,
        #[command(flatten)]
        options: SendArgs,
    },
    /// Watch addresses whose keys are elsewhere
    #[command(after_help = "\
Examples:
  cairn wallet address --all > addresses   # where the keys are
  cairn wallet watch $(cat addresses)      # where the network is
  cairn wallet balance

Makes a wallet without keys, or adds to one. It shows balance and history, and prepares payments that the other wallet signs.")]
    Watch {
        /// The addresses
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<String>,
    },
    /// Prepare a payment for another wallet to sign
    #[command(after_help = "\
Examples:
  cairn wallet prepare cairn1… 2.5 -o pay.json
  cairn wallet sign pay.json -o signed.json   # where the keys are; no network
  cairn wallet broadcast signed.json

The file holds the transaction and the outputs that it spends, so that the signer sees amounts and fee, and signs them.")]
    Prepare {
        #[command(flatten)]
        node: ClientArgs,
        #[command(flatten)]
        options: PrepareArgs,
    },
    /// Sign a prepared payment, without a network
    #[command(after_help = "\
Examples:
  cairn wallet sign pay.json --dry-run     # what it spends and pays
  cairn wallet sign pay.json -o signed.json

Signs the inputs whose keys this wallet has. Several wallets may sign one after the other.")]
    Sign(SignArgs),
    /// Show a payment's file as a QR code, for the camera of a machine without a network
    #[command(after_help = "\
Examples:
  cairn wallet qr pay.json       # a reader of QR codes gives back the file
  cairn wallet sign - < scanned.json -o signed.json

Fits about ten coins spent. Nothing in the file is secret.")]
    Qr {
        /// The payment's file; - for stdin
        file: PathBuf,
    },
    /// Send a signed payment
    #[command(after_help = "\
Example:
  cairn wallet broadcast signed.json --wait 1

Prints the transaction's id. A payment never replaces another one.")]
    Broadcast {
        #[command(flatten)]
        node: ClientArgs,
        #[command(flatten)]
        options: BroadcastArgs,
    },
    /// Raise the fee of a payment that waits
    #[command(after_help = "\
Examples:
  cairn wallet bump TXID                   # by as little as nodes take
  cairn wallet bump TXID --fee-rate 20

Sends the same payment again with a higher fee, and prints its new id. The change gets less; if there is too little, \
another coin is spent too. The payees get what they got.")]
    Bump {
        #[command(flatten)]
        node: ClientArgs,
        #[command(flatten)]
        options: ReplaceArgs,
    },
    /// Take back a payment that waits
    #[command(after_help = "\
Example:
  cairn wallet cancel TXID

Spends a coin of the payment on an address of this wallet, with a higher fee, and prints the id. Miners may still choose the \
payment until this one is in a block (`--wait 1`).")]
    Cancel {
        #[command(flatten)]
        node: ClientArgs,
        #[command(flatten)]
        options: ReplaceArgs,
    },
    /// Say what a payment or an address is for
    #[command(after_help = "\
Examples:
  cairn wallet label TXID rent
  cairn wallet label cairn1… Ada          # of payments to Ada, too
  cairn wallet label TXID ''              # no label any more

Labels are kept in NAME.labels next to the wallet, in the format of BIP-329.")]
    Label {
        /// A transaction's id or an address
        reference: String,
        /// At most 255 characters
        #[arg(value_parser = label)]
        text: String,
    },
    /// Print received and sent payments, with whom and what for
    #[command(after_help = "\
Example:
  cairn wallet history --limit 5")]
    History {
        #[command(flatten)]
        node: ClientArgs,
        /// Maximum number of entries to print, the newest ones
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// Number of words
    #[arg(long, default_value = "12")]
    words: WordCount,
    /// Restore from words read from stdin, and ask a node which addresses were used
    #[arg(long)]
    restore: bool,
    /// Fail if there is no passphrase to encrypt the file with
    #[arg(long)]
    passphrase: bool,
    /// Do not encrypt the file
    #[arg(long, conflicts_with = "passphrase")]
    no_passphrase: bool,
    /// Minimum number of addresses to hand out at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    addresses: u32,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    node: ClientArgs,
    #[command(flatten)]
    light: LightArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WordCount {
    #[value(name = "12")]
    Twelve,
    #[value(name = "24")]
    TwentyFour,
}

/// Runs the command.
///
/// # Errors
/// If the wallet's file, the passphrase, the payment or the node fails.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let path = match &args.wallet {
        Some(file) => file.clone(),
        None => common.data_dir()?.join("wallet.json"),
    };
    let params = common.params()?;
    match &args.command {
        WalletCommand::New(new) => make(new, &path, &params, common),
        WalletCommand::Scan { node, light, options } => scan_existing(options, (node, light), &path, &params, common),
        WalletCommand::Address { new, label, all } => {
            let request = if *new { Request::New { label: label.as_deref() } } else { Request::Known { all: *all } };
            print_addresses(&path, &request, &params, common)
        }
        WalletCommand::SignMessage { text, address } => {
            message::sign(&Wallet::open(&path)?, address.as_deref(), text, &params, common)
        }
        WalletCommand::VerifyMessage { address, signature, text } => {
            message::verify(address, signature, text, &params, common)
        }
        WalletCommand::PrivateKey { address } => {
            message::print_private_key(&Wallet::open(&path)?, address, &params, common)
        }
        WalletCommand::Words => {
            let words = unlock(&Wallet::open(&path)?)?.words();
            common.print(|| words.to_string(), || json!({ "words": *words }))
        }
        WalletCommand::Balance { light: LightArgs { light: true, peers }, .. } => {
            light::balance(peers, &path, &params, common)
        }
        WalletCommand::Balance { node, .. } => {
            let wallet = Wallet::open(&path)?;
            let node = node.connect(common, Some(TIMEOUT))?;
            print_balance(&account::balance(&node, &addresses(&wallet, &params))?, common)
        }
        WalletCommand::Send { light: LightArgs { light: true, peers }, options, .. } => {
            light::send(options, peers, &path, &params, common)
        }
        WalletCommand::Send { node, options, .. } => send::run(options, node, &path, &params, common),
        WalletCommand::Watch { addresses } => offline::watch(addresses, &path, &params, common),
        WalletCommand::Prepare { node, options } => offline::prepare(options, node, &path, &params, common),
        WalletCommand::Sign(options) => offline::sign(options, &path, &params, common),
        WalletCommand::Qr { file } => qr::print(&offline::read(file, &params)?, &params, common),
        WalletCommand::Broadcast { node, options } => offline::broadcast(options, node, &path, &params, common),
        WalletCommand::Bump { node, options } => replace::run(options, By::HigherFee, node, &path, &params, common),
        WalletCommand::Cancel { node, options } => replace::run(options, By::Return, node, &path, &params, common),
        WalletCommand::Coins(node) => {
            let wallet = Wallet::open(&path)?;
            let node = node.connect(common, Some(TIMEOUT))?;
            coins::print(&node, &addresses(&wallet, &params), common)
        }
        WalletCommand::Label { reference, text } => {
            Wallet::open(&path)?;
            let kind = match reference.parse::<Txid>() {
                Ok(_) => Kind::Transaction,
                Err(_) => {
                    address::decode(&params.address_prefix, reference)
                        .with_context(|| format!("{reference:?} is neither a transaction's id nor an address"))?;
                    Kind::Address
                }
            };
            Ok(Labels::set(&path, kind, &reference.to_lowercase(), text)?)
        }
        WalletCommand::History { node, limit } => {
            let wallet = Wallet::open(&path)?;
            let node = node.connect(common, Some(TIMEOUT))?;
            history::print(&node, &path, &addresses(&wallet, &params), *limit, common)
        }
    }
}

/// A label, as typed.
fn label(text: &str) -> Result<String, LabelError> {
    labels::check(text).map(|()| text.to_owned())
}

fn addresses(wallet: &Wallet, params: &Params) -> Vec<String> {
    wallet.keys().iter().map(|key| address::encode(&params.address_prefix, key)).collect()
}

/// The wallet's secret; asks for the passphrase only if there is one.
fn unlock(wallet: &Wallet) -> anyhow::Result<Secret> {
    let passphrase = if wallet.is_encrypted() { Some(prompt::passphrase()?) } else { None };
    Ok(wallet.unlock(passphrase.as_ref().map(|text| text.as_str()))?)
}

fn make(new: &NewArgs, path: &Path, params: &Params, common: &Common) -> anyhow::Result<()> {
    // Checked before any prompt. Creation does not overwrite a file that appears meanwhile.
    ensure!(!path.exists(), KeyFileError::Exists { path: path.to_owned() });
    let mnemonic = if new.restore {
        Mnemonic::parse(&read_words()?)?
    } else {
        Mnemonic::generate(matches!(new.words, WordCount::TwentyFour), &mut rand::rng())
    };
    let passphrase = match (new.passphrase, new.no_passphrase) {
        (true, _) => Some(prompt::new_passphrase()?),
        (false, true) => None,
        // A program that reads JSON does not answer questions.
        (false, false) if common.json() => prompt::passphrase_from_environment()?.filter(|text| !text.is_empty()),
        (false, false) => prompt::new_passphrase_if_any()?,
    };
    let by = (&new.node, &new.light);
    let scan = new.restore.then(|| scan(&new.scan, by, &mnemonic.account(), params, common));
    let used = scan.as_ref().and_then(|scan| scan.as_ref().ok()).map_or(0, |scan| scan.used);
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    let wallet = Wallet::create(path, &mnemonic, passphrase, new.addresses.max(used), &mut rand::rng())?;
    let shown = address::encode(&params.address_prefix, &wallet.newest_key());
    let done = format!(
        "the wallet {} is made (`cairn wallet words` prints its words, `cairn wallet address` its address)",
        path.display()
    );
    common.print_done(
        done,
        || {
            let mut lines = vec![format!("wallet   {}", path.display()), format!("address  {shown}")];
            match &scan {
                None => {
                    lines.push(format!("words    {}", *mnemonic.words()));
                    lines.push("\nWrite the words down: they restore the wallet, and are enough to spend its coins.".into());
                }
                Some(Ok(scan)) => lines.push(format!("scanned  {scan}")),
                Some(Err(error)) => lines.push(format!(
                    "scanned  nothing: {error:#}\n\nThe wallet has {} of its addresses. Others that were used are found by \
                     `cairn wallet scan`, once a node answers.",
                    wallet.keys().len()
                )),
            }
            if passphrase.is_none() {
                lines.push("The file is not encrypted: keep it to yourself.".into());
            }
            lines.join("\n")
        },
        || {
            let (scanned, error) = match &scan {
                Some(Ok(scan)) => (Some(scan), None),
                Some(Err(error)) => (None, Some(format!("{error:#}"))),
                None => (None, None),
            };
            let words = (!new.restore).then(|| mnemonic.words().to_string());
            json!({ "wallet": path, "address": shown, "words": words, "scanned": scanned, "scan_error": error })
        },
    )
}

/// Looks for used addresses, with a node or by the light client.
fn scan(
    options: &ScanArgs,
    (node, light): (&ClientArgs, &LightArgs),
    account: &Account,
    params: &Params,
    common: &Common,
) -> anyhow::Result<Scan> {
    if light.light {
        return light::scan(options, &light.peers, account, common);
    }
    scan::scan(options, node, account, params, common)
}

fn scan_existing(
    options: &ScanArgs,
    by: (&ClientArgs, &LightArgs),
    path: &Path,
    params: &Params,
    common: &Common,
) -> anyhow::Result<()> {
    let secret = unlock(&Wallet::open(path)?)?;
    let scan = scan(options, by, secret.account(), params, common)?;
    let mut wallet = Wallet::lock(path, &secret)?;
    let before = wallet.keys().len();
    wallet.hand_out(&secret, scan.used)?;
    let added = wallet.keys().len() - before;
    common.print_done(
        format_args!("{} added to the wallet (`cairn wallet address --all` prints all)", counted(added, "address")),
        || format!("scanned  {scan}\nadded    {}", counted(added, "address")),
        || json!({ "scanned": scan, "added": added }),
    )
}

fn read_words() -> anyhow::Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    // Allocated at full size, many times 24 words: a growing buffer would leave copies in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(MAX_WORDS_BYTES));
    if stdin.is_terminal() {
        note("The 12 or 24 words, in one line:");
        stdin.lock().take(MAX_WORDS_BYTES as u64).read_line(&mut text).context("cannot read the words")?;
    } else {
        let read = stdin.lock().take(MAX_WORDS_BYTES as u64).read_to_string(&mut text);
        read.context("cannot read the words from stdin")?;
    }
    Ok(text)
}

/// Which addresses are asked for.
enum Request<'a> {
    New { label: Option<&'a str> },
    Known { all: bool },
}

fn print_addresses(path: &Path, request: &Request, params: &Params, common: &Common) -> anyhow::Result<()> {
    let wallet = Wallet::open(path)?;
    match request {
        Request::Known { all } => {
            let known = addresses(&wallet, params);
            let shown = if *all { &known[..] } else { &known[known.len() - 1..] };
            let json = || if *all { json!({ "addresses": shown }) } else { json!({ "address": shown.last() }) };
            common.print(|| shown.join("\n"), json)
        }
        Request::New { label } => {
            let secret = unlock(&wallet)?;
            let key = Wallet::lock(path, &secret)?.add_key(&secret)?;
            let address = address::encode(&params.address_prefix, &key);
            if let Some(label) = label {
                Labels::set(path, Kind::Address, &address, label)?;
            }
            let json = || json!({ "address": address });
            common.print_done(format_args!("{address} is handed out"), || address.clone(), json)
        }
    }
}

fn print_balance(balance: &Balance, common: &Common) -> anyhow::Result<()> {
    let text = || {
        let mut lines = vec![format!("spendable  {}", balance.spendable.in_coins())];
        if balance.immature > Amount::ZERO {
            lines.push(format!("immature   {}, mined lately", balance.immature.in_coins()));
        }
        if balance.pending != 0 {
            let moved = Amount::from_grains(balance.pending.unsigned_abs());
            let total = if balance.pending < 0 {
                balance.balance.saturating_sub(moved)
            } else {
                balance.balance.saturating_add(moved)
            };
            let unconfirmed = total.saturating_sub(balance.spendable).saturating_sub(balance.immature);
            lines.push(format!("incoming   {}, change included, not in a block yet", unconfirmed.in_coins()));
            lines.push(format!("in all     {}", total.in_coins()));
        }
        lines.join("\n")
    };
    common.print(text, || json!(balance))
}
