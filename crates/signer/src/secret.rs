//! Functions of a secret: words, sealed bytes, keys and signatures.

use cairn::primitives::amount::Amount;
use cairn::primitives::codec;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::keys::PublicKey;
use cairn::primitives::tx::{Output, Transaction};
use cairn::wallet::account::Account;
use cairn::wallet::coins::Spendable;
use cairn::wallet::payment::Draft;
use cairn::wallet::sealed::{self, Costs};
use cairn::wallet::words;

/// Most keys of a wallet.
const MAX_KEYS: u32 = 1_000;

/// A secret that was unlocked, and the first keys of it.
pub(crate) struct Secret {
    account: Account,
    keys: Vec<PublicKey>,
}

impl Secret {
    /// The first `count` keys of words.
    pub(crate) fn new(words: &[u8], count: u32) -> Option<Self> {
        let account = Account::of_words(std::str::from_utf8(words).ok()?);
        let keys = (0..count.min(MAX_KEYS)).map(|index| account.key(index).public_key()).collect();
        Some(Self { account, keys })
    }

    /// The keys, 32 bytes each.
    pub(crate) fn keys(&self) -> Vec<u8> {
        self.keys.iter().flat_map(|key| key.0).collect()
    }

    /// See [`crate::sign`].
    pub(crate) fn sign(&self, input: &[u8]) -> Option<Vec<u8>> {
        let (genesis, draft) = input.split_first_chunk()?;
        let (transaction, outputs): (Transaction, Vec<Output>) = codec::decode(draft).ok()?;
        if outputs.len() != transaction.inputs.len() {
            return None;
        }
        let spendable =
            |(output, outpoint): (&Output, _)| Some(Spendable { outpoint, value: output.value, key: *output.key()? });
        let outpoints = transaction.inputs.iter().map(|input| input.outpoint);
        let spent = outputs.iter().zip(outpoints).map(spendable).collect::<Option<_>>()?;
        let draft = Draft { transaction, spent, fee: Amount::ZERO, change: Amount::ZERO };
        let key_of = |key: &PublicKey| {
            let index = self.keys.iter().position(|own| own == key)?;
            Some(self.account.key(index as u32))
        };
        let payment = draft.sign(&BlockHash::from_bytes(*genesis), key_of).ok()?;
        Some(codec::encode(&payment.transaction))
    }
}

/// Takes what a function's input begins with.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Bytes with their number before them.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }
}

/// The indices of a secret's words, two bytes each.
pub(crate) fn indices(entropy: &[u8]) -> Option<Vec<u8>> {
    Some(words::indices_of(entropy)?.iter().flat_map(|index| index.to_le_bytes()).collect())
}

/// The secret of words.
pub(crate) fn entropy(indices: &[u8]) -> Option<Vec<u8>> {
    let indices: Vec<u16> = indices.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])).collect();
    words::entropy_of(&indices).map(|entropy| entropy.to_vec())
}

/// See [`crate::seal`].
pub(crate) fn seal(input: &[u8]) -> Option<Vec<u8>> {
    let mut input = Reader(input);
    let randomness = (input.array()?, input.array()?);
    let secret = input.bytes()?;
    let costs = Costs::RECOMMENDED;
    let sealed = sealed::seal(costs, randomness, input.0, secret)?;
    let Costs { memory_kib, passes, lanes } = costs;
    let mut output: Vec<u8> = [memory_kib, passes, lanes].iter().flat_map(|cost| cost.to_le_bytes()).collect();
    output.extend(sealed);
    Some(output)
}

/// See [`crate::unseal`].
pub(crate) fn unseal(input: &[u8]) -> Option<Vec<u8>> {
    let mut input = Reader(input);
    let costs = Costs { memory_kib: input.number()?, passes: input.number()?, lanes: input.number()? };
    let randomness = (input.array()?, input.array()?);
    let sealed = input.bytes()?;
    Some(sealed::open(costs, randomness, input.0, sealed).ok()?.to_vec())
}
