//! Moments as people and programs write them.

const DAY_MS: u64 = 86_400_000;

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
