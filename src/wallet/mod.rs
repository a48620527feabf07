//! Keys and payments, without any network: the basis of the wallet commands, of the test network's demo wallet and of
//! the browser's page.
//!
//! [`words`] reads and writes backups, [`account`] derives keys from them, [`sealed`] encrypts them, [`coins`] chooses what
//! to spend, and [`payment`] builds and signs: that much a page has too. With the feature `node`, [`mnemonic`] and
//! [`keyfile`] keep a [`Wallet`] in a file, [`payment_file`] carries a payment to its signers, [`replacement`] makes one
//! again that waits; [`labels`] keeps what payments are for, and [`message`] signs text.

pub mod account;
pub mod coins;
#[cfg(feature = "node")]
pub mod keyfile;
#[cfg(feature = "node")]
pub mod labels;
#[cfg(feature = "node")]
pub mod message;
#[cfg(feature = "node")]
pub mod mnemonic;
#[cfg(feature = "node")]
mod on_disk;
pub mod payment;
#[cfg(feature = "node")]
pub mod payment_file;
#[cfg(feature = "node")]
pub mod replacement;
pub mod sealed;
pub mod words;

#[cfg(feature = "node")]
pub use on_disk::{LockedWallet, Secret, Wallet};
