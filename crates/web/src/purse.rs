//! The public keys of the page's wallet, and the payments that it has sent. What signs them is another module (`crates/signer`).

use cairn::consensus::params::Params;
use cairn::light::{Answer, Found, Headers, Holding, Light};
use cairn::primitives::address;
use cairn::primitives::amount::{Amount, FeeRate};
use cairn::primitives::codec;
use cairn::primitives::hash::{BlockHash, Txid};
use cairn::primitives::keys::PublicKey;
use cairn::primitives::tx::{Output, Transaction};
use cairn::wallet::coins::{Spendable, mature};
use cairn::wallet::payment::{Draft, Fee, Funding, Order};

/// Most payments that are followed at a time.
const MAX_SENT: usize = 100;

/// The wallet.
#[derive(Default)]
pub(crate) struct Purse {
    /// In the order of their numbers.
    keys: Vec<PublicKey>,
    /// In the order in which they were sent.
    sent: Vec<Sent>,
}

/// A payment that was sent.
struct Sent {
    txid: Txid,
    transaction: Transaction,
    /// Peers that said that they have it, or have it not.
    taken: u32,
    refused: u32,
    /// The tip at which its proof was asked for: without an answer it is asked for again with the next block.
    asked_at: Option<BlockHash>,
    found: Option<Found>,
}

impl Sent {
    /// Whether its coins are spent, as far as the page knows.
    fn holds_coins(&self) -> bool {
        self.taken > 0 || self.refused == 0
    }
}

impl Purse {
    /// Another wallet's keys.
    pub(crate) fn set_keys(&mut self, keys: Vec<PublicKey>) {
        self.keys = keys;
    }

    pub(crate) fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// The address of the newest key.
    pub(crate) fn address(&self, params: &Params) -> Option<String> {
        self.keys.last().map(|key| address::encode(&params.address_prefix, key))
    }

    /// What could be spent now, and the value of what was mined too lately.
    fn spendable(&self, holding: &Holding, params: &Params) -> (Vec<Spendable>, Amount) {
        let own = holding.coins.iter().filter(|(_, coin)| coin.output.key().is_some_and(|key| self.keys.contains(key)));
        let (mut coins, immature) = mature(own, holding.tip.next(), params);
        for sent in self.sent.iter().filter(|sent| sent.holds_coins()) {
            let inputs = &sent.transaction.inputs;
            coins.retain(|coin| inputs.iter().all(|input| input.outpoint != coin.outpoint));
        }
        (coins, immature)
    }

    /// A payment of text `ADDRESS AMOUNT RATE`, with the rate in grains a byte: what it would be.
    fn draft(&self, text: &str, light: &Light, params: &Params) -> Result<Draft, String> {
        let mut parts = text.split_whitespace();
        let mut part = || parts.next().ok_or("expected an address, an amount and a fee rate");
        let payee = address::decode(&params.address_prefix, part()?).map_err(|error| error.to_string())?;
        let amount: Amount = part()?.parse().map_err(text_of)?;
        let rate = part()?.parse().map_err(|_| "the fee rate is no number of grains a byte")?;
        let holding = light.holding().ok_or("the coins of this wallet are not proven yet")?;
        let (coins, _) = self.spendable(&holding, params);
        // No payee gets the change too, if there is another key.
        let change_to = self.keys.iter().rev().find(|key| **key != payee).or(self.keys.last()).ok_or("no key")?;
        let fee = Fee::at_rate(FeeRate::from_grains_per_byte(rate));
        let order = Order::pay(vec![Output::pay(payee, amount)], fee);
        order.draft(Funding::AnyOf(&coins), *change_to).map_err(text_of)
    }

    /// What a payment would be: see [`crate::draft`].
    pub(crate) fn review(&self, text: &str, light: &Light, params: &Params) -> Result<Vec<u8>, String> {
        let Draft { transaction, spent, fee, change } = self.draft(text, light, params)?;
        let mut answer = format!("{fee} {change} {}\n", transaction.size()).into_bytes();
        let spent: Vec<Output> = spent.iter().map(Spendable::output).collect();
        answer.extend(codec::encode(&(transaction, spent)));
        Ok(answer)
    }

