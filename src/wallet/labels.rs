//! Labels of payments and addresses, in a file of BIP-329 next to the wallet's, so that other wallets can read them.
//!
//! The file is `NAME.labels`, JSON Lines: `{"type": "tx", "ref": TXID, "label": TEXT}`, or `"addr"` with an address. It
//! holds no secret, but it says what payments are for: its mode is 0600.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::storage::private_file::{self, OpenError};

/// Most bytes of the file: some 100,000 labels.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Most characters of a label: as many as BIP-329 has every wallet keep.
const MAX_CHARS: usize = 255;

/// What has a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A transaction, by its id.
    Transaction,
    /// An address.
    Address,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Transaction => "tx",
            Self::Address => "addr",
        }
    }
}

/// Why a label cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum LabelError {
    /// The disk, or permissions.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Other users may read or write it.
    #[error("{file} has mode {mode:03o}, expected 600: `chmod 600 {file}` keeps others out", file = path.display())]
    TooOpen { path: PathBuf, mode: u32 },
    /// Not JSON Lines of BIP-329.
    #[error("{}, line {line}: not a label of BIP-329", path.display())]
    Malformed { path: PathBuf, line: usize },
    /// The file is full.
    #[error("{} has more than {max} bytes", path.display())]
    TooLarge { path: PathBuf, max: u64 },
    /// Too long.
    #[error("the label has {got} characters, at most {max} are allowed")]
    TooLong { got: usize, max: usize },
    /// Would not fit in a line.
    #[error("the label holds a control character")]
    ControlCharacter,
}

/// All labels of a wallet.
#[derive(Debug)]
pub struct Labels {
    path: PathBuf,
    /// Lines of the file, those of other kinds too.
    records: Vec<Map<String, Value>>,
}

impl Labels {
    /// Reads the labels of the wallet at `wallet`: none if there is no file.
    ///
    /// # Errors
    /// [`LabelError`], if there is a file that cannot be read.
    pub fn open(wallet: &Path) -> Result<Self, LabelError> {
        let mut name = wallet.file_name().unwrap_or_default().to_owned();
        name.push(".labels");
        let path = wallet.with_file_name(name);
        let text = match private_file::open(&path) {
            Ok(file) => read(file, &path)?,
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(OpenError::Io(source)) => return Err(LabelError::Io { action: "read", path, source }),
            Err(OpenError::TooOpen { mode }) => return Err(LabelError::TooOpen { path, mode }),
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let record = |(index, line)| {
            let malformed = |_| LabelError::Malformed { path: path.clone(), line: index + 1 };
            serde_json::from_str(line).map_err(malformed)
        };
        let records = lines.map(record).collect::<Result<_, _>>()?;
        Ok(Self { path, records })
    }

    /// The label of a transaction or an address, on one line.
    pub fn get(&self, kind: Kind, reference: &str) -> Option<String> {
        let record = self.records.iter().find(|record| is_of(record, kind, reference))?;
        let text = record.get("label")?.as_str()?;
        Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }

    /// Keeps a label in the file, in place of an earlier one; an empty label takes that away. Labels set by several
    /// processes at once are all kept.
    ///
    /// # Errors
    /// [`LabelError`]; the file is then as before.
    pub fn set(wallet: &Path, kind: Kind, reference: &str, label: &str) -> Result<(), LabelError> {
        check(label)?;
        let path = Self::open(wallet)?.path;
        let error = |action| {
            let path = path.clone();
            move |source| LabelError::Io { action, path, source }
        };
        let _lock = private_file::lock(&path).map_err(error("lock"))?;
        let Self { mut records, .. } = Self::open(wallet)?;
        records.retain(|record| !is_of(record, kind, reference));
        if !label.is_empty() {
            let record = json!({ "type": kind.name(), "ref": reference, "label": label });
            records.extend(record.as_object().cloned());
        }
        let mut text = String::new();
        for record in &records {
            text += &json!(record).to_string();
            text.push('\n');
        }
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(LabelError::TooLarge { path, max: MAX_FILE_BYTES });
        }
        private_file::replace(&path, text.as_bytes()).map_err(error("write"))
    }
}

/// Checks a label before the payment that it is for is sent.
///
/// # Errors
/// [`LabelError::TooLong`], [`LabelError::ControlCharacter`].
pub fn check(label: &str) -> Result<(), LabelError> {
    let got = label.chars().count();
    if got > MAX_CHARS {
        return Err(LabelError::TooLong { got, max: MAX_CHARS });
    }
    if label.chars().any(char::is_control) { Err(LabelError::ControlCharacter) } else { Ok(()) }
}

fn is_of(record: &Map<String, Value>, kind: Kind, reference: &str) -> bool {
    let has = |name, value: &str| record.get(name).and_then(Value::as_str) == Some(value);
    has("type", kind.name()) && has("ref", reference)
}

fn read(file: File, path: &Path) -> Result<String, LabelError> {
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    read.map_err(|source| LabelError::Io { action: "read", path: path.to_owned(), source })?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(LabelError::TooLarge { path: path.to_owned(), max: MAX_FILE_BYTES });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_kept_beside_those_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = dir.path().join("wallet.json");
        let get = |kind, reference| Labels::open(&wallet).unwrap().get(kind, reference);
        assert_eq!(get(Kind::Transaction, "aa"), None);
        Labels::set(&wallet, Kind::Transaction, "aa", "rent").unwrap();
        // The line of another wallet, with members and a kind that this one does not know.
        let file = dir.path().join("wallet.json.labels");
        let foreign = r#"{"label":"x","origin":"wpkh","ref":"xpub","type":"xpub"}"#;
        let text = std::fs::read_to_string(&file).unwrap() + foreign + "\n";
        private_file::replace(&file, text.as_bytes()).unwrap();
        Labels::set(&wallet, Kind::Address, "aa", "Ada").unwrap();
        Labels::set(&wallet, Kind::Transaction, "aa", "the rent").unwrap();
        assert_eq!(get(Kind::Transaction, "aa").as_deref(), Some("the rent"));
        assert_eq!(get(Kind::Address, "aa").as_deref(), Some("Ada"));
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!((text.lines().next(), text.lines().count()), (Some(foreign), 3), "{text}");
        Labels::set(&wallet, Kind::Transaction, "aa", "").unwrap();
        assert_eq!(get(Kind::Transaction, "aa"), None);
    }

    #[test]
    fn labels_set_at_once_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = dir.path().join("wallet.json");
        std::thread::scope(|scope| {
            for n in 0..16 {
                let wallet = &wallet;
                scope.spawn(move || Labels::set(wallet, Kind::Transaction, &n.to_string(), "label").unwrap());
            }
        });
        let labels = Labels::open(&wallet).unwrap();
        assert!((0..16).all(|n| labels.get(Kind::Transaction, &n.to_string()).is_some()));
    }

    #[test]
    fn what_is_no_label_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = dir.path().join("wallet.json");
        let set = |label: &str| Labels::set(&wallet, Kind::Address, "a", label);
        assert!(matches!(set(&"ä".repeat(256)), Err(LabelError::TooLong { got: 256, .. })));
        assert!(matches!(set("a\nb"), Err(LabelError::ControlCharacter)));
        set(&"ä".repeat(255)).unwrap();
        private_file::replace(&dir.path().join("wallet.json.labels"), b"{}\n[1]\n").unwrap();
        assert!(matches!(Labels::open(&wallet), Err(LabelError::Malformed { line: 2, .. })));
    }
}
