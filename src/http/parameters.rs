//! Form and query parameters, read as strictly as OAuth wants them (RFC 6749 §3.1, §3.2, Appendix B).
//!
//! UTF-8 or refused, never repaired; a doubled parameter is refused where it is asked for; an empty one counts as
//! left out; those that nobody asks for are ignored.

use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt as _;
use memchr::{memchr, memchr2};
use percent_encoding::percent_decode;

/// The largest request body that an endpoint reads, in bytes, if it does not say otherwise.
pub const MAX_BODY: usize = 64 * 1024;
/// How much of a larger body is read nevertheless.
const MAX_DROPPED: usize = 1024 * 1024;
/// More than any protocol message needs, and few enough to look through.
const MAX_PARAMETERS: usize = 100;

/// Decoded name-value pairs in the order in which they came.
#[derive(Default)]
pub struct Parameters(Vec<(String, String)>);

/// Why parameters can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadParameters {
    NotAForm,
    TooLarge,
    Unreadable,
    NotUtf8,
    NotPercentEncoded,
    TooMany,
}

impl BadParameters {
    /// 413 for a body over the limit, 415 for another kind of body, else 400.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotAForm => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// What to tell the caller.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::NotAForm => "the body must be application/x-www-form-urlencoded",
            Self::TooLarge => "the body is larger than 64 KiB",
            Self::Unreadable => "the body could not be read",
            Self::NotUtf8 => "a parameter is not UTF-8",
            Self::NotPercentEncoded => "a parameter is not percent-encoded correctly",
            Self::TooMany => "there are more than 100 parameters",
        }
    }
}

/// A parameter that was sent more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubled(pub &'static str);

impl Parameters {
    /// Parses `a=1&b=2` as application/x-www-form-urlencoded.
    ///
    /// # Errors
    /// When it is not UTF-8, not percent-encoded or too long.
    pub fn parse(text: &[u8]) -> Result<Self, BadParameters> {
        let mut pairs = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let pair;
            (pair, rest) = cut(rest, b'&');
            if pair.is_empty() {
                continue;
            }
            if pairs.len() == MAX_PARAMETERS {
                return Err(BadParameters::TooMany);
            }
            let (name, value) = cut(pair, b'=');
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter; an empty one counts as left out.
    ///
    /// # Errors
    /// When it was sent more than once.
    pub fn get(&self, name: &'static str) -> Result<Option<&str>, Doubled> {
        let mut found = self.0.iter().filter(|(candidate, _)| candidate == name);
        let first = found.next();
        if found.next().is_some() {
            return Err(Doubled(name));
        }
        Ok(first.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty()))
    }

    /// The value of a parameter; empty where there is none.
    ///
    /// # Errors
    /// When it was sent more than once.
    pub fn only(&self, name: &'static str) -> Result<&str, Doubled> {
        Ok(self.get(name)?.unwrap_or_default())
    }

    /// A parameter that was sent more than once.
    pub(super) fn doubled(&self) -> Option<&str> {
        let is_earlier = |at: usize, name: &str| self.0[..at].iter().any(|(it, _)| it == name);
        let mut pairs = self.0.iter().enumerate();
        pairs.find(|(at, (name, _))| is_earlier(*at, name)).map(|(_, (name, _))| name.as_str())
    }

    /// The first value of a parameter, doubled or not; empty where there is none.
    #[must_use]
    pub fn first(&self, name: &str) -> &str {
        self.0.iter().find(|(candidate, _)| candidate == name).map_or("", |(_, value)| value)
    }

    /// The first value of a parameter that people write over several lines, with the line ends that we keep.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.first(name).replace("\r\n", "\n")
    }

    /// The same, but that a parameter which is a list of words lacks one of them.
    #[must_use]
    pub fn without_word(&self, name: &str, word: &str) -> Self {
        let pairs = self.0.iter().map(|(key, value)| match key == name {
            true => {
                let left: Vec<&str> =
                    value.split(' ').filter(|candidate| *candidate != word).collect();
                (key.clone(), left.join(" "))
            }
            false => (key.clone(), value.clone()),
        });
        Self(pairs.collect())
    }

    /// The same, and the parameter with this value where it is missing or empty.
    #[must_use]
    pub fn with_default(mut self, name: &str, value: &str) -> Self {
        if self.first(name).is_empty() {
            self.0.retain(|(candidate, _)| candidate != name);
            self.0.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Every parameter with its value, doubled and empty ones too, in the order in which they came.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The pairs as a query string again.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.0);
        query.finish()
    }
}

