//! The file of a payment on its way between the wallets that prepare, sign and send it. `docs/wallet.md` specifies it.
//!
//! It does for this chain what a partially signed transaction of BIP-174 does for Bitcoin: beside the transaction stand
//! the outputs that it spends, which a signer needs for the digest and wants to see. Signatures commit to them, so a file
//! that lies about a value gets signatures that no node accepts.

use serde::{Deserialize, Serialize};

use super::coins::Spendable;
use super::payment::Draft;
use crate::consensus::check;
use crate::consensus::error::RuleError;
use crate::consensus::params::Params;
use crate::primitives::address::{self, AddressError};
use crate::primitives::amount::Amount;
use crate::primitives::codec::{self, CodecError};
use crate::primitives::hash::BlockHash;
use crate::primitives::keys::{PublicKey, SecretKey, Signature, SignatureCheck};
use crate::primitives::tx::{Input, Transaction};

const FORMAT: &str = "cairn-payment";
const VERSION: u32 = 1;
/// Most bytes of a file that are read: far more than a payment of the most inputs takes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// A payment, signed or not, with the coins that it spends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentFile {
    /// With the signatures that were made. The file does not say which output is change: a signer goes by its own addresses.
    draft: Draft,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PaymentFileError {
    /// Not JSON of this shape.
    #[error("not a payment's file: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another kind, or of a later program.
    #[error(
        "not a payment's file: its format is {format:?}, version {version}; expected {FORMAT:?}, version {VERSION}"
    )]
    Format {
        /// What it says it is.
        format: String,
        /// The version that it says it has.
        version: u32,
    },
    /// Of another network.
    #[error("the payment is for the network with genesis {got}, this is {expected}")]
    Network {
        /// The file's.
        got: BlockHash,
        /// This network's.
        expected: BlockHash,
    },
    /// The transaction's bytes are none.
    #[error("the payment's transaction: {0}")]
    Transaction(#[from] CodecError),
    /// The transaction breaks a rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// An output spent is at no address of this network.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The outputs spent are not those of the inputs.
    #[error("the payment has {inputs} inputs, and spends {spent} outputs")]
    Count {
        /// Inputs of the transaction.
        inputs: usize,
        /// Outputs that are said to be spent.
        spent: usize,
    },
    /// It pays more than it spends.
    #[error("the payment spends {spent}, and pays {paid}")]
    Unbalanced {
        /// The values spent.
        spent: Amount,
        /// The values paid.
        paid: Amount,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    format: String,
    version: u32,
    genesis: BlockHash,
    /// In hex; an input without a signature has 64 bytes of zeros there.
    transaction: String,
    spent: Vec<Spent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spent {
    value: Amount,
    address: String,
}

impl PaymentFile {
    /// The file of a payment that is not signed.
    pub fn new(draft: Draft) -> Self {
        Self { draft: Draft { change: Amount::ZERO, ..draft } }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`PaymentFileError`].
    pub fn from_json(text: &str, params: &Params) -> Result<Self, PaymentFileError> {
        let Json { format, version, genesis, transaction, spent } = serde_json::from_str(text)?;
        if format != FORMAT || version != VERSION {
            return Err(PaymentFileError::Format { format, version });
        }
        if genesis != params.genesis_hash {
            return Err(PaymentFileError::Network { got: genesis, expected: params.genesis_hash });
        }
        let transaction: Transaction = codec::decode_hex(&transaction)?;
        check::check_transaction(&transaction, &transaction.txid())?;
        if transaction.inputs.len() != spent.len() {
            return Err(PaymentFileError::Count { inputs: transaction.inputs.len(), spent: spent.len() });
        }
        let coin = |(input, spent): (&Input, Spent)| {
            let key = address::decode(&params.address_prefix, &spent.address)?;
            Ok(Spendable { outpoint: input.outpoint, value: spent.value, key })
        };
        let spent = transaction.inputs.iter().zip(spent).map(coin).collect::<Result<Vec<_>, AddressError>>()?;
        let paid = Amount::saturating_sum(transaction.outputs.iter().map(|output| output.value));
        let value = Amount::saturating_sum(spent.iter().map(|coin| coin.value));
        let fee = value.checked_sub(paid).ok_or(PaymentFileError::Unbalanced { spent: value, paid })?;
        Ok(Self { draft: Draft { transaction, spent, fee, change: Amount::ZERO } })
    }

    /// The file's text.
    pub fn to_json(&self, params: &Params) -> String {
        let spent =
            |coin: &Spendable| Spent { value: coin.value, address: address::encode(&params.address_prefix, &coin.key) };
        let json = Json {
            format: FORMAT.to_owned(),
            version: VERSION,
            genesis: params.genesis_hash,
            transaction: hex::encode(codec::encode(&self.draft.transaction)),
            spent: self.draft.spent.iter().map(spent).collect(),
        };
        serde_json::to_string_pretty(&json).expect("strings and numbers always serialize") + "\n"
    }

    /// What it spends, pays and costs, with the signatures made so far and no change.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Signs the inputs whose keys `key_of` has, and answers how many these are.
    pub fn sign(&mut self, genesis: &BlockHash, key_of: impl Fn(&PublicKey) -> Option<SecretKey>) -> usize {
        let digest = self.draft.digest(genesis);
        let Draft { transaction, spent, .. } = &mut self.draft;
        let mut signed = 0;
        for (input, coin) in transaction.inputs.iter_mut().zip(spent) {
            if let Some(key) = key_of(&coin.key) {
                input.signature = key.sign(&digest);
                signed += 1;
            }
        }
        signed
    }

    /// How many inputs have no valid signature yet.
    pub fn unsigned(&self, genesis: &BlockHash) -> usize {
        let digest = self.draft.digest(genesis);
        let Draft { transaction, spent, .. } = &self.draft;
        let holds = |(input, coin): &(&Input, &Spendable)| {
            // Most inputs without a valid signature have none.
            input.signature != Signature::EMPTY
                && SignatureCheck { key: coin.key, signature: input.signature, digest }.holds()
        };
        spent.len() - transaction.inputs.iter().zip(spent).filter(holds).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::params::GenesisSpec;
    use crate::primitives::amount::FeeRate;
    use crate::primitives::hash::Txid;
    use crate::primitives::tx::{OutPoint, Output};
    use crate::wallet::payment::{Fee, Funding, Order};

    fn key(number: u8) -> SecretKey {
        SecretKey::from_seed([number; 32])
    }

    /// A payment of two owners.
    fn file() -> (PaymentFile, Params) {
        let coin = |number: u8| Spendable {
            outpoint: OutPoint { txid: Txid::from_bytes([number; 32]), index: 0 },
            value: Amount::from_grains(10_000),
            key: key(number).public_key(),
        };
        let fee = Fee::at_rate(FeeRate::from_grains_per_byte(1));
        let order = Order::pay(vec![Output::pay(key(9).public_key(), Amount::from_grains(15_000))], fee);
        let draft = order.draft(Funding::AllOf(&[coin(1), coin(2)]), key(1).public_key()).unwrap();
        (PaymentFile::new(draft), Params::new(GenesisSpec::regtest()).unwrap())
    }

    #[test]
    fn owners_sign_one_after_the_other() {
        let (mut file, params) = file();
        let genesis = params.genesis_hash;
        assert_eq!(file.unsigned(&genesis), 2);
        for owner in [1, 2] {
            let key_of = |wanted: &PublicKey| Some(key(owner)).filter(|key| key.public_key() == *wanted);
            let mut read = PaymentFile::from_json(&file.to_json(&params), &params).unwrap();
            assert_eq!(read, file);
            assert_eq!((read.sign(&genesis, key_of), read.unsigned(&genesis)), (1, 2 - usize::from(owner)));
            file = read;
        }
        assert_eq!(file.sign(&genesis, |_| None), 0);
    }

    #[test]
    fn a_lie_about_the_outputs_spent_voids_the_signatures() {
        let (mut file, params) = file();
        let genesis = params.genesis_hash;
        file.sign(&genesis, |wanted| [1, 2].map(key).into_iter().find(|key| key.public_key() == *wanted));
        assert_eq!(file.unsigned(&genesis), 0);
        let lie = file.to_json(&params).replacen("\"value\": 10000", "\"value\": 10001", 1);
        let lie = PaymentFile::from_json(&lie, &params).unwrap();
        assert_eq!((lie.draft.fee, lie.unsigned(&genesis)), (file.draft.fee.saturating_add(Amount::from_grains(1)), 2));
    }

    #[test]
    fn other_files_are_refused() {
        let (file, params) = file();
        let text = file.to_json(&params);
        let read = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            PaymentFile::from_json(&text.replacen(from, to, 1), &params)
        };
        assert!(read("", "").is_ok());
        assert!(matches!(read("{", "["), Err(PaymentFileError::Json(_))));
        assert!(matches!(read("\"spent\"", "\"spends\""), Err(PaymentFileError::Json(_))));
        assert!(matches!(read("\"version\": 1", "\"version\": 2"), Err(PaymentFileError::Format { version: 2, .. })));
        assert!(matches!(read("cairn-payment", "cairn-wallet"), Err(PaymentFileError::Format { .. })));
        let genesis = params.genesis_hash.to_string();
        assert!(matches!(read(&genesis, &"00".repeat(32)), Err(PaymentFileError::Network { .. })));
        assert!(matches!(
            read("\"transaction\": \"01", "\"transaction\": \"zz"),
            Err(PaymentFileError::Transaction(_))
        ));
        assert!(matches!(read("rcairn1", "rcairn1q"), Err(PaymentFileError::Address(_))));
        assert!(matches!(read("\"value\": 10000", "\"value\": 10"), Err(PaymentFileError::Unbalanced { .. })));
        let spent = &text[text.find("    {").unwrap()..text.rfind("    {").unwrap()];
        assert!(matches!(read(spent, ""), Err(PaymentFileError::Count { inputs: 2, spent: 1 })));
        let output = hex::encode(codec::encode(&file.draft.transaction.outputs));
        assert!(matches!(read(&output, "0000000000000000"), Err(PaymentFileError::Rule(_))));
    }
}
