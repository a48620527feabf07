//! A wallet as a file on disk, and the lock of the one process that changes it.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::account::Account;
use super::keyfile::{KeyFile, KeyFileError};
use super::mnemonic::Mnemonic;
use crate::primitives::keys::{PublicKey, SecretKey};

/// A wallet on disk: the public keys handed out so far, and the secret they come from, perhaps encrypted.
///
/// Operations that need no secret (addresses, balance, history) need no passphrase either.
#[derive(Debug)]
pub struct Wallet {
    path: PathBuf,
    file: KeyFile,
}

/// A wallet that no other process changes or pays from as long as this value lives.
#[derive(Debug)]
pub struct LockedWallet {
    wallet: Wallet,
    _lock: File,
}

/// A wallet's secret, unlocked.
pub struct Secret {
    mnemonic: Mnemonic,
    account: Account,
}

impl Wallet {
    /// Creates the file, with the first `addresses` keys (one at least), encrypted if a passphrase is given. An existing
    /// file is never touched.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], [`KeyFileError::Io`].
    pub fn create<R: CryptoRng>(
        path: &Path,
        mnemonic: &Mnemonic,
        passphrase: Option<&str>,
        addresses: u32,
        rng: &mut R,
    ) -> Result<Self, KeyFileError> {
        let account = mnemonic.account();
        let keys = (0..addresses.max(1)).map(|index| account.key(index).public_key()).collect();
        let file = KeyFile::new(mnemonic, passphrase, keys, rng);
        let _lock = KeyFile::lock(path)?;
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

    /// Opens the file, or creates it with words drawn from `rng` and without a passphrase if there is none.
    ///
    /// # Errors
    /// As [`Wallet::open`] and [`Wallet::create`].
    pub fn open_or_create<R: CryptoRng>(path: &Path, rng: &mut R) -> Result<Self, KeyFileError> {
        match Self::open(path) {
            Err(KeyFileError::Missing { .. }) => {}
            other => return other,
        }
        match Self::create(path, &Mnemonic::generate(false, rng), None, 1, rng) {
            // Another process has made it meanwhile.
            Err(KeyFileError::Exists { .. }) => Self::open(path),
            other => other,
        }
    }

    /// Adds keys to a file without a secret, which is made if there is none.
    ///
    /// # Errors
    /// As [`Wallet::open`]; [`KeyFileError::HasKeys`] if the file has a secret, from which its keys come.
    pub fn watch(path: &Path, keys: &[PublicKey]) -> Result<Self, KeyFileError> {
        let _lock = KeyFile::lock(path)?;
        let known = match KeyFile::read(path) {
            Ok(file) if !file.is_watch_only() => return Err(KeyFileError::HasKeys { path: path.to_owned() }),
            Ok(file) => Some(file),
            Err(KeyFileError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut all = known.as_ref().map_or_else(Vec::new, |file| file.keys().to_vec());
        for key in keys {
            if !all.contains(key) {
                all.push(*key);
            }
        }
        let file = KeyFile::watching(all);
        match known {
            Some(_) => file.replace(path)?,
            None => file.create(path)?,
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// Waits until no other process uses this wallet's lock and holds it until the value is dropped. Reads the file
    /// again and checks its keys against the secret.
    ///
    /// # Errors
    /// As [`Wallet::open`]; [`KeyFileError::ForeignKey`] if the keys in the file do not come from the secret.
    pub fn lock(path: &Path, secret: &Secret) -> Result<LockedWallet, KeyFileError> {
        let lock = KeyFile::lock(path)?;
        let wallet = Self::open(path)?;
        wallet.check_keys(&secret.account)?;
        Ok(LockedWallet { wallet, _lock: lock })
    }

    /// Keys handed out so far, oldest first; there is at least one.
    pub fn keys(&self) -> &[PublicKey] {
        self.file.keys()
    }

    /// The key handed out last: what to be paid to.
    pub fn newest_key(&self) -> PublicKey {
        *self.keys().last().expect("a key file without keys is not read")
    }

    /// The key that change goes to: the newest that is not one of `payees`, so that no payee gets the change too. `None`
    /// if all are.
    pub fn change_key(&self, payees: &[PublicKey]) -> Option<PublicKey> {
        self.keys().iter().rev().find(|key| !payees.contains(key)).copied()
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
        self.check_keys(&account)?;
        Ok(Secret { mnemonic, account })
    }

    /// Otherwise an attacker who can write the file could insert their own address.
    fn check_keys(&self, account: &Account) -> Result<(), KeyFileError> {
        match (0..).zip(self.keys()).find(|(index, key)| account.key(*index).public_key() != **key) {
            Some((index, _)) => Err(KeyFileError::ForeignKey { path: self.path.clone(), index }),
            None => Ok(()),
        }
    }

    /// The secret key of one of this wallet's keys; `None` for others.
    pub fn secret_key(&self, secret: &Secret, key: &PublicKey) -> Option<SecretKey> {
        let index = self.keys().iter().position(|own| own == key)?;
        Some(secret.account.key(index as u32))
    }
}

impl LockedWallet {
    /// Hands out the next key, and keeps it in the file.
    ///
    /// # Errors
    /// [`KeyFileError::Io`]; the key is then not handed out.
    pub fn add_key(&mut self, secret: &Secret) -> Result<PublicKey, KeyFileError> {
        self.hand_out(secret, self.keys().len() as u32 + 1)?;
        Ok(self.newest_key())
    }

    /// Hands out keys until there are `count` of them, and keeps them in the file. Fewer than there are changes nothing.
    ///
    /// # Errors
    /// [`KeyFileError::Io`]; no key is then handed out.
    pub fn hand_out(&mut self, secret: &Secret, count: u32) -> Result<(), KeyFileError> {
        let known = self.keys().len() as u32;
        if known >= count {
            return Ok(());
        }
        let further = (known..count).map(|index| secret.account.key(index).public_key());
        let longer = self.file.with_keys(self.keys().iter().copied().chain(further).collect());
        longer.replace(&self.wallet.path)?;
        self.wallet.file = longer;
        Ok(())
    }
}

impl Deref for LockedWallet {
    type Target = Wallet;

    fn deref(&self) -> &Wallet {
        &self.wallet
    }
}

impl Secret {
    /// The words that restore the wallet.
    pub fn words(&self) -> Zeroizing<String> {
        self.mnemonic.words()
    }

    /// Where the wallet's addresses derive from.
    pub fn account(&self) -> &Account {
        &self.account
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
            let created = Wallet::create(&path, &words(), passphrase, 2, &mut rand::rng()).unwrap();
            let secret = created.unlock(passphrase).unwrap();
            let third = Wallet::lock(&path, &secret).unwrap().add_key(&secret).unwrap();
            let reopened = Wallet::open(&path).unwrap();
            let expected = [0, 1, 2].map(|index| words().account().key(index).public_key());
            assert_eq!((reopened.keys(), expected[2]), (&expected[..], third));
            assert_eq!(reopened.is_encrypted(), passphrase.is_some());
            let secret = reopened.unlock(passphrase).unwrap();
            assert_eq!(*secret.words(), *words().words());
            assert_eq!(reopened.secret_key(&secret, &third).unwrap().public_key(), third);
            assert!(reopened.secret_key(&secret, &PublicKey([0; 32])).is_none());
            let again = Wallet::create(&path, &words(), None, 1, &mut rand::rng());
            assert!(matches!(again, Err(KeyFileError::Exists { .. })));
        }
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["locked.json", "locked.json.lock", "plain.json", "plain.json.lock"], "no temporary file");
    }

    #[test]
    fn handing_out_counts_the_keys_of_other_processes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/wallet.json");
        let stale = Wallet::open_or_create(&path, &mut rand::rng()).unwrap();
        let secret = stale.unlock(None).unwrap();
        let second = Wallet::lock(&path, &secret).unwrap().add_key(&secret).unwrap();
        // The secret was read before the second key was handed out.
        let mut locked = Wallet::lock(&path, &secret).unwrap();
        assert_eq!(locked.newest_key(), second);
        locked.hand_out(&secret, 1).unwrap();
        assert_eq!(locked.keys().len(), 2, "none is taken back");
        locked.hand_out(&secret, 5).unwrap();
        drop(locked);
        assert_eq!(Wallet::open_or_create(&path, &mut rand::rng()).unwrap().keys().len(), 5);
    }

    #[test]
    fn a_watched_address_has_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watch.json");
        let keys = [1, 2].map(|n| SecretKey::from_seed([n; 32]).public_key());
        Wallet::watch(&path, &keys[..1]).unwrap();
        assert_eq!(Wallet::watch(&path, &keys).unwrap().keys(), keys, "each once");
        let wallet = Wallet::open(&path).unwrap();
        assert_eq!((wallet.keys(), wallet.is_encrypted()), (&keys[..], false));
        assert!(matches!(wallet.unlock(None), Err(KeyFileError::WatchOnly { .. })));
        let own = dir.path().join("wallet.json");
        Wallet::create(&own, &words(), None, 1, &mut rand::rng()).unwrap();
        assert!(matches!(Wallet::watch(&own, &keys), Err(KeyFileError::HasKeys { .. })));
        assert_eq!(Wallet::open(&own).unwrap().keys().len(), 1);
    }

    #[test]
    fn a_foreign_key_in_the_file_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        let wallet = Wallet::create(&path, &words(), None, 1, &mut rand::rng()).unwrap();
        let secret = wallet.unlock(None).unwrap();
        let own = hex::encode(wallet.keys()[0].0);
        let text = std::fs::read_to_string(&path).unwrap().replace(&own, &"ab".repeat(32));
        std::fs::write(&path, text).unwrap();
        let unlocked = Wallet::open(&path).unwrap().unlock(None);
        assert!(matches!(unlocked, Err(KeyFileError::ForeignKey { index: 0, .. })));
        // After the secret was read, too.
        assert!(matches!(Wallet::lock(&path, &secret), Err(KeyFileError::ForeignKey { index: 0, .. })));
    }
}