    /// Follows a payment, whose id is the answer. The oldest that is followed gives way.
    pub(crate) fn follow(&mut self, transaction: Transaction) -> Txid {
        let txid = transaction.txid();
        if self.sent.iter().all(|sent| sent.txid != txid) {
            if self.sent.len() >= MAX_SENT {
                self.sent.remove(0);
            }
            self.sent.push(Sent { txid, transaction, taken: 0, refused: 0, asked_at: None, found: None });
        }
        txid
    }

    /// A peer says whether it took a payment.
    pub(crate) fn handed_over(&mut self, txid: &Txid, taken: bool) {
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.txid == *txid) {
            *(if taken { &mut sent.taken } else { &mut sent.refused }) += 1;
        }
    }

    /// A payment's proof.
    pub(crate) fn answered(&mut self, txid: &Txid, answer: Answer) {
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.txid == *txid) {
            // That a peer does not know it proves nothing.
            sent.found = answer.found.into_iter().next().or(sent.found.take());
        }
    }

    /// A payment that a block has and whose proof is to be asked for. Proofs of blocks that are gone are dropped.
    pub(crate) fn unproven(&mut self, light: &Light) -> Option<Txid> {
        let chain = light.chain();
        self.sent.iter_mut().find_map(|sent| {
            sent.found.take_if(|found| !is_in(found, chain));
            let is_mined = sent.found.is_none() && light.mined_at(&sent.txid).is_some();
            let asked_at = is_mined.then(|| chain.tip_hash());
            let is_due = is_mined && sent.asked_at != asked_at;
            sent.asked_at = asked_at;
            is_due.then_some(sent.txid)
        })
    }

    /// What the keys own, as a line, with `proven` at its end: see [`crate::status`].
    pub(crate) fn balance(&self, holding: &Holding, params: &Params, proven: &str) -> String {
        if self.keys.is_empty() {
            return String::new();
        }
        let (coins, immature) = self.spendable(holding, params);
        let sum = Amount::saturating_sum(coins.iter().map(|coin| coin.value));
        let since = holding.since.iter().flat_map(|since| since.received.iter().map(|(_, coin)| coin));
        let seen = |key: &PublicKey| {
            let mut all = holding.proven.coins.values().chain(since.clone());
            all.any(|coin| coin.output.key() == Some(key))
        };
        let used = self.keys.iter().rposition(seen).map_or(0, |index| index + 1);
        format!("wallet {sum} {immature} {used} {} {proven}\n", coins.len())
    }

    /// The payments that were sent, as lines: see [`crate::status`].
    pub(crate) fn payments(&self, light: &Light) -> String {
        let mut lines = String::new();
        let chain = light.chain();
        for Sent { txid, taken, refused, found, .. } in &self.sent {
            let state = match (found.as_ref().filter(|found| is_in(found, chain)), light.mined_at(txid)) {
                (Some(found), _) => {
                    let weight = chain.weight(found.place.height, chain.tip().time);
                    let confirmations = weight.map_or(0, |weight| weight.confirmations);
                    format!("proven {} {confirmations}", found.place.height)
                }
                (None, Some(height)) => format!("mined {height}"),
                (None, None) if *taken > 0 => format!("taken {taken}"),
                (None, None) if *refused > 0 => format!("refused {refused}"),
                (None, None) => "offered".to_owned(),
            };
            lines += &format!("payment {txid} {state}\n");
        }
        lines
    }

    /// What proves that a payment is in the chain: see [`crate::proof`].
    pub(crate) fn proof(&self, txid: &str, chain: &Headers) -> Option<String> {
        let sent = self.sent.iter().find(|sent| sent.txid.to_string() == txid)?;
        let found = sent.found.as_ref()?;
        let header = chain.header(found.place.height)?;
        let transaction = hex(&codec::encode(&sent.transaction));
        let mut lines = format!(
            "block {} {}\nheader {}\nplace {}\ntransaction {transaction}\n",
            found.place.height,
            found.block,
            hex(&header.to_bytes()),
            found.place.position,
        );
        for sibling in &found.siblings {
            lines += &format!("sibling {}\n", hex(sibling.as_bytes()));
        }
        Some(lines)
    }
}

/// Whether a transaction is in the best chain still.
fn is_in(found: &Found, chain: &Headers) -> bool {
    chain.hash(found.place.height) == Some(found.block)
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
