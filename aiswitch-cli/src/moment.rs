//! A moment as people write it: so long ago, a date, or a time.

use std::str::FromStr;

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};

/// The forms of a local time.
const LOCAL: [&str; 4] = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];

/// A moment as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long ago.
    Ago(TimeDelta),
    /// At this time.
    At(DateTime<Utc>),
}

/// A text that is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected how long ago, such as 10m, 2h or 3d, a date such as 2026-11-23, or a time such as 2026-11-23T10:15"
)]
pub(crate) struct NoMoment;

impl Moment {
    /// The moment, seen from now.
    pub(crate) fn at_now(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Ago(time) => now.checked_sub_signed(time).unwrap_or(DateTime::<Utc>::MIN_UTC),
            Self::At(time) => time,
        }
    }
}

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        ago(text).map(Self::Ago).or_else(|| at(text).map(Self::At)).ok_or(NoMoment)
    }
}

fn ago(text: &str) -> Option<TimeDelta> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    TimeDelta::try_seconds(number.parse::<i64>().ok()?.checked_mul(seconds)?)
}

fn at(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN));
    let local =
        date.or_else(|| LOCAL.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()))?;
    // A time that the clock passes twice is the first one; one that it jumps over is the next that there is.
    let next =
        (0..4).find_map(|hours| Local.from_local_datetime(&(local + TimeDelta::hours(hours))).earliest())?;
    Some(next.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_people_write_it() {
        let now: DateTime<Utc> = "2026-11-23T10:15:00Z".parse().unwrap();
        let from_now = |text: &str| text.parse::<Moment>().map(|moment| moment.at_now(now).to_rfc3339());
        assert_eq!(from_now("90s").unwrap(), "2026-11-23T10:13:30+00:00");
        assert_eq!(from_now("3d").unwrap(), "2026-11-20T10:15:00+00:00");
        assert_eq!(from_now("2026-11-23T10:15:00+02:00").unwrap(), "2026-11-23T08:15:00+00:00");
        assert_eq!(from_now("2026-11-23T10:15:00.5Z").unwrap(), "2026-11-23T10:15:00.500+00:00");
        let local = Local.with_ymd_and_hms(2026, 11, 23, 0, 0, 0).unwrap().to_utc();
        assert_eq!("2026-11-23".parse::<Moment>().unwrap().at_now(now), local);
        assert_eq!("2026-11-23 00:00".parse::<Moment>().unwrap().at_now(now), local);
        for wrong in
            ["", "10", "h", "-1h", "yesterday", "2026-13-01", "99999999999999999999d", "9223372036854775807w"]
        {
            assert_eq!(from_now(wrong), Err(NoMoment), "{wrong}");
        }
    }
}
