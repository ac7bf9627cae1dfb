//! Which of several forms of an answer the caller wants (RFC 9110 §12.5.1).

use axum::http::{HeaderMap, header};

/// The one of `offered` (media types without parameters) that the caller likes best; none if they accept none of them.
///
/// Of those liked equally it is the one that is named more closely, then the first.
#[must_use]
pub fn preferred(headers: &HeaderMap, offered: &[&'static str]) -> Option<&'static str> {
    let mut ranges = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        ranges.extend(value.to_str().unwrap_or_default().split(',').filter_map(range));
    }
    if ranges.is_empty() {
        return offered.first().copied();
    }
    let mut best: Option<((u16, u8), &'static str)> = None;
    for offer in offered {
        let Some(liked) = liking(&ranges, offer) else { continue };
        if best.is_none_or(|(most, _)| liked > most) {
            best = Some((liked, offer));
        }
    }
    best.map(|(_, offer)| offer)
}

/// A media range and its weight in thousandths.
fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| name.contains('/'))?.to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    Some((name, weight.map_or(1000, thousandths)))
}

/// `0.5` → 500. What can't be read counts as not wanted.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, is_digits) {
        ("1", true) if fraction.bytes().all(|byte| byte == b'0') => 1000,
        ("0", true) => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// How much the media type is liked and how closely it was named, if it is accepted at all.
fn liking(ranges: &[(String, u16)], offer: &str) -> Option<(u16, u8)> {
    let kind = offer.split('/').next().unwrap_or_default();
    let closeness = |range: &str| match range.split_once('/') {
        _ if range == offer => Some(2),
        Some((of, "*")) if of == kind => Some(1),
        Some(("*", "*")) => Some(0),
        _ => None,
    };
    let closest = ranges
        .iter()
        .filter_map(|(range, weight)| Some((closeness(range)?, *weight)))
        .max_by_key(|(closeness, _)| *closeness);
    closest.filter(|(_, weight)| *weight > 0).map(|(closeness, weight)| (weight, closeness))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_chooses() {
        const OFFERED: [&str; 2] = ["text/event-stream", "application/json"];
        let (events, json) = (Some(OFFERED[0]), Some(OFFERED[1]));
        for (accept, expected) in [
            (None, events),
            (Some("*/*"), events),
            (Some("text/*"), events),
            (Some("text/event-stream"), events),
            (Some("TEXT/Event-Stream; charset=utf-8"), events),
            (Some("application/json"), json),
            (Some("application/*"), json),
            (Some("application/json, */*"), json),
            (Some("application/json, text/plain, */*"), json),
            (Some("application/json, text/event-stream"), events),
            (Some("application/json, text/event-stream;q=0.9"), json),
            (Some("application/json;q=0.1, text/event-stream;q=0.25"), events),
            (Some("text/event-stream;q=0, */*"), json),
            (Some("text/html"), None),
            (Some("text/event-stream;q=0"), None),
            (Some("application/json;q=x"), None),
            (Some("application/json;q=1.5"), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|text| (header::ACCEPT, text.parse().unwrap())));
            assert_eq!(preferred(&headers, &OFFERED), expected, "{accept:?}");
        }
    }
}
