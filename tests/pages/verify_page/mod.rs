//! `verify.html` in a real browser: it says what the node's own verifier says, of every receipt.

mod agreement;
mod lies;
mod shown;
mod vectors;

use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use sha2::{Digest, Sha256};

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("verify.html")
}

fn url() -> String {
    format!("file://{}", page().display())
}

fn source() -> String {
    std::fs::read_to_string(page()).unwrap()
}

/// The text between `begin` and the next `end`.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end}")).0
}

#[test]
fn the_built_in_network_is_that_of_genesis_json() {
    let file = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("genesis.json")).unwrap();
    assert_eq!(between(&source(), "<script type=\"application/json\" id=\"genesis\">", "</script>"), file);
}

/// The browser runs only what the policy names; this says what to write there after a change.
#[test]
fn the_policy_names_the_scripts_and_the_style() {
    let page = source();
    let named = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    let scripts: Vec<String> =
        page.split("<script>").skip(1).map(|rest| named(rest.split_once("</script>").unwrap().0)).collect();
    let expected = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        scripts.join(" "),
        named(between(&page, "<style>", "</style>")),
    );
    assert_eq!(between(&page, "http-equiv=\"Content-Security-Policy\" content=\"", "\""), expected);
}
