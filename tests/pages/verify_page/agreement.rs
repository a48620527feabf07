//! The page's verifier beside the node's own: one verdict, one reason, on every input.

use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use cairn::consensus::headers::HeaderTail;
use cairn::consensus::params::{Allocation, GenesisSpec, Params};
use cairn::primitives::address;
use cairn::primitives::amount::Amount;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::keys::PublicKey;
use cairn::receipt::{checkpoint_from_json, checkpoint_to_json};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::vectors::{Edit, Vector};
use super::{lies, url, vectors};
use crate::browser::Browser;

/// Turns base64 and text into bytes, in the page.
const BYTES: &str = "
    const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const utf8 = (text) => new TextEncoder().encode(text);";

/// What the page's verifier says of a file with each of these edits, in one call.
fn verdicts(browser: &Browser, vector: &Vector, edits: &[Edit]) -> Vec<Value> {
    let script = "
        const [base, genesis, checkpoint, edits, now] = arguments;
        const file = bytes(base);
        const params = Cairn.readGenesis(utf8(genesis));
        const held = checkpoint === null ? null : Cairn.readCheckpoint(utf8(checkpoint), params);
        return edits.map(([at, remove, insert]) => {
          const put = bytes(insert);
          const edited = new Uint8Array(file.length - remove + put.length);
          edited.set(file.subarray(0, at));
          edited.set(put, at);
          edited.set(file.subarray(at + remove), at + put.length);
          return Cairn.check(edited, params, held, now);
        });";
    let edits: Vec<Value> =
        edits.iter().map(|edit| json!([edit.at, edit.remove, BASE64_STANDARD.encode(&edit.insert)])).collect();
    let file = BASE64_STANDARD.encode(&vector.file);
    let arguments = [json!(file), json!(vector.genesis), json!(vector.checkpoint), json!(edits), json!(vectors::NOW)];
    let answer = browser.run(&format!("{BYTES}{script}"), &arguments);
    answer.as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

/// Checks that both verifiers say the same of a file with each of these edits; answers how many still prove something.
fn agree(browser: &Browser, vector: &Vector, edits: &[Edit]) -> usize {
    let (params, held) = (vector.params(), vector.held());
    let there = verdicts(browser, vector, edits);
    assert_eq!(there.len(), edits.len());
    let here: Vec<Value> =
        edits.iter().map(|edit| vector.verdict(&edit.apply(&vector.file), &params, held.as_ref())).collect();
    for ((edit, here), there) in edits.iter().zip(&here).zip(&there) {
        let same = here == there || is_syntax(here) && is_syntax(there);
        assert!(same, "{}, {edit:?}:\nhere  {here:#}\nthere {there:#}", vector.name);
    }
    here.iter().filter(|verdict| verdict["proven"].is_object()).count()
}

/// Whether the text is not JSON of the right shape: the two verifiers word that differently.
fn is_syntax(verdict: &Value) -> bool {
    let text = verdict["refused"].as_str().unwrap_or_default();
    text.starts_with("not a receipt: ") && !text.contains("its format is")
}

const AS_IT_IS: Edit = Edit { at: 0, remove: 0, insert: Vec::new() };

#[test]
fn it_agrees_with_the_nodes_verifier_on_good_and_spoilt_receipts() {
    let browser = Browser::open(&url());
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let (mut proven, mut all) = (0, 0);
    for vector in vectors::good() {
        assert_eq!(agree(&browser, &vector, &[AS_IT_IS]), 1, "{} proves nothing", vector.name);
        let mut edits = vectors::damage(&vector.file, 150, &mut rng);
        edits.extend(vectors::rewritten(&vector.file));
        edits.extend(vectors::claims(&vector.file));
        if vector.file.len() < 1_000 {
            edits.extend(vectors::all_damage(&vector.file));
        }
        proven += agree(&browser, &vector, &edits);
        all += edits.len();
    }
    assert!(proven > 100 && all - proven > 5_000, "{proven} of {all}");
}

#[test]
fn it_agrees_on_receipts_for_coins() {
    let browser = Browser::open(&url());
    let mut rng = ChaCha20Rng::seed_from_u64(13);
    for vector in vectors::holdings() {
        assert_eq!(agree(&browser, &vector, &[AS_IT_IS]), 1, "{} proves nothing", vector.name);
        let mut edits = vectors::damage(&vector.file, 150, &mut rng);
        // Every digit of the proof, and of what it is checked against.
        let text = String::from_utf8(vector.file.clone()).unwrap();
        for field in ["owner", "block", "state_root", "proof", "range_root", "filter_header"] {
            let name = format!("\"{field}\": \"");
            let start = text.find(&name).unwrap() + name.len();
            let end = start + text[start..].find('"').unwrap();
            let other = |at: usize| if vector.file[at] == b'0' { b'1' } else { b'0' };
            edits.extend((start..end).map(|at| Edit { at, remove: 1, insert: vec![other(at)] }));
        }
        // Only where damage leaves the file as it was, or only its layout is another, does it still hold.
        let proven = agree(&browser, &vector, &edits);
        assert!(proven < edits.len() / 20, "{}: {proven} of {}", vector.name, edits.len());
    }
}

#[test]
fn it_agrees_with_the_nodes_verifier_on_lies() {
    let browser = Browser::open(&url());
    let lies = lies::all();
    let proven: usize = lies.iter().map(|lie| agree(&browser, lie, &[AS_IT_IS])).sum();
    // Some are valid: the stated position is right, or the checkpoint is only unusual.
    assert!(proven < lies.len() / 5, "{proven} of {}", lies.len());
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    for schedule in lies::schedules(400, &mut rng) {
        assert_eq!(agree(&browser, &schedule, &[AS_IT_IS]), 0, "{}", schedule.name);
    }
}

#[test]
fn it_agrees_on_networks_and_checkpoints() {
    let browser = Browser::open(&url());
    let ask = |function: &str, texts: &[String]| -> Vec<Value> {
        let script = format!(
            "{BYTES}
             const params = Cairn.readGenesis(utf8(document.getElementById('genesis').textContent));
             return arguments[0].map((text) => {{
               try {{ return {function}; }} catch (error) {{
                 if (!(error instanceof Cairn.Refused)) throw error;
                 return {{ refused: error.message }};
               }}
             }});"
        );
        browser.run(&script, &[json!(texts)]).as_array().unwrap().clone()
    };

    let file = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("genesis.json")).unwrap();
    let mut texts = vec![file.clone(), GenesisSpec::regtest().to_json(), cairn_testkit::forge::params().spec.to_json()];
    texts.extend(allocations());
    let others: Vec<String> = texts[..4].iter().flat_map(|base| vectors::other_networks(base)).collect();
    texts.extend(others);
    let mut good = 0;
    for (text, there) in texts.iter().zip(ask("Cairn.hashText(Cairn.readGenesis(utf8(text)).genesisHash)", &texts)) {
        let here = match Params::from_json(text) {
            Ok(params) => json!(params.genesis_hash),
            Err(error) => json!({ "refused": error.to_string() }),
        };
        good += usize::from(here.is_string());
        let said = |verdict: &Value| verdict["refused"].as_str().unwrap_or_default().to_owned();
        // Syntax, and what is wrong with an address, each says in its own words.
        let address = |verdict: &Value| said(verdict).starts_with("genesis.json: alloc.address is ");
        let syntax = GenesisSpec::from_json(text).is_err() && there["refused"].is_string();
        assert!(here == there || syntax || address(&here) && address(&there), "{text}\nhere  {here}\nthere {there}");
    }
    assert!(good > 20 && good < texts.len() / 2, "{good} of {}", texts.len());

    let params = Params::from_json(&file).unwrap();
    let end = checkpoint_to_json(&HeaderTail::new(&params).checkpoint(), &params);
    let mut texts = vec![end.clone(), end.replace("\"network\": \"", "\"network\": \"é")];
    texts.push(end.replace(&params.genesis_hash.to_string(), &params.genesis_hash.to_string().to_uppercase()));
    texts.push(end.replace(&params.genesis_hash.to_string(), &BlockHash::ZERO.to_string()));
    texts.extend(
        vectors::all_damage(end.as_bytes())
            .iter()
            .filter_map(|edit| String::from_utf8(edit.apply(end.as_bytes())).ok()),
    );
    let mut good = 0;
    for (text, there) in
        texts.iter().zip(ask("Cairn.checkpointText(Cairn.readCheckpoint(utf8(text), params), params)", &texts))
    {
        let here = match checkpoint_from_json(text, &params) {
            Ok(checkpoint) => json!(checkpoint_to_json(&checkpoint, &params)),
            Err(error) => json!({ "refused": error.to_string() }),
        };
        good += usize::from(here.is_string());
        assert!(here == there || is_syntax(&here) && is_syntax(&there), "{text}\nhere  {here}\nthere {there}");
    }
    assert!(good > 20 && good < texts.len() / 2, "{good} of {}", texts.len());
}

/// Networks with coins from the start, the address written in every way.
fn allocations() -> Vec<String> {
    let of = |address: String| {
        let alloc = [(address, 7), (pay_to(2), 1 << 52)]
            .map(|(address, grains)| Allocation { address, value: Amount::from_grains(grains) });
        let mut spec = GenesisSpec { alloc: alloc.into(), subsidy: Amount::from_grains(1), ..GenesisSpec::regtest() };
        spec.mine_nonce();
        spec.to_json()
    };
    let good = pay_to(1);
    let mut other =
        vec![good.clone(), good.to_uppercase(), good.replacen('r', "R", 1), good[..good.len() - 1].to_owned()];
    other.push(good.replacen("rcairn", "tcairn", 1));
    other.push(good.replacen("1", "", 1));
    other.push(String::new());
    other.push(format!("é{good}"));
    other.extend((7..good.len()).map(|at| {
        let swapped = if good.as_bytes()[at] == b'q' { "p" } else { "q" };
        [&good[..at], swapped, &good[at + 1..]].concat()
    }));
    other.into_iter().map(of).collect()
}

fn pay_to(n: u8) -> String {
    address::encode("rcairn", &PublicKey([n; 32]))
}
