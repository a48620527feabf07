//! The configuration file: TOML whose keys are the names of options, as defaults under the environment and the command
//! line.
//!
//! A key at the top is an option of every command; a table is named after a command, and its keys are options of that
//! command and those below it. Every option that has an environment variable can be set, so those of a single payment
//! cannot.

use std::ffi::{self, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::builder::{OsStr, Resettable};
use clap::{Arg, ArgAction, Command, Id};
use toml::{Table, Value};

use crate::storage::private_file::{self, OpenError};

/// The file's name in the data directory.
pub const DEFAULT_FILE: &str = "cairn.toml";
/// Most bytes that are read.
const MAX_BYTES: u64 = 1 << 20;

/// Why a configuration file is not used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum SettingsError {
    /// It cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// Not TOML.
    #[error("{}: {message}", path.display())]
    Toml { path: PathBuf, message: String },
    /// No such option or command.
    #[error("{}: there is no option or command {key:?} that a configuration can set", path.display())]
    Unknown { path: PathBuf, key: String },
    /// An option of some commands, at the top.
    #[error("{}: {key} is no option of every command: put it below [{}]", path.display(), tables.join("] or ["))]
    Misplaced { path: PathBuf, key: String, tables: Vec<String> },
    /// An option whose value depends on the single use.
    #[error("{}: {key} is an option of a single use: give it on the command line", path.display())]
    SingleUse { path: PathBuf, key: String },
    /// A value that no option has.
    #[error("{}: the value of {key} is of the type {got}, expected text, a number, a boolean, or an array of these", path.display())]
    Kind { path: PathBuf, key: String, got: &'static str },
    /// A value that this option cannot have.
    #[error("{}: {key}: {reason}", path.display())]
    Value { path: PathBuf, key: String, reason: String },
    /// A secret in a file that other users may read.
    #[error(
        "{file} holds {key} and has mode {mode:03o}, expected 600: `chmod 600 {file}` keeps others out",
        file = path.display()
    )]
    TooOpen { path: PathBuf, key: String, mode: u32 },
}

/// A command whose options ignore environment variables that are set and empty, as compose files and scripts leave them.
pub fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| match arg.get_env() {
        Some(name) if is_empty(name) => arg.env(Resettable::Reset),
        _ => arg,
    });
    command.mut_subcommands(without_empty_variables)
}

/// Reads the file that the command line or the environment names, else that in the data directory if there is one, and
/// makes its values the defaults of `command`. Answers the file, too.
///
/// # Errors
/// [`SettingsError`].
pub fn apply(command: Command, args: &[OsString]) -> Result<(Command, Option<PathBuf>), SettingsError> {
    let named = value_of(args, "--config", "CAIRN_CONFIG");
    let in_data_dir = || {
        let dir = value_of(args, "--data-dir", "CAIRN_DATA_DIR");
        let dir = dir.or_else(|| Some(std::env::home_dir()?.join(super::DEFAULT_DATA_DIR)))?;
        Some(dir.join(DEFAULT_FILE)).filter(|path| path.exists())
    };
    let Some(path) = named.or_else(in_data_dir) else { return Ok((command, None)) };
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    read.map_err(|source| SettingsError::Io { path: path.clone(), source })?;
    let table = text.parse::<Table>().map_err(|error| SettingsError::Toml {
        path: path.clone(),
        message: error.to_string().trim_end().to_owned(),
    })?;
    let command = Source { path: &path }.with_defaults(command, &table, "")?;
    Ok((command, Some(path)))
}

/// The last value of an option, before the command line is parsed, else that of its environment variable.
fn value_of(args: &[OsString], option: &str, variable: &str) -> Option<PathBuf> {
    let args: Vec<&ffi::OsStr> = args.iter().map(OsString::as_os_str).take_while(|arg| *arg != "--").collect();
    let after = |(index, arg): (usize, &&ffi::OsStr)| {
        if *arg == option {
            return args.get(index + 1).map(PathBuf::from);
        }
        let value = arg.to_str()?.strip_prefix(option)?.strip_prefix('=')?;
        Some(PathBuf::from(value))
    };
    let given = args.iter().enumerate().filter_map(after).next_back();
    given.or_else(|| std::env::var_os(variable).map(PathBuf::from)).filter(|path| !path.as_os_str().is_empty())
}

/// A configuration file, for errors.
struct Source<'a> {
    path: &'a Path,
}

