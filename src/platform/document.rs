//! A document that is the same for everybody: rendered when it changes, not when it is asked for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

/// The text as it is sent, and what tells it from any other. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Document {
    pub body: Bytes,
    /// A strong ETag, quoted.
    pub etag: Arc<str>,
}

impl Document {
    #[must_use]
    pub fn new(text: String) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]));
        Self { body: text.into(), etag: etag.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_that_of_the_text_and_of_no_other() {
        let tag = |text: &str| Document::new(text.to_owned()).etag;
        assert_eq!(tag("{}"), tag("{}"));
        assert_ne!(tag("{}"), tag("{ }"));
        assert_eq!(tag("").len(), 24, "128 bits in base64url, and quotes");
    }
}
