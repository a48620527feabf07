//! Asking the person at the terminal.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Where a passphrase is found when nobody can be asked.
pub const PASSPHRASE_VARIABLE: &str = "CAIRN_PASSPHRASE";

/// The passphrase in the environment, if there is one.
///
/// # Errors
/// If it is not UTF-8: then it could not be typed again either.
pub fn passphrase_from_environment() -> anyhow::Result<Option<String>> {
    match std::env::var(PASSPHRASE_VARIABLE) {
        Ok(passphrase) => Ok(Some(passphrase)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{PASSPHRASE_VARIABLE} is not UTF-8"),
    }
}

/// A passphrase that opens something: from the environment, else asked for.
///
/// # Errors
/// If there is no terminal to ask at.
pub fn passphrase() -> anyhow::Result<String> {
    match passphrase_from_environment()? {
        Some(passphrase) => Ok(passphrase),
        None => ask_hidden("Passphrase: "),
    }
}

/// A passphrase to close something with: from the environment, else asked for twice.
///
/// # Errors
/// If there is no terminal to ask at, it is empty, or the two differ.
pub fn new_passphrase() -> anyhow::Result<String> {
    let passphrase = match passphrase_from_environment()? {
        Some(passphrase) => passphrase,
        None => {
            let first = ask_hidden("New passphrase: ")?;
            if ask_hidden("The same again: ")? != first {
                bail!("the two passphrases differ");
            }
            first
        }
    };
    if passphrase.is_empty() {
        bail!("the passphrase is empty: leave --passphrase out to keep the wallet unencrypted");
    }
    Ok(passphrase)
}

/// Asks at the terminal, which stdin need not be, without showing what is typed.
fn ask_hidden(question: &str) -> anyhow::Result<String> {
    let no_terminal = || format!("there is no terminal to ask for the passphrase: set {PASSPHRASE_VARIABLE}");
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").with_context(no_terminal)?;
    write!(terminal, "{question}").and_then(|()| terminal.flush()).with_context(no_terminal)?;
    let set_echo = |argument: &str| -> std::io::Result<()> {
        let stdin = Stdio::from(OpenOptions::new().read(true).open("/dev/tty")?);
        Command::new("stty").arg(argument).stdin(stdin).status().map(drop)
    };
    // Without stty, what is typed is seen, and works all the same.
    let hidden = set_echo("-echo").is_ok();
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    if hidden {
        set_echo("echo").context("cannot turn the terminal's echo on again: type `stty echo`")?;
        writeln!(terminal).with_context(no_terminal)?;
    }
    read.with_context(no_terminal)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
