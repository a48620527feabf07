//! Prompts at the terminal.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use zeroize::Zeroizing;

/// The environment variable of the passphrase, for use without a terminal.
pub const PASSPHRASE_VARIABLE: &str = "CAIRN_PASSPHRASE";

/// Most bytes of a line: what a terminal takes in one.
const MAX_LINE_BYTES: usize = 4096;

/// The passphrase in the environment, if there is one.
///
/// # Errors
/// If it is not UTF-8: then it could not be typed again either.
pub fn passphrase_from_environment() -> anyhow::Result<Option<Zeroizing<String>>> {
    match std::env::var(PASSPHRASE_VARIABLE) {
        Ok(passphrase) => Ok(Some(Zeroizing::new(passphrase))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{PASSPHRASE_VARIABLE} is not UTF-8"),
    }
}

/// An existing passphrase: from the environment, else from a prompt.
///
/// # Errors
/// If there is no terminal to ask at.
pub fn passphrase() -> anyhow::Result<Zeroizing<String>> {
    match passphrase_from_environment()? {
        Some(passphrase) => Ok(passphrase),
        None => ask_hidden("Passphrase: "),
    }
}

/// A new passphrase: from the environment, else from two prompts.
///
/// # Errors
/// If there is no terminal to ask at, it is empty, or the two differ.
pub fn new_passphrase() -> anyhow::Result<Zeroizing<String>> {
    let passphrase = match passphrase_from_environment()? {
        Some(passphrase) => passphrase,
        None => ask_twice("New passphrase: ")?,
    };
    if passphrase.is_empty() {
        bail!("the passphrase is empty: --no-passphrase keeps the wallet unencrypted");
    }
    Ok(passphrase)
}

/// A new passphrase if there is one in the environment or a person at the terminal gives one: `None` if that is empty, or
/// none can be asked.
///
/// # Errors
/// If the two that are typed differ, or the environment's is not UTF-8.
pub fn new_passphrase_if_any() -> anyhow::Result<Option<Zeroizing<String>>> {
    let passphrase = match passphrase_from_environment()? {
        Some(passphrase) => passphrase,
        None if std::io::stderr().is_terminal() && terminal().is_ok() => {
            ask_twice("New passphrase (empty for none): ")?
        }
        None => return Ok(None),
    };
    Ok(Some(passphrase).filter(|passphrase| !passphrase.is_empty()))
}

fn ask_twice(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let first = ask_hidden(question)?;
    if !first.is_empty() && ask_hidden("The same again: ")? != first {
        bail!("the two passphrases differ");
    }
    Ok(first)
}

/// The terminal, which need not be stdin.
fn terminal() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// Prompts at the terminal, which need not be stdin, without echo.
fn ask_hidden(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let no_terminal = || format!("there is no terminal to ask for the passphrase: set {PASSPHRASE_VARIABLE}");
    // Why it cannot be opened adds nothing.
    let Ok(mut terminal) = terminal() else { bail!(no_terminal()) };
    write!(terminal, "{question}").and_then(|()| terminal.flush()).with_context(no_terminal)?;
    let set_echo = |argument: &str| -> std::io::Result<()> {
        let stdin = Stdio::from(OpenOptions::new().read(true).open("/dev/tty")?);
        Command::new("stty").arg(argument).stdin(stdin).status().map(drop)
    };
    // Without stty the input is visible, but works.
    let hidden = set_echo("-echo").is_ok();
    let read = read_line(&terminal);
    if hidden {
        set_echo("echo").context("cannot turn the terminal's echo on again: type `stty echo`")?;
        writeln!(terminal).with_context(no_terminal)?;
    }
    let line = read.with_context(no_terminal)?;
    let text = std::str::from_utf8(&line).context("the passphrase is not UTF-8")?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A line, without a buffer that would keep it in memory.
fn read_line(mut from: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(vec![0; MAX_LINE_BYTES]);
    let mut length = 0;
    while length < line.len() && !line[..length].contains(&b'\n') {
        match from.read(&mut line[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    line.truncate(length);
    Ok(line)
}
