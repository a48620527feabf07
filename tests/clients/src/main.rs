//! Calls each method of Bitcoin Core that a node has by the typed clients of others, unmodified, and compares what
//! comes of it with the table in `docs/rpc.md`; and mines with another's side of a miner over Stratum.
//!
//!     CAIRN=target/debug/cairn cargo run --locked --manifest-path tests/clients/Cargo.toml
//!
//! With `UPDATE_DOCS=1` it writes the outcomes into the table; the last column is written by hand.

mod core;
mod corepc;
mod network;
mod stratum;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use crate::network::Network;

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The client has the result.
    Works,
    /// The node has answered with a result, and the client cannot read it.
    Unreadable,
    /// The node has answered with an error.
    Refused,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Works => "works",
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
        })
    }
}

/// The outcomes of one client, by method and by the client's own function.
#[derive(Debug, Default)]
struct Outcomes(BTreeMap<&'static str, BTreeMap<&'static str, Outcome>>);

impl Outcomes {
    /// Takes the outcome of `function`, which calls `method`: `of_error` says what an error is, if the node has answered.
    ///
    /// # Panics
    /// If it has not.
    fn take<T, E: fmt::Display>(
        &mut self,
        (method, function): (&'static str, &'static str),
        result: Result<T, E>,
        of_error: impl Fn(&E) -> Option<Outcome>,
    ) {
        let outcome = match &result {
            Ok(_) => Outcome::Works,
            Err(error) => {
                println!("{method}, {function}: {error}");
                of_error(error).unwrap_or_else(|| panic!("{method}, {function}: no answer: {error}"))
            }
        };
        self.0.entry(method).or_default().insert(function, outcome);
    }

    /// What the table says of a method: one word, or one for each function where they differ.
    fn cell(&self, method: &str) -> String {
        let Some(functions) = self.0.get(method) else { return "–".to_owned() };
        let mut by_outcome: BTreeMap<Outcome, Vec<&str>> = BTreeMap::new();
        for (function, outcome) in functions {
            by_outcome.entry(*outcome).or_default().push(function);
        }
        if let (1, Some((outcome, _))) = (by_outcome.len(), by_outcome.first_key_value()) {
            return outcome.to_string();
        }
        let named = |(outcome, functions): (&Outcome, &Vec<&str>)| {
            let functions: Vec<String> = functions.iter().map(|function| format!("`{function}`")).collect();
            format!("{outcome}: {}", functions.join(", "))
        };
        by_outcome.iter().map(named).collect::<Vec<_>>().join("; ")
    }
}

fn main() -> ExitCode {
    let network = Network::start();
    stratum::run(&network);
    let clients = [corepc::run(&network), core::run(&network)];
    match table::compare(&clients) {
        Ok(rows) => {
            println!("{rows} methods, as docs/rpc.md says");
            ExitCode::SUCCESS
        }
        Err(difference) => {
            eprintln!("{difference}");
            ExitCode::FAILURE
        }
    }
}
