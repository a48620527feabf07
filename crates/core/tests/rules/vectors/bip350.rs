//! Addresses against the strings of BIP-350. None of them is an address of ours (they hold witness programs), so a
//! valid one must fail on its prefix or its length, and an invalid one before that.

use cairn_core::primitives::address::{self, AddressError};
use cairn_core::primitives::keys::PublicKey;
use proptest::prelude::*;

/// The prefix of our own test network.
const PREFIX: &str = "rcairn";

/// "The following strings have a valid Bech32m checksum", with the prefix and the whole bytes of each.
const VALID: [(&str, &str, usize); 7] = [
    ("A1LQFN3A", "a", 0),
    ("a1lqfn3a", "a", 0),
    (
        "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
        "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber1",
        0,
    ),
    ("abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx", "abcdef", 20),
    ("11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8", "1", 51),
    ("split1checkupstagehandshakeupstreamerranterredcaperredlc445v", "split", 30),
    ("?1v759aa", "?", 0),
];

/// "The following strings are not valid Bech32m", with what our error must say.
const INVALID: [(&str, &str); 14] = [
    (" 1xj0phk", "human-readable part"),
    ("\u{7f}1g6xzxy", "human-readable part"),
    ("\u{80}1vctc34", "human-readable part"),
    ("an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4", "too long"),
    ("qyrz8wqd2c9m", "separator"),
    ("1qyrz8wqd2c9m", "human-readable part"),
    ("y1b0jsk6g", "invalid character"),
    ("lt1igcx5c0", "invalid character"),
    ("in1muywd", "checksum"),
    ("mm1crxm3i", "invalid character"),
    ("au1s5cgom", "invalid character"),
    ("M1VUXWEZ", "checksum"),
    ("16plkw9", "human-readable part"),
    ("1p2gdwpf", "human-readable part"),
];

/// The valid segwit addresses of witness version 1 and up, which are bech32m: prefix, and whole bytes with the version's
/// five bits in front.
const VALID_SEGWIT: [(&str, &str, usize); 5] = [
    ("bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y", "bc", 40),
    ("BC1SW50QGDZ25J", "bc", 3),
    ("bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", "bc", 16),
    ("tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c", "tb", 33),
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "bc", 33),
];

/// Segwit addresses that BIP-350 calls invalid because of their characters or checksum, and the valid ones of version 0,
/// whose checksum is the older bech32's.
const NOT_BECH32M: [&str; 8] = [
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
    "tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf",
    "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
    "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
    "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq",
    "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
    "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
    "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
];

#[test]
fn valid_strings_fail_on_prefix_and_length() {
    for (text, prefix, bytes) in VALID.iter().chain(&VALID_SEGWIT) {
        let error = address::decode(PREFIX, text).unwrap_err();
        assert!(matches!(&error, AddressError::WrongPrefix { got, .. } if got == prefix), "{text}: {error}");
        let error = address::decode(prefix, text).unwrap_err();
        assert!(matches!(&error, AddressError::WrongLength { got, .. } if got == bytes), "{text}: {error}");
    }
}

#[test]
fn invalid_strings_say_why() {
    for (text, why) in INVALID {
        let error = address::decode(PREFIX, text).unwrap_err();
        assert!(matches!(&error, AddressError::Malformed { reason, .. } if reason.contains(why)), "{text:?}: {error}");
    }
    for text in NOT_BECH32M {
        let error = address::decode(PREFIX, text).unwrap_err();
        assert!(matches!(error, AddressError::Malformed { .. }), "{text}: {error}");
    }
}

#[test]
fn padding_must_be_zero() {
    // 32 bytes are 51.2 characters: the last one carries four bits of padding, which a second text could set.
    let key = PublicKey([7; 32]);
    let hrp = bech32::Hrp::parse(PREFIX).unwrap();
    let symbols: Vec<bech32::Fe32> = bech32::primitives::iter::ByteIterExt::bytes_to_fes(key.0.into_iter()).collect();
    let text = |symbols: &[bech32::Fe32]| -> String {
        use bech32::Fe32IterExt;
        symbols.iter().copied().with_checksum::<bech32::Bech32m>(&hrp).chars().collect()
    };
    assert_eq!(address::decode(PREFIX, &text(&symbols)), Ok(key));
    for padding in 1..16 {
        let mut padded = symbols.clone();
        let last = padded.last_mut().unwrap();
        *last = bech32::Fe32::try_from(last.to_u8() | padding).unwrap();
        let error = address::decode(PREFIX, &text(&padded)).unwrap_err();
        assert!(matches!(&error, AddressError::Malformed { reason, .. } if reason.contains("padding")), "{error}");
    }
}

proptest! {
    #[test]
    fn round_trip(bytes: [u8; 32], prefix in "[a-z0-9]{1,20}") {
        prop_assert!(address::is_valid_prefix(&prefix));
        let text = address::encode(&prefix, &PublicKey(bytes));
        prop_assert_eq!(address::decode(&prefix, &text), Ok(PublicKey(bytes)));
        prop_assert_eq!(address::decode(&prefix, &text.to_uppercase()), Ok(PublicKey(bytes)));
    }

    /// Bech32m finds any four wrong characters; here, one or two.
    #[test]
    fn one_or_two_wrong_characters_are_detected(bytes: [u8; 32], at in prop::array::uniform2(7usize..65), put in "[02-9ac-hj-np-z]{2}") {
        let honest = address::encode(PREFIX, &PublicKey(bytes));
        let mut typed = honest.clone().into_bytes();
        at.iter().zip(put.bytes()).for_each(|(at, byte)| typed[*at] = byte);
        let typed = String::from_utf8(typed).unwrap();
        prop_assume!(typed != honest);
        let found = matches!(address::decode(PREFIX, &typed), Err(AddressError::Malformed { .. }));
        prop_assert!(found, "{}", typed);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,100}") {
        prop_assert!(address::decode(PREFIX, &text).is_err());
    }
}
