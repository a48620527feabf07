//! Keys and payments, without any network: what the wallet commands and the test network's demo wallet stand on.
//!
//! [`mnemonic`] turns words into keys, [`keyfile`] keeps them in a file, [`coins`] chooses what to spend, [`payment`]
//! builds and signs.

use std::path::{Path, PathBuf};

use rand::CryptoRng;

use crate::primitives::keys::{PublicKey, SecretKey};

pub mod coins;
pub mod keyfile;
pub mod mnemonic;
pub mod payment;

use keyfile::{KeyFile, KeyFileError};
use mnemonic::Mnemonic;

/// A wallet on disk: the public keys handed out so far, and the secret they come from, perhaps encrypted.
///
/// What needs no secret (addresses, balance, history) needs no passphrase either.
#[derive(Debug)]
pub struct Wallet {
    path: PathBuf,
    file: KeyFile,
}

/// A wallet's secret, unlocked.
pub struct Secret {
    mnemonic: Mnemonic,
    account: mnemonic::Account,
}

impl Wallet {
    /// Creates the file, with the first key, encrypted if a passphrase is given. An existing file is never touched.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], [`KeyFileError::Io`].
    pub fn create<R: CryptoRng>(
        path: &Path,
        mnemonic: &Mnemonic,
        passphrase: Option<&str>,
        rng: &mut R,
    ) -> Result<Self, KeyFileError> {
        let first = mnemonic.account().key(0).public_key();
        let file = KeyFile::new(mnemonic, passphrase, vec![first], rng);
        file.create(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`KeyFileError`] if there is none, or it is not a wallet that this program reads.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        Ok(Self { path: path.to_owned(), file: KeyFile::read(path)? })
    }

    /// Opens the file, or creates it with new words and without a passphrase if there is none.
    ///
    /// # Errors
    /// As [`Wallet::open`] and [`Wallet::create`].
    pub fn open_or_create(path: &Path) -> Result<Self, KeyFileError> {
        match Self::open(path) {
            Err(KeyFileError::Missing { .. }) => {
                let mut rng = rand::rng();
                Self::create(path, &Mnemonic::generate(false, &mut rng), None, &mut rng)
            }
            other => other,
        }
    }

    /// Keys handed out so far, oldest first; there is at least one.
    pub fn keys(&self) -> &[PublicKey] {
        self.file.keys()
    }

    /// The key handed out last: what to be paid to.
    pub fn newest_key(&self) -> PublicKey {
        *self.keys().last().expect("a key file without keys is not read")
    }

    /// Whether a passphrase is needed to spend.
    pub fn is_encrypted(&self) -> bool {
        self.file.is_encrypted()
    }

    /// The secret; `passphrase` is looked at only if it is encrypted.
    ///
    /// # Errors
    /// [`KeyFileError::WrongPassphrase`], or [`KeyFileError::ForeignKey`] if the keys in the file do not come from it.
    pub fn unlock(&self, passphrase: Option<&str>) -> Result<Secret, KeyFileError> {
        let mnemonic = self.file.decrypt(&self.path, passphrase)?;
        let account = mnemonic.account();
        // Whoever may write the file could otherwise slip in an address of theirs.
        for (index, key) in (0..).zip(self.keys()) {
            if account.key(index).public_key() != *key {
                return Err(KeyFileError::ForeignKey { path: self.path.clone(), index });
            }
        }
        Ok(Secret { mnemonic, account })
    }

    /// Hands out the next key, and keeps that in the file.
    ///
    /// # Errors
    /// [`KeyFileError::Io`]; the key is then not handed out.
    pub fn add_key(&mut self, secret: &Secret) -> Result<PublicKey, KeyFileError> {
        let key = secret.account.key(self.keys().len() as u32).public_key();
        let longer = self.file.with_key(key);
        longer.replace(&self.path)?;
        self.file = longer;
        Ok(key)
    }

    /// The secret key of one of this wallet's keys; `None` for others.
    pub fn secret_key(&self, secret: &Secret, key: &PublicKey) -> Option<SecretKey> {
        let index = self.keys().iter().position(|own| own == key)?;
        Some(secret.account.key(index as u32))
    }
}

impl Secret {
    /// The words that restore the wallet.
    pub fn words(&self) -> String {
        self.mnemonic.words()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Mnemonic {
        Mnemonic::parse("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about")
            .unwrap()
    }

    #[test]
    fn a_wallet_reopens_and_hands_out_the_same_keys() {
        let dir = tempfile::tempdir().unwrap();
        for (name, passphrase) in [("plain.json", None), ("locked.json", Some("a secret"))] {
            let path = dir.path().join(name);
            let mut wallet = Wallet::create(&path, &words(), passphrase, &mut rand::rng()).unwrap();
            let second = wallet.add_key(&wallet.unlock(passphrase).unwrap()).unwrap();
            let reopened = Wallet::open(&path).unwrap();
            assert_eq!(reopened.keys(), [words().account().key(0).public_key(), second]);
            assert_eq!(reopened.is_encrypted(), passphrase.is_some());
            let secret = reopened.unlock(passphrase).unwrap();
            assert_eq!(secret.words(), words().words());
            assert_eq!(reopened.secret_key(&secret, &second).unwrap().public_key(), second);
            assert!(reopened.secret_key(&secret, &PublicKey([0; 32])).is_none());
            let again = Wallet::create(&path, &words(), None, &mut rand::rng());
            assert!(matches!(again, Err(KeyFileError::Exists { .. })));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn a_key_slipped_into_the_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        let wallet = Wallet::create(&path, &words(), None, &mut rand::rng()).unwrap();
        let own = hex::encode(wallet.keys()[0].0);
        let text = std::fs::read_to_string(&path).unwrap().replace(&own, &"ab".repeat(32));
        std::fs::write(&path, text).unwrap();
        let unlocked = Wallet::open(&path).unwrap().unlock(None);
        assert!(matches!(unlocked, Err(KeyFileError::ForeignKey { index: 0, .. })));
    }
}
