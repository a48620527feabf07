//! How a command that failed says so: its exit code, and the reason on stderr.

use std::process::ExitCode;

use serde_json::json;

use super::light::LightError;
use super::wallet::message::NotSigned;
use super::{Interrupted, OutputError, SlowChain, UsageError, console};
use crate::primitives::address::AddressError;
use crate::receipt::{HoldingError, ReceiptError};
use crate::rpc::client::ClientError;
use crate::wallet::message::SignatureParseError;

/// Exit codes; the help explains them.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_PROVEN: u8 = 3;
const NO_NODE: u8 = 4;
const SLOW_CHAIN: u8 = 5;
const INTERRUPTED: u8 = 130;

/// Why a command failed.
pub struct Failure {
    code: u8,
    /// The node's error number, if the node returned an error.
    rpc_code: Option<i64>,
    message: String,
}

impl Failure {
    /// A command line, or a file of settings, that cannot be read.
    pub fn usage(message: String) -> Self {
        Self { code: USAGE, rpc_code: None, message }
    }

    /// An error that a command ended with.
    pub fn of(error: &anyhow::Error) -> Self {
        let rpc_code = error.downcast_ref().and_then(ClientError::code);
        Self { code: exit_code(error), rpc_code, message: explain(error) }
    }

    /// Prints the reason on stderr: a line of text, or with `--json` a last line with a JSON object.
    pub fn report(&self, as_json: bool) -> ExitCode {
        let Self { code, rpc_code, message } = self;
        let line = if as_json {
            let kind = match *code {
                USAGE => "usage",
                NOT_PROVEN => "not_proven",
                NO_NODE => "no_node",
                SLOW_CHAIN => "slow_chain",
                INTERRUPTED => "interrupted",
                _ => "failed",
            };
            let mut error = json!({ "code": code, "kind": kind, "message": message.trim_end() });
            if let Some(rpc_code) = rpc_code {
                error["rpc_code"] = json!(rpc_code);
            }
            json!({ "error": error }).to_string()
        } else {
            format!("error: {message}")
        };
        console::note(format_args!("{line}"));
        ExitCode::from(*code)
    }
}

/// Whether a command failed only because the reader of its stdout has left.
pub fn is_reader_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<OutputError>().is_some_and(|OutputError(io)| io.kind() == std::io::ErrorKind::BrokenPipe)
}

/// An error with its causes, skipping those already quoted.
fn explain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.contains(&cause) {
        _ if text.is_empty() => cause,
        true => text,
        false => format!("{text}: {cause}"),
    })
}

/// The exit code of an error.
fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return match error {
            ClientError::NoNode { .. } | ClientError::Unreachable { .. } | ClientError::TimedOut { .. } => NO_NODE,
            ClientError::BadUrl { .. } => USAGE,
            ClientError::File { .. }
            | ClientError::Unauthorized { .. }
            | ClientError::Refused { .. }
            | ClientError::NotANode { .. }
            | ClientError::Rpc { .. } => FAILED,
        };
    }
    // Whatever cannot be read is found out here as clap finds it out: with its code.
    if error.is::<UsageError>() || error.is::<AddressError>() || error.is::<SignatureParseError>() {
        return USAGE;
    }
    if error.is::<NotSigned>() {
        return NOT_PROVEN;
    }
    if error.chain().any(|cause| cause.is::<Interrupted>()) {
        return INTERRUPTED;
    }
    if error.is::<SlowChain>() {
        return SLOW_CHAIN;
    }
    if let Some(error) = error.downcast_ref::<LightError>() {
        return match error {
            LightError::NoPeer { .. } | LightError::NotAsked { .. } => NO_NODE,
            LightError::Refused { .. } => FAILED,
            LightError::NotProven(_) | LightError::ProvenAbsent { .. } | LightError::TooFewConfirmations { .. } => {
                NOT_PROVEN
            }
        };
    }
    let receipt = match error.downcast_ref::<HoldingError>() {
        Some(HoldingError::Receipt(error)) => Some(error),
        Some(_) => return NOT_PROVEN,
        None => error.downcast_ref::<ReceiptError>(),
    };
    match receipt {
        Some(error) if !error.is_unreadable() => NOT_PROVEN,
        Some(_) | None => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scenario::WorldError;

    #[test]
    fn a_signal_is_told_wherever_it_stands_among_the_causes() {
        let of_a_node = WorldError { name: "node-1".to_owned(), source: Interrupted.into() };
        for error in [anyhow::Error::from(Interrupted).context("cannot save"), of_a_node.into()] {
            assert_eq!(exit_code(&error), INTERRUPTED, "{error:#}");
        }
    }

    #[test]
    fn causes_are_told_once() {
        let io = || std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let quoted = anyhow::Error::from(io()).context(format!("cannot listen: {} (try another port)", io()));
        assert_eq!(explain(&quoted), format!("cannot listen: {} (try another port)", io()));
        assert_eq!(explain(&anyhow::Error::from(io()).context("cannot listen")), format!("cannot listen: {}", io()));
    }
}
