//! Times and numbers as people read them. The server knows no time zone but UTC: `console.js` puts the reader's in its
//! place, and the UTC time stays in the title.

use std::borrow::Borrow;
use std::fmt;

use askama::filters::HtmlSafe;
use entity::Timestamp;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const TO_THE_MINUTE: StaticFormatDescription =
    format_description!("[day padding:none] [month repr:short] [year], [hour]:[minute] UTC");
const TO_THE_DAY: StaticFormatDescription =
    format_description!("[day padding:none] [month repr:short] [year]");
const EXACT: StaticFormatDescription =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");

/// A moment, to the minute.
#[derive(Debug, Clone, Copy)]
pub struct Moment(Timestamp);

/// A moment, of which the day matters.
#[derive(Debug, Clone, Copy)]
pub struct Day(Timestamp);

/// What is left of a time, in its two largest units at most.
#[derive(Debug, Clone, Copy)]
pub struct Remaining {
    seconds: u64,
}

// Templates hand on references, and code mostly values.
impl Moment {
    pub fn of(at: impl Borrow<Timestamp>) -> Self {
        Self(*at.borrow())
    }
}

impl Day {
    pub fn of(at: impl Borrow<Timestamp>) -> Self {
        Self(*at.borrow())
    }
}

impl Remaining {
    pub fn until(end: impl Borrow<Timestamp>, now: impl Borrow<Timestamp>) -> Self {
        Self { seconds: end.borrow().since(*now.borrow()).as_secs() }
    }
}

fn formatted(at: Timestamp, format: StaticFormatDescription) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000).ok()?;
    at.format(format).ok()
}

fn element(
    f: &mut fmt::Formatter<'_>,
    at: Timestamp,
    format: StaticFormatDescription,
    kind: &str,
) -> fmt::Result {
    let text = |format| formatted(at, format).unwrap_or_else(|| at.to_string());
    let (exact, shown) = (text(EXACT), text(format));
    write!(f, r#"<time datetime="{at}" title="{exact}"{kind}>{shown}</time>"#)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        element(f, self.0, TO_THE_MINUTE, "")
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        element(f, self.0, TO_THE_DAY, " data-day")
    }
}

// Digits, letters and punctuation of ours alone.
impl HtmlSafe for Moment {}
impl HtmlSafe for Day {}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours) = (self.seconds / DAY, self.seconds % DAY / HOUR);
        let minutes = self.seconds % HOUR / MINUTE;
        match (days, hours) {
            (0, 0) if minutes == 0 => f.write_str("less than a minute"),
            (0, 0) => write!(f, "{minutes} min"),
            (0, hours) if minutes == 0 => write!(f, "{hours} h"),
            (0, hours) => write!(f, "{hours} h {minutes} min"),
            (1, _) => f.write_str("1 day"),
            (days, _) => write!(f, "{days} days"),
        }
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_element_that_says_both_times() {
        let at = Timestamp(1_764_336_605_000);
        assert_eq!(
            Moment(at).to_string(),
            r#"<time datetime="2025-11-28T13:30:05Z" title="2025-11-28 13:30:05 UTC">28 Nov 2025, 13:30 UTC</time>"#
        );
        assert!(Day(at).to_string().ends_with(r"data-day>28 Nov 2025</time>"));
    }

    #[test]
    fn numbers_are_grouped_and_times_are_rounded_down() {
        let texts = [0, 999, 1000, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "123,456", "1,234,567"]);
        let left = |seconds| Remaining { seconds }.to_string();
        assert_eq!(left(59), "less than a minute");
        assert_eq!(left(3600), "1 h");
        assert_eq!(left(86_399), "23 h 59 min");
        assert_eq!(left(3 * 86_400 + 5), "3 days");
    }
}
