//! Amounts. Everything that is stored, sent or spoken over RPC counts grains, in a `u64`; coins are for people.

use std::fmt::Display;

/// Grains in one coin.
pub const COIN: u64 = 100_000_000;

/// Most grains a network may ever issue: 2^53 − 1, so that every JSON reader holds an amount exactly.
pub const MAX_SUPPLY: u64 = (1 << 53) - 1;

/// Text that is not an amount of coins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{got:?} is not an amount of coins: expected a number like 1.5 with at most 8 decimals and at most 90071992.54740991"
)]
pub struct AmountParseError {
    /// The text given.
    pub got: String,
}

/// `grains` in coins, without trailing zeros: `1.5`, `0.00000001`, `3`.
pub fn format_coins(grains: u64) -> String {
    let (whole, part) = (grains / COIN, grains % COIN);
    if part == 0 {
        return whole.to_string();
    }
    let decimals = format!("{part:08}");
    format!("{whole}.{}", decimals.trim_end_matches('0'))
}

/// A number with the noun that it counts, in the plural where it should be: `1 block`, `2 blocks`, `0 addresses`.
pub fn counted(count: impl Display + Copy + TryInto<u64>, noun: &str) -> String {
    let ending = match count.try_into().is_ok_and(|count| count == 1) {
        true => "",
        false if noun.ends_with('s') => "es",
        false => "s",
    };
    format!("{count} {noun}{ending}")
}

/// An amount with its unit, for people: `1 coin`, `1.5 coins`, `0 coins`.
pub fn in_coins(grains: u64) -> String {
    format!("{} coin{}", format_coins(grains), if grains == COIN { "" } else { "s" })
}

/// The grains that an amount of coins such as `1.5` stands for. No float is involved.
///
/// # Errors
/// [`AmountParseError`] on anything but digits with at most one point and eight decimals, or above [`MAX_SUPPLY`].
pub fn parse_coins(text: &str) -> Result<u64, AmountParseError> {
    let error = || AmountParseError { got: text.chars().take(80).collect() };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 8 || (whole.is_empty() && part.is_empty()) {
        return Err(error());
    }
    let grains = format!("{whole}{part:0<8}").parse::<u64>().map_err(|_| error())?;
    if grains > MAX_SUPPLY { Err(error()) } else { Ok(grains) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_kind_is_no_plural() {
        assert_eq!([0u64, 1, 2].map(|n| counted(n, "grain")), ["0 grains", "1 grain", "2 grains"]);
        assert_eq!([0u64, 1, 2].map(|n| counted(n, "address")), ["0 addresses", "1 address", "2 addresses"]);
        assert_eq!([0, COIN, COIN + 1].map(in_coins), ["0 coins", "1 coin", "1.00000001 coins"]);
        assert_eq!((counted(1usize, "peer"), counted(21u32, "peer")), ("1 peer".to_owned(), "21 peers".to_owned()));
    }

    #[test]
    fn coins_and_grains() {
        for (text, grains) in
            [("0", 0), ("1", COIN), ("1.5", 150_000_000), ("0.00000001", 1), (".5", COIN / 2), ("2.", 2 * COIN)]
        {
            assert_eq!(parse_coins(text), Ok(grains), "{text}");
            assert_eq!(parse_coins(&format_coins(grains)), Ok(grains));
        }
        for text in ["", ".", "-1", "1e8", "1.000000001", "1,5", " 1", "99999999999999999999", "90071992.54740992"] {
            assert!(parse_coins(text).is_err(), "{text}");
        }
    }
}
