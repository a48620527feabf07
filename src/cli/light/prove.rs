//! `cairn light verify` and `history`: transactions that peers prove.

use anyhow::{Context, ensure};
use serde_json::json;

use super::words::{agreeing, history_json, history_line, peer_json, why};
use super::{LightError, Session};
use crate::cli::console::warn;
use crate::cli::proof::{describe_output, output_json};
use crate::light::{Answer, Found, Question};
use crate::primitives::amount::counted;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::merkle::Branch;
use crate::receipt::weight::Weight;
use crate::storage::TxLocation;

fn not_proven(answer: &Answer) -> LightError {
    LightError::NotProven(format!("{}. The transaction may still exist", why(answer)))
}

impl Session<'_> {
    pub(super) async fn verify(&mut self, txid: Txid, min_confirmations: u32) -> anyhow::Result<()> {
        let answer = self.answer(Question::Transaction(txid)).await?;
        match answer.found.first() {
            Some(found) => self.proven(found, min_confirmations).await,
            None => Err(not_proven(&answer).into()),
        }
    }

    pub(super) async fn verify_in(
        &mut self,
        txid: Txid,
        hash: BlockHash,
        min_confirmations: u32,
    ) -> anyhow::Result<()> {
        let answer = self.answer(Question::Block(hash)).await?;
        let Some(block) = &answer.block else {
            return Err(not_proven(&answer).into());
        };
        let transactions = block.transactions.len();
        let place = block.txids().iter().position(|other| *other == txid);
        let place = place.ok_or(LightError::ProvenAbsent { txid, block: hash, transactions })?;
        let found = self.ask(move |light| light.chain().height_of(&hash)).await?.map(|height| Found {
            txid,
            transaction: block.transactions[place].clone(),
            block: hash,
            place: TxLocation { height, position: place as u32 },
            time: block.header.time,
            siblings: Branch::new(block.txids(), place as u32).map(|branch| branch.siblings).unwrap_or_default(),
        });
        let found =
            found.ok_or_else(|| LightError::NotProven(format!("block {hash} is no longer on the best chain")))?;
        self.proven(&found, min_confirmations).await
    }

    async fn proven(&self, found: &Found, min_confirmations: u32) -> anyhow::Result<()> {
        let (state, reports, mut warnings) = self.state().await?;
        let height = found.place.height;
        let headers = state.height.next().blocks_since(height);
        let weight = self.ask(move |light| light.chain().weight(height, light.chain().tip().time)).await?;
        let weight = weight.context("the block is no longer on the best chain")?.under(&self.params);
        // The pace was checked for the whole chain.
        let weight = Weight { slow: None, ..weight };
        let (confirmations, work_on_top) = (weight.confirmations, weight.on_top);
        warn(&weight.warnings());
        warnings.extend(weight.warnings());
        ensure!(
            confirmations >= min_confirmations,
            LightError::TooFewConfirmations { got: confirmations, expected: min_confirmations }
        );
        let outputs = &found.transaction.outputs;
        let text = || {
            let mut lines = vec![
                format!("proven         transaction {} is in block {}", found.txid, found.block),
                format!("confirmations  {confirmations} (block {height} of {})", state.height),
                format!("work on top    {:.3e} hashes", work_on_top.as_f64()),
                state.describe(&self.params),
                format!("peers          {} of {} agree on the tip", agreeing(&reports), reports.len()),
            ];
            lines.extend(outputs.iter().map(|output| describe_output(output, &self.params)));
            lines.join("\n")
        };
        self.common.print(text, || {
            let mut json = state.json(&self.params);
            json["proven"] = json!(true);
            json["txid"] = json!(found.txid);
            json["blockhash"] = json!(found.block);
            json["blockheight"] = json!(height);
            json["time"] = json!(found.time);
            json["confirmations"] = json!(confirmations);
            json["headers"] = json!(headers);
            json["unit"] = json!(weight.unit.to_string());
            json["work_on_top"] = json!(work_on_top.to_string());
            json["outputs"] = outputs.iter().map(|output| output_json(output, &self.params)).collect();
            json["peers"] = reports.iter().map(peer_json).collect();
            json["warnings"] = json!(warnings);
            json
        })
    }

    pub(super) async fn history(&mut self, text: &str, key: PublicKey) -> anyhow::Result<()> {
        let answer = self.answer(Question::Key(key)).await?;
        let (state, reports, warnings) = self.state().await?;
        let heights: Vec<Height> = answer.found.iter().map(|found| found.place.height).collect();
        let weights: Vec<Option<Weight>> = self
            .ask(move |light| {
                let (chain, until) = (light.chain(), light.chain().tip().time);
                heights.iter().map(|height| chain.weight(*height, until)).collect()
            })
            .await?;
        let confirmed = || weights.iter().map(|weight| weight.map_or(0, |weight| weight.confirmations));
        let lines = || {
            let found = answer.found.iter().zip(confirmed());
            let mut lines: Vec<String> =
                found.map(|(found, confirmations)| history_line(found, confirmations)).collect();
            lines.push(format!(
                "{} proven; {} of {} agree on the tip. Others may exist that no peer asked has told of",
                counted(answer.found.len(), "transaction"),
                agreeing(&reports),
                counted(reports.len(), "peer")
            ));
            lines.join("\n")
        };
        self.common.print(lines, || {
            let mut json = state.json(&self.params);
            json["address"] = json!(text);
            json["transactions"] = answer
                .found
                .iter()
                .zip(confirmed())
                .map(|(found, confirmations)| history_json(found, confirmations, &state))
                .collect();
            json["peers"] = reports.iter().map(peer_json).collect();
            json["warnings"] = json!(warnings);
            json
        })
    }
}
