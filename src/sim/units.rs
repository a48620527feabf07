//! Times, latencies and faults as text; printing and parsing are inverse.

use std::f64::consts::TAU;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// Longest time that can be asked for: a year, so that no sum of times overflows.
const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 3_600);
/// Longest that a message takes, whatever is drawn.
const MAX_LATENCY: Duration = Duration::from_secs(10);
/// Units and their milliseconds, the longest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A span of time as a person types it, to the millisecond: `250ms`, `90s`, `1.5m`, `2h`. In JSON it is a number of milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0.as_millis() as u64
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.as_millis();
        let whole = UNITS.iter().find(|(_, millis)| span > 0 && span.is_multiple_of(*millis));
        let (name, millis) = whole.unwrap_or(&("ms", 1));
        write!(f, "{}{name}", span / millis)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.as_millis())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let millis = (parse_time(text)?.as_secs_f64() * 1e3).round();
        Ok(Self(Duration::from_millis(millis as u64)))
    }
}

/// A span of time as [`Span`] reads it, to the nanosecond.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: expected a number and ms, s, m or h, like 250ms or 1.5m");
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let millis = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let time = Duration::try_from_secs_f64(number * millis as f64 / 1e3);
    let fits = time.ok().filter(|time| *time <= MAX_TIME);
    fits.ok_or_else(|| format!("{text} is not between 0 and a year"))
}

/// How long a message is under way; drawn once for each connection, to the millisecond.
#[derive(Debug, Clone, PartialEq)]
pub enum Latency {
    /// Any of these as likely as any other: `50ms..300ms`, or `80ms` for one only.
    Uniform(Duration, Duration),
    /// Exponential, most of them short: `exponential:MEAN`.
    Exponential(Duration),
    /// Of a median and the spread of its logarithm, as measured round trips of the internet are: `lognormal:MEDIAN:SIGMA`.
    LogNormal(Duration, f64),
}

impl Latency {
    pub(super) fn draw(&self, rng: &mut ChaCha20Rng) -> Duration {
        // From 0, which has no logarithm, excluded.
        let mut uniform = || 1.0 - rng.random::<f64>();
        let millis = match *self {
            Self::Uniform(from, to) => return draw_between(from, to, rng),
            Self::Exponential(mean) => -uniform().ln() * mean.as_millis() as f64,
            Self::LogNormal(median, sigma) => {
                // Box and Muller's way to a normal variable.
                let normal = (-2.0 * uniform().ln()).sqrt() * (TAU * uniform()).cos();
                median.as_millis() as f64 * (sigma * normal).exp()
            }
        };
        Duration::from_millis(millis.clamp(1.0, MAX_LATENCY.as_millis() as f64) as u64)
    }
}

/// A span of whole milliseconds, any from `from` to `to` as likely as any other.
pub(super) fn draw_between(from: Duration, to: Duration, rng: &mut ChaCha20Rng) -> Duration {
    Duration::from_millis(rng.random_range(from.as_millis() as u64..=to.as_millis() as u64))
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Uniform(from, to) if from == to => write!(f, "{}", Span(from)),
            Self::Uniform(from, to) => write!(f, "{}..{}", Span(from), Span(to)),
            Self::Exponential(mean) => write!(f, "exponential:{}", Span(mean)),
            Self::LogNormal(median, sigma) => write!(f, "lognormal:{}:{sigma}", Span(median)),
        }
    }
}

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let short = |text: &str| {
            let Span(span) = text.parse()?;
            if span <= MAX_LATENCY { Ok(span) } else { Err(format!("{text} is more than 10s")) }
        };
        match text.split(':').collect::<Vec<_>>()[..] {
            ["exponential", mean] => Ok(Self::Exponential(short(mean)?)),
            ["lognormal", median, sigma] => {
                let sigma = sigma.parse().ok().filter(|sigma| (0.0..=3.0).contains(sigma));
                Ok(Self::LogNormal(short(median)?, sigma.ok_or("the spread is a number from 0 to 3")?))
            }
            [range] => {
                let (from, to) = range.split_once("..").unwrap_or((range, range));
                let (from, to) = (short(from)?, short(to)?);
                if from <= to {
                    Ok(Self::Uniform(from, to))
                } else {
                    Err(format!("{} is more than {}", Span(from), Span(to)))
                }
            }
            _ => Err("expected FROM..TO, exponential:MEAN or lognormal:MEDIAN:SIGMA".to_owned()),
        }
    }
}

