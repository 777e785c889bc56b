//! Moments as people and programs write them.

use chrono::DateTime;

const DAY_MS: u64 = 86_400_000;
/// Characters of a date.
const DATE_CHARS: usize = 10;

/// Days since 1970-01-01 as (year, month, day), both from 1: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`.
pub fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Milliseconds since 1970 as `2026-11-24T19:51:02.007Z` (RFC 3339). Later moments sort behind earlier ones.
pub fn rfc3339(millis: u64) -> String {
    let (year, month, day) = civil(millis / DAY_MS);
    let (seconds, millis) = (millis % DAY_MS / 1_000, millis % 1_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// Milliseconds since 1970 of a moment in RFC 3339, with any offset, or of the beginning of a date, in UTC; less than 0 before 1970. A part of
/// a millisecond counts as a whole one, so that a moment written by [`rfc3339`] is before this one, or not, as it is before what was read.
/// None if it is neither.
pub fn millis_of(text: &str) -> Option<i64> {
    let midnight;
    let text = if text.len() == DATE_CHARS {
        midnight = format!("{text}T00:00:00Z");
        &midnight
    } else {
        text
    };
    let moment = DateTime::parse_from_rfc3339(text).ok()?;
    let is_whole = moment.timestamp_subsec_nanos().is_multiple_of(1_000_000);
    Some(moment.timestamp_millis() + i64::from(!is_whole))
}

/// Days since 1970-01-01 of such a moment; none if it is not written like one.
pub fn day_of(moment: &str) -> Option<u64> {
    let (date, _) = moment.split_once('T')?;
    let mut parts = date.split('-');
    let mut next = || parts.next()?.parse::<u64>().ok();
    let (year, month, day) = (next()?, next()?, next()?);
    // The inverse, from the same paper: `days_from_civil`.
    let year = year.checked_sub(u64::from(month <= 2))?;
    let month_from_march = if month > 2 { month.checked_sub(3)? } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day.checked_sub(1)?;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    (civil(days) == (year + u64::from(month <= 2), month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_whatever_their_offset() {
        let noon = 20_781 * DAY_MS.cast_signed() + 12 * 3_600_000;
        for (text, millis) in [
            ("2026-11-24T12:00:00Z", noon),
            ("2026-11-24t12:00:00z", noon),
            ("2026-11-24T12:00:00.000Z", noon),
            ("2026-11-24T14:00:00+02:00", noon),
            ("2026-11-24T06:30:00.25-05:30", noon + 250),
            ("2026-11-25T00:00:00+12:00", noon),
            ("2026-11-24T12:00:00.0000001Z", noon + 1),
            ("2026-11-24T11:59:59.999999999Z", noon),
            ("2026-11-24", noon - 12 * 3_600_000),
            ("2024-02-29", 19_782 * DAY_MS.cast_signed()),
            ("1969-12-31T23:59:59.5Z", -500),
        ] {
            assert_eq!(millis_of(text), Some(millis), "{text}");
        }
        for millis in [0, 1, 999, 1_763_999_462_007, 4_102_444_800_000] {
            assert_eq!(millis_of(&rfc3339(millis)), Some(millis.cast_signed()));
        }
        for wrong in [
            "",
            "2026",
            "2026-11",
            "2026-1-2",
            "20261124",
            "2026-02-30",
            "2026-13-01",
            "2026-11-24T12:00:00",
            "2026-11-24T12:00Z",
            "2026-11-24T25:00:00Z",
            "2026-11-24T12:00:00+0200",
            "2026-11-24T12:00:00Z and more",
            " 2026-11-24",
            "yesterday",
            "größer-abc",
            "1764000000",
        ] {
            assert_eq!(millis_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_are_civil() {
        for (days, date) in [(0, (1970, 1, 1)), (19_782, (2024, 2, 29)), (20_781, (2026, 11, 24))] {
            assert_eq!(civil(days), date);
        }
        for days in (0..60_000).step_by(17) {
            assert_eq!(day_of(&rfc3339(days * DAY_MS + 5)), Some(days));
        }
        for bad in
            ["", "2026-02-30T00:00:00Z", "2026-13-01T", "x-1-1T", "1969-12-31T", "2026-01-00T", "2026-01-01"]
        {
            assert_eq!(day_of(bad), None, "{bad}");
        }
        assert_eq!(rfc3339(20_781 * DAY_MS + 71_462_007), "2026-11-24T19:51:02.007Z");
    }
}
