//! Addresses: bech32m (BIP-350) of the 32 bytes of a public key, under the network's prefix.

use bech32::primitives::decode::{CheckedHrpstring, CheckedHrpstringError, ChecksumError};
use bech32::{Bech32m, Hrp};

use zeroize::Zeroizing;

use super::keys::{PublicKey, SecretKey};

/// Why text is not an address of this network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not bech32m: a foreign character, mixed case, a wrong checksum…
    #[error("{text:?} is not an address: {reason}")]
    Malformed {
        /// The text given, cut to 100 characters.
        text: String,
        /// The decoder's error.
        reason: String,
    },
    /// An address of another network.
    #[error("address {text:?} is for network prefix {got:?}, expected {expected:?}")]
    WrongPrefix {
        /// The text given.
        text: String,
        /// Its prefix.
        got: String,
        /// This network's prefix.
        expected: String,
    },
    /// The payload does not have the length of a key.
    #[error("address {text:?} holds {got} bytes, expected 32")]
    WrongLength {
        /// The text given.
        text: String,
        /// Bytes it holds.
        got: usize,
    },
}

/// The address of `key` under `prefix`, lower case.
///
/// # Panics
/// If `prefix` is not a valid bech32 prefix; network parameters check it with [`is_valid_prefix`].
pub fn encode(prefix: &str, key: &PublicKey) -> String {
    let hrp = Hrp::parse(prefix).expect("the network's prefix was checked with its parameters");
    bech32::encode_lower::<Bech32m>(hrp, &key.0).expect("32 bytes and a checked prefix fit bech32m's 1,023 characters")
}

/// The key that `text` is an address of.
///
/// # Errors
/// [`AddressError`] if it is not bech32m, of another network, or of another length.
pub fn decode(prefix: &str, text: &str) -> Result<PublicKey, AddressError> {
    let shown = || text.chars().take(100).collect::<String>();
    let parsed = CheckedHrpstring::new::<Bech32m>(text)
        .map_err(|e| AddressError::Malformed { text: shown(), reason: describe(&e) })?;
    let got = parsed.hrp().to_lowercase();
    if got != prefix {
        return Err(AddressError::WrongPrefix { text: shown(), got, expected: prefix.to_owned() });
    }
    let bytes: Vec<u8> = parsed.byte_iter().collect();
    let got = bytes.len();
    let key = bytes.try_into().map(PublicKey).map_err(|_| AddressError::WrongLength { text: shown(), got })?;
    if !encode(prefix, &key).eq_ignore_ascii_case(text) {
        return Err(AddressError::Malformed { text: shown(), reason: "padding bits are not zero".to_owned() });
    }
    Ok(key)
}

/// Text that is not a private key of this network. It is not quoted: it may be one of another network, or nearly one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 bytes in bech32m under the prefix {expected:?}")]
pub struct SecretParseError {
    /// The prefix of this network's private keys.
    pub expected: String,
}

/// The prefix of private keys. No address begins like that: their prefixes have no underscore.
fn secret_prefix(prefix: &str) -> String {
    format!("{prefix}_secret")
}

/// The text of a private key: bech32m of its 32-byte seed, under the network's prefix and `_secret`.
///
/// # Panics
/// As [`encode`].
pub fn encode_secret(prefix: &str, key: &SecretKey) -> Zeroizing<String> {
    let seed = Zeroizing::new(key.seed());
    let hrp = Hrp::parse(&secret_prefix(prefix)).expect("the network's prefix was checked with its parameters");
    let text = bech32::encode_lower::<Bech32m>(hrp, &*seed);
    Zeroizing::new(text.expect("32 bytes and a checked prefix fit bech32m's 1,023 characters"))
}

/// The private key that `text` stands for.
///
/// # Errors
/// [`SecretParseError`] if it is not bech32m, of another network, or of another length.
pub fn decode_secret(prefix: &str, text: &str) -> Result<SecretKey, SecretParseError> {
    let expected = secret_prefix(prefix);
    let key = CheckedHrpstring::new::<Bech32m>(text).ok().and_then(|parsed| {
        let mut seed = Zeroizing::new([0; 32]);
        let mut bytes = parsed.byte_iter();
        seed.iter_mut().try_for_each(|place| bytes.next().map(|byte| *place = byte))?;
        (parsed.hrp().to_lowercase() == expected && bytes.next().is_none()).then(|| SecretKey::from_seed(*seed))
    });
    key.filter(|key| encode_secret(prefix, key).eq_ignore_ascii_case(text)).ok_or(SecretParseError { expected })
}

/// Whether `prefix` can stand before an address: 1 to 20 lower-case letters and digits.
pub fn is_valid_prefix(prefix: &str) -> bool {
    (1..=20).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Joins the whole chain of causes: bech32's outer errors alone say too little. Of a wrong checksum they say too much.
fn describe(error: &CheckedHrpstringError) -> String {
    if matches!(error, CheckedHrpstringError::Checksum(ChecksumError::InvalidResidue(_))) {
        return "its checksum is wrong, so a character is mistyped or missing".to_owned();
    }
    let error: &dyn std::error::Error = error;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_text_of_its_own_kind() {
        let key = SecretKey::from_seed([7; 32]);
        let text = encode_secret("cairn", &key);
        assert!(text.starts_with("cairn_secret1"), "{}", *text);
        let same = |text: &str| decode_secret("cairn", text).map(|key| key.seed());
        assert_eq!(same(&text), Ok([7; 32]));
        assert_eq!(same(&text.to_uppercase()), Ok([7; 32]));
        let address = encode("cairn", &key.public_key());
        let changed = text.replace("_secret1q", "_secret1p");
        for wrong in ["", &address, &text[1..], &changed, &encode_secret("other", &key)] {
            assert!(same(wrong).is_err(), "{wrong}");
        }
        assert!(decode("cairn", &text).is_err(), "no address");
        let error = decode_secret("other", &text).unwrap_err().to_string();
        assert!(!error.contains(&text[13..20]), "the key is not quoted: {error}");
    }
}