impl Source<'_> {
    /// Makes the values of `table` the defaults of `command`, which is called `name` in errors.
    fn with_defaults(&self, mut command: Command, table: &Table, name: &str) -> Result<Command, SettingsError> {
        let is_root = name.is_empty();
        for (key, value) in table {
            let full = if is_root { key.clone() } else { format!("{name}.{key}") };
            if let Value::Table(inner) = value {
                let unknown = || SettingsError::Unknown { path: self.path.to_owned(), key: full.clone() };
                let sub = command.find_subcommand(key).cloned().ok_or_else(unknown)?;
                let sub = self.with_defaults(sub, inner, &full)?;
                command = command.mut_subcommand(key, |_| sub);
                continue;
            }
            let values = self.values(value, &full)?;
            let mut found = Found::default();
            command = self.set(command, key, &values, !is_root, &mut found)?;
            if !found.is_lasting {
                let (path, key) = (self.path.to_owned(), full);
                let has_it = |sub: &&Command| {
                    sub.get_arguments().any(|arg| arg.get_long() == Some(key.as_str()) && arg.get_env().is_some())
                };
                let tables: Vec<String> =
                    command.get_subcommands().filter(has_it).map(|sub| sub.get_name().to_owned()).collect();
                return Err(match (found.is_single_use, tables.is_empty()) {
                    (true, _) => SettingsError::SingleUse { path, key },
                    (false, true) => SettingsError::Unknown { path, key },
                    (false, false) => SettingsError::Misplaced { path, key, tables },
                });
            }
        }
        Ok(command)
    }

    /// Sets the option called `key` of `command`, and of those below it.
    fn set(
        &self,
        mut command: Command,
        key: &str,
        values: &[String],
        and_below: bool,
        found: &mut Found,
    ) -> Result<Command, SettingsError> {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(key)).cloned();
        match arg {
            Some(arg) if arg.get_env().is_some() => {
                // Such as a password.
                let is_secret = arg.is_hide_env_values_set();
                if is_secret && let Err(OpenError::TooOpen { mode }) = private_file::open(self.path) {
                    return Err(SettingsError::TooOpen { path: self.path.to_owned(), key: key.to_owned(), mode });
                }
                check(&arg, key, values).map_err(|reason| SettingsError::Value {
                    path: self.path.to_owned(),
                    key: key.to_owned(),
                    reason,
                })?;
                command = command.mut_arg(arg.get_id(), |arg| arg.default_values(values.to_vec()));
                found.is_lasting = true;
            }
            Some(_) => found.is_single_use = true,
            None => {}
        }
        if and_below {
            let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
            for name in names {
                let Some(sub) = command.find_subcommand(&name).cloned() else { continue };
                let sub = self.set(sub, key, values, true, found)?;
                command = command.mut_subcommand(name, |_| sub);
            }
        }
        Ok(command)
    }

    fn values(&self, value: &Value, key: &str) -> Result<Vec<String>, SettingsError> {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Integer(number) => Ok(number.to_string()),
            Value::Float(number) => Ok(number.to_string()),
            Value::Boolean(is) => Ok(is.to_string()),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                Err(SettingsError::Kind { path: self.path.to_owned(), key: key.to_owned(), got: value.type_str() })
            }
        };
        match value {
            Value::Array(items) => items.iter().map(text).collect(),
            single => Ok(vec![text(single)?]),
        }
    }
}

/// What options there are of one name.
#[derive(Default)]
struct Found {
    /// One that can be set.
    is_lasting: bool,
    /// One that cannot.
    is_single_use: bool,
}

/// Checks values as if they had been given on the command line: clap takes defaults for right.
///
/// # Errors
/// What clap says of them.
fn check(arg: &Arg, key: &str, values: &[String]) -> Result<(), String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        let is_switch = matches!(values, [value] if value == "true" || value == "false");
        return if is_switch { Ok(()) } else { Err("expected true or false".to_owned()) };
    }
    // By itself: what it needs beside it, and what excludes it, is not known yet.
    let alone = arg
        .clone()
        .env(Resettable::<OsStr>::Reset)
        .requires(Resettable::<Id>::Reset)
        .conflicts_with(Resettable::<Id>::Reset)
        .group(Resettable::<Id>::Reset)
        .default_value(Resettable::<OsStr>::Reset)
        .global(false);
    let words = values.iter().map(|value| format!("--{key}={value}"));
    let parsed = Command::new("cairn").no_binary_name(true).arg(alone).try_get_matches_from(words);
    parsed.map(drop).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    })
}
