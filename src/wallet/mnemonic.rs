//! A wallet's secret as the words of a backup (BIP-39), in its English list.

use bip39::Language;
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::account::Account;
use super::words;

/// Words that stand for a wallet's secret: the 16 or 32 bytes that they encode.
#[derive(Clone, PartialEq, Eq)]
pub struct Mnemonic(Zeroizing<Vec<u8>>);

/// Why words are no mnemonic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum MnemonicError {
    /// Other lengths give other strengths than this wallet keeps.
    #[error("a backup has 12 or 24 words, got {got}")]
    WordCount { got: usize },
    /// Not in BIP-39's English list. The word itself is not repeated: it may be half right, and errors get logged.
    #[error("word {number} is not in the list of BIP-39: is it spelled as written down?")]
    UnknownWord {
        /// Its place, from 1.
        number: usize,
    },
    /// All words are known, but the checksum is wrong.
    #[error("the words' checksum is wrong: is one of them mistaken, or are two exchanged?")]
    Checksum,
}

impl Mnemonic {
    /// A new one of 12 (`long` false) or 24 words.
    pub fn generate<R: CryptoRng>(long: bool, rng: &mut R) -> Self {
        let mut entropy = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *entropy);
        Self::from_entropy(if long { &*entropy } else { &entropy[..16] }).expect("16 and 32 bytes make 12 and 24 words")
    }

    /// The words of 16 or 32 bytes; `None` for other lengths.
    pub fn from_entropy(entropy: &[u8]) -> Option<Self> {
        words::indices_of(entropy).map(|_| Self(Zeroizing::new(entropy.to_vec())))
    }

    /// Reads words, in any case and with any white space between them.
    ///
    /// # Errors
    /// [`MnemonicError`].
    pub fn parse(text: &str) -> Result<Self, MnemonicError> {
        let text = Zeroizing::new(text.to_lowercase());
        let words: Vec<&str> = text.split_whitespace().collect();
        if !matches!(words.len(), 12 | 24) {
            return Err(MnemonicError::WordCount { got: words.len() });
        }
        let mut indices = Zeroizing::new(Vec::with_capacity(words.len()));
        for (number, word) in (1..).zip(words) {
            indices.push(Language::English.find_word(word).ok_or(MnemonicError::UnknownWord { number })?);
        }
        words::entropy_of(&indices).map(Self).ok_or(MnemonicError::Checksum)
    }

    /// The words, to be written down.
    pub fn words(&self) -> Zeroizing<String> {
        let list = list();
        let mut text = Zeroizing::new(String::with_capacity(words::MAX_BYTES));
        for index in words::indices_of(&self.0).unwrap_or_default().iter() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(list[usize::from(*index)]);
        }
        text
    }

    /// The 16 or 32 bytes that the words stand for.
    pub fn entropy(&self) -> Zeroizing<Vec<u8>> {
        self.0.clone()
    }

    /// Where this wallet's addresses derive from.
    pub fn account(&self) -> Account {
        Account::of_words(&self.words())
    }
}

/// The English list, by index: what a browser's page shows words from.
pub fn list() -> &'static [&'static str; 1 << 11] {
    Language::English.word_list()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn generated_words_restore_the_same_keys() {
        for (long, words) in [(false, 12), (true, 24)] {
            let mnemonic = Mnemonic::generate(long, &mut rand::rng());
            assert_eq!(mnemonic.words().split(' ').count(), words);
            let shouted = mnemonic.words().to_uppercase().replace(' ', "\n  ");
            let restored = Mnemonic::parse(&shouted).unwrap();
            assert_eq!(restored.account().key(3).seed(), mnemonic.account().key(3).seed());
            assert_ne!(restored.account().key(3).seed(), mnemonic.account().key(4).seed());
        }
    }

    #[test]
    fn mistaken_words_are_explained() {
        let error = |text: &str| Mnemonic::parse(text).err().unwrap();
        assert_eq!(error("abandon about"), MnemonicError::WordCount { got: 2 });
        assert_eq!(error(&ABOUT.replace("about", "abuot")), MnemonicError::UnknownWord { number: 12 });
        assert_eq!(error(&ABOUT.replace("about", "zoo")), MnemonicError::Checksum);
    }
}
