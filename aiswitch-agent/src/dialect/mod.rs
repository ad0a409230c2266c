//! What vendors' programs print: lines in, facts out. No I/O, no clock.

pub(crate) mod acp;
pub(crate) mod claude;
pub(crate) mod codex;
mod messages;
pub(crate) mod qwen;
#[cfg(test)]
mod replay;

use aiswitch_rpc::protocol::ErrorKind;

/// The kind of an error that a provider answered with this HTTP status.
pub(crate) fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Auth,
        429 => ErrorKind::RateLimit,
        _ => ErrorKind::Provider,
    }
}

/// A time in seconds since 1970 as RFC 3339 in UTC; `None` past the year 9999.
///
/// The days are turned into a date as in <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>,
/// whose years begin in March so that a leap day is the last of its year.
pub(crate) fn rfc3339(unix_s: u64) -> Option<String> {
    let days = unix_s / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (unix_s / 3_600 % 24, unix_s / 60 % 60, unix_s % 60);
    (year <= 9999).then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Whether a program's version is older than another; `None` where either is not of the form `1.2.3`.
pub(crate) fn is_older(version: &str, than: &str) -> Option<bool> {
    Some(numbers(version)? < numbers(than)?)
}

/// The first `1.2.3` in a text.
pub(crate) fn version_in(text: &str) -> Option<&str> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.')).find(|word| numbers(word).is_some())
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_seconds_is_told_as_people_write_it() {
        let written = [0, 951_782_400, 1_772_323_199, 253_402_300_799].map(|unix_s| rfc3339(unix_s).unwrap());
        let expected =
            ["1970-01-01T00:00:00Z", "2000-02-29T00:00:00Z", "2026-02-28T23:59:59Z", "9999-12-31T23:59:59Z"];
        assert_eq!(written, expected);
        assert_eq!(rfc3339(253_402_300_800), None);
        assert_eq!(rfc3339(u64::MAX), None);
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(is_older("2.1.9", "2.1.10"), Some(true));
        assert_eq!(is_older("0.169.0", "0.100.0"), Some(false));
        assert_eq!(is_older("2.1", "2.1.0"), None);
        assert_eq!(version_in("codex-cli 0.169.0"), Some("0.169.0"));
        assert_eq!(version_in("2.1.330 (Claude Code)"), Some("2.1.330"));
        assert_eq!(version_in("no version here 12"), None);
    }
}