/// A part of a whole, from 0 to 1. A person types it as `0.3` or `30%`; in files and JSON it is a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// A number as a share.
    ///
    /// # Errors
    /// What is wrong with it, if it is not from 0 to 1.
    pub fn new(share: f64) -> Result<Self, String> {
        Self::within(share, 0.0..=1.0)
    }

    /// Reads a share that has to be in a range, which the error names.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse_within(text: &str, range: RangeInclusive<f64>) -> Result<Self, String> {
        let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
        let number: f64 =
            number.parse().map_err(|_| format!("{text:?} is not a share: expected a number like 0.3 or 30%"))?;
        Self::within(number / whole, range)
    }

    fn within(share: f64, range: RangeInclusive<f64>) -> Result<Self, String> {
        let is_in = range.contains(&share);
        let wrong = || format!("{share} is not a share from {} to {}", range.start(), range.end());
        is_in.then_some(Self(share)).ok_or_else(wrong)
    }

    /// The number, from 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The number in 2^-32, rounded down, and the whole to just less than that.
    pub fn in_32_bits(self) -> u32 {
        (self.0 * 2f64.powi(32)) as u32
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse_within(text, 0.0..=1.0)
    }
}

/// A fault of a fraction of the nodes for a time: `60s..180s:0.3`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// When it begins, counted from when measuring does.
    pub from: Duration,
    /// When it ends.
    pub to: Duration,
    /// The part of the nodes, from 0 to 1.
    pub share: f64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}:{}", Span(self.from), Span(self.to), self.share)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(times, share)| Some((times.split_once("..")?, share)));
        let ((from, to), share) =
            parts.ok_or_else(|| format!("{text:?}: expected FROM..TO:SHARE, like 60s..180s:0.3"))?;
        let (Span(from), Span(to), Share(share)) = (from.parse()?, to.parse()?, share.parse()?);
        if from < to { Ok(Self { from, to, share }) } else { Err(format!("{text} ends before it begins")) }
    }
}

macro_rules! serialize_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_text!(Latency, Fault);

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn units_print_as_they_are_typed() {
        for text in ["0ms", "250ms", "90s", "3m", "2h", "1500ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("1.5m".parse(), Ok(Span::from_secs(90)));
        for text in ["50ms..300ms", "80ms", "exponential:100ms", "lognormal:100ms:0.6"] {
            assert_eq!(text.parse::<Latency>().unwrap().to_string(), text);
        }
        assert_eq!("60s..180s:0.3".parse::<Fault>().unwrap().to_string(), "1m..3m:0.3");
        assert_eq!(
            "1m..3m:30%".parse(),
            Ok(Fault { from: Duration::from_secs(60), to: Duration::from_secs(180), share: 0.3 })
        );
    }

    #[test]
    fn malformed_units() {
        for text in ["", "5", "s", "-1s", "nans", "1e99h", "5 weeks", "99999h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["3s..1s", "1h", "normal:1s", "lognormal:1s", "lognormal:1s:9", "1s..2s..3s"] {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
        for text in ["60s..180s", "180s..60s:0.3", "60s:0.3", "1s..2s:1.1", "1s..2s:-1%", "1s..2s:nan"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_typed_in_one_form() {
        for (text, share, in_32_bits) in [
            ("0", 0.0, 0),
            ("0.25", 0.25, 1 << 30),
            ("25%", 0.25, 1 << 30),
            ("1", 1.0, u32::MAX),
            ("100%", 1.0, u32::MAX),
        ] {
            let parsed: Share = text.parse().unwrap();
            assert_eq!((parsed.get(), parsed.in_32_bits()), (share, in_32_bits), "{text}");
        }
        for text in ["1.5", "-0.1", "101%", "-1%"] {
            assert!(text.parse::<Share>().unwrap_err().ends_with("is not a share from 0 to 1"), "{text}");
        }
        assert!("nan".parse::<Share>().is_err() && "inf".parse::<Share>().is_err());
        for text in ["", "%", "half", "1/2", "0,5"] {
            assert!(text.parse::<Share>().unwrap_err().ends_with("expected a number like 0.3 or 30%"), "{text}");
        }
        assert_eq!(Share::parse_within("7%", 0.0..=0.5).unwrap().to_string(), "0.07");
        for (text, share) in [("50%", "0.5"), ("1.5", "1.5")] {
            let refused = Err(format!("{share} is not a share from 0 to 0.4"));
            assert_eq!(Share::parse_within(text, 0.0..=0.4), refused);
        }
    }

    #[test]
    fn draws_are_of_their_distribution() {
        let (mut rng, millis) = (ChaCha20Rng::seed_from_u64(1), Duration::from_millis);
        let mut sorted = |latency: Latency| {
            let mut drawn: Vec<u64> = (0..10_000).map(|_| latency.draw(&mut rng).as_millis() as u64).collect();
            drawn.sort_unstable();
            (drawn.iter().sum::<u64>() / 10_000, drawn[5_000], drawn[8_413])
        };
        let (mean, median, _) = sorted(Latency::Uniform(millis(50), millis(150)));
        assert!(mean.abs_diff(100) < 2 && median.abs_diff(100) < 3);
        let (mean, median, _) = sorted(Latency::Exponential(millis(100)));
        assert!(mean.abs_diff(100) < 4 && median.abs_diff(69) < 4, "{mean} {median}");
        // One sigma above the median are 84.13 %.
        let (_, median, above) = sorted(Latency::LogNormal(millis(100), 0.5));
        assert!(median.abs_diff(100) < 3 && above.abs_diff(165) < 5, "{median} {above}");
    }
}
