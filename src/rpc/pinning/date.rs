//! Times as [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) writes them, from the year 1970 to 9999, to the millisecond.

/// Days from 1 March of the year 0 to 1 January 1970, in the proleptic Gregorian calendar.
const DAYS_TO_1970: i64 = 719_468;
/// Days of 400, 100, 4 years and 1 year that begin in March.
const CYCLE: i64 = 146_097;
const DAY_MILLIS: u64 = 86_400_000;

/// Days since 1970 of a date. Months are counted from March, so that the day that a leap year has more comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + of_year - DAYS_TO_1970
}

/// The date so many days after 1970 began: year, month, day.
fn date(since_1970: i64) -> (i64, i64, i64) {
    let day = since_1970 + DAYS_TO_1970;
    let (cycle, of_cycle) = (day / CYCLE, day % CYCLE);
    // Leap days before a day of the cycle are left out, so that years have equal lengths.
    let of_years = of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / (CYCLE - 1);
    let year = of_years / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = (from_march + 2) % 12 + 1;
    let year = 400 * cycle + year + i64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

/// Writes milliseconds since 1970 as a time in UTC.
pub(super) fn write(millis: u64) -> String {
    let (year, month, day) = date((millis / DAY_MILLIS) as i64);
    let of_day = millis % DAY_MILLIS;
    let (seconds, millis) = (of_day / 1_000, of_day % 1_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// Reads a time, as milliseconds since 1970; `None` for what is no time, or before 1970. More digits are cut off.
pub(super) fn read(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize, range: std::ops::RangeInclusive<i64>| -> Option<i64> {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
        digits.parse().ok().filter(|number| range.contains(number))
    };
    let is = |at: usize, marks: &str| text.as_bytes().get(at).is_some_and(|byte| marks.as_bytes().contains(byte));
    if ![(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")].into_iter().all(|(at, marks)| is(at, marks)) {
        return None;
    }
    let (year, month, day) = (number(0, 4, 1_970..=9_999)?, number(5, 7, 1..=12)?, number(8, 10, 1..=31)?);
    let (hours, minutes, seconds) = (number(11, 13, 0..=23)?, number(14, 16, 0..=59)?, number(17, 19, 0..=60)?);
    let since_1970 = days(year, month, day);
    if date(since_1970) != (year, month, day) {
        return None;
    }
    let rest = text.get(19..)?;
    let end = rest.strip_prefix('.').map_or(0, |rest| 1 + rest.bytes().take_while(u8::is_ascii_digit).count());
    if end == 1 {
        return None;
    }
    let thousandths: String = rest.get(1..end).unwrap_or_default().chars().chain("000".chars()).take(3).collect();
    let (zone, at) = (&rest[end..], 19 + end);
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = number(at + 1, at + 3, 0..=23)? * 60 + number(at + 4, at + 6, 0..=59)?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let seconds = since_1970 * 86_400 + hours * 3_600 + (minutes - offset) * 60 + seconds;
    u64::try_from(seconds * 1_000 + thousandths.parse::<i64>().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_795_989_600_123, "2026-11-29T22:00:00.123Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(write(millis), text);
            assert_eq!(read(text), Some(millis), "{text}");
        }
        for day in (0..200_000).step_by(7) {
            assert_eq!(read(&write(day * DAY_MILLIS + 5)), Some(day * DAY_MILLIS + 5));
        }
        for (text, millis) in [
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01t00:00:01.5z", 1_500),
            ("1970-01-01T00:00:00.123456789-00:01", 60_123),
        ] {
            assert_eq!(read(text), Some(millis), "{text}");
        }
        for text in [
            "",
            "1970",
            "1970-01-01",
            "1969-12-31T23:59:59Z",
            "1970-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+1:00",
            "1970-01-01T00:00:00+0100",
            "+970-01-01T00:00:00Z",
            "1970-01-01T00:00:00é",
            "é970-01-01T00:00:00Z",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