/// What stands before the first of these bytes, and what stands after it.
fn cut(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match memchr(at, text) {
        Some(place) => (&text[..place], &text[place + 1..]),
        None => (text, &[]),
    }
}

fn decode(encoded: &[u8]) -> Result<String, BadParameters> {
    if memchr2(b'%', b'+', encoded).is_none() {
        return String::from_utf8(encoded.to_vec()).map_err(|_| BadParameters::NotUtf8);
    }
    let mut rest = encoded;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3).ok_or(BadParameters::NotPercentEncoded)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(BadParameters::NotPercentEncoded);
        }
        rest = &rest[at + 3..];
    }
    let spaced: Vec<u8> =
        encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let bytes: Vec<u8> = percent_decode(&spaced).collect();
    String::from_utf8(bytes).map_err(|_| BadParameters::NotUtf8)
}

/// The body of a form post. A refusal is a value, so that each face can tell it in its own language.
pub struct Form(pub Result<Parameters, BadParameters>);

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        Ok(Self(read(&parts.headers, body).await))
    }
}

/// A form post with its headers, in which credentials may be.
pub struct FormAndHeaders {
    pub headers: HeaderMap,
    pub form: Result<Parameters, BadParameters>,
}

impl<S: Sync> FromRequest<S> for FormAndHeaders {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let form = read(&parts.headers, body).await;
        Ok(Self { headers: parts.headers, form })
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Parameters, BadParameters> {
    if !is_form(headers) {
        return Err(BadParameters::NotAForm);
    }
    let body = read_body(body, MAX_BODY).await?;
    Parameters::parse(&body)
}

/// Reads a body up to the limit. What goes beyond is read and dropped, within reason: a caller who is still sending
/// when we hang up would not see our answer.
pub(super) async fn read_body(body: Body, max: usize) -> Result<Bytes, BadParameters> {
    let (mut first, mut all, mut dropped) = (Bytes::new(), Vec::new(), 0);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BadParameters::Unreadable)?;
        let length = first.len().max(all.len());
        if dropped > 0 || length + chunk.len() > max {
            dropped += chunk.len();
        } else if length == 0 {
            // Nearly every body comes in one piece, which is taken as it is.
            first = chunk;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&chunk);
        }
        if dropped > MAX_DROPPED {
            break;
        }
    }
    match dropped {
        0 if all.is_empty() => Ok(first),
        0 => Ok(all.into()),
        _ => Err(BadParameters::TooLarge),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plus_and_percent_are_decoded_and_empty_counts_as_left_out() {
        let parameters = Parameters::parse(b"a=1+2%2B3&b=&c&d=%C3%A9&&").unwrap();
        assert_eq!(parameters.get("a"), Ok(Some("1 2+3")));
        assert_eq!(parameters.get("b"), Ok(None));
        assert_eq!(parameters.get("c"), Ok(None));
        assert_eq!(parameters.get("d"), Ok(Some("é")));
        assert_eq!(parameters.get("e"), Ok(None));
        assert_eq!(Parameters::parse(b"a=1%0D%0A2").unwrap().text("a"), "1\n2");
    }

    #[test]
    fn a_doubled_parameter_is_refused_even_when_equal() {
        let parameters = Parameters::parse(b"a=1&a=1").unwrap();
        assert_eq!(parameters.get("a"), Err(Doubled("a")));
    }

    #[test]
    fn what_is_not_utf_8_or_not_percent_encoded_is_refused() {
        assert_eq!(Parameters::parse(b"a=%FF").err(), Some(BadParameters::NotUtf8));
        assert_eq!(Parameters::parse(b"\xff=1").err(), Some(BadParameters::NotUtf8));
        for text in ["a=%", "a=%4", "a=%zz", "a=%4%41"] {
            assert_eq!(
                Parameters::parse(text.as_bytes()).err(),
                Some(BadParameters::NotPercentEncoded),
                "{text}"
            );
        }
        let many = "a=1&".repeat(101);
        assert_eq!(Parameters::parse(many.as_bytes()).err(), Some(BadParameters::TooMany));
    }
}
