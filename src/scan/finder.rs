//! Finds credentials in bytes: a brand and `_`, and behind it what makes the checksum right.
//!
//! Nothing is asked of what stands around a credential, for it may be glued to anything (`%3Dpc_live_…`, `…n` of a
//! broken `\n`), and any environment will do, for it may have been another one when the key was made. The checksum
//! tells, which one in four billion look-alikes has. Refresh tokens have none that can be checked without the server's
//! key; they are told by their form.

use aho_corasick::{AhoCorasick, Input, MatchKind};
use memchr::memrchr;
use portcullis_verifier::key::{self, Prefix};

use super::Kind;
use crate::tokens::{REFRESH_TOKEN_BODY, looks_like_refresh_token};

const KEY_BODY: usize = key::RANDOM_LENGTH + key::CHECKSUM_LENGTH;

/// The longest credential: nothing beyond so many bytes from its beginning matters.
pub(super) const LONGEST: usize = Prefix::MAX_LENGTH + 1 + REFRESH_TOKEN_BODY;
const _: () = assert!(KEY_BODY <= REFRESH_TOKEN_BODY);

/// Finds the credentials that bear one of these brands.
pub struct Finder {
    brands: Vec<String>,
    beginnings: AhoCorasick,
}

/// A credential: `start..end` of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

/// The brand can't be one.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no brand: 1 to 32 lower-case letters, digits and inner underscores")]
pub struct BadBrand(String);

impl Finder {
    /// A finder for these brands.
    ///
    /// # Errors
    /// When one of them is no brand, or there are none.
    pub fn new<'b>(brands: impl IntoIterator<Item = &'b str>) -> Result<Self, BadBrand> {
        let mut known = Vec::new();
        for brand in brands {
            let prefix: Prefix = brand.parse().map_err(|_| BadBrand(brand.to_owned()))?;
            known.push(prefix.to_string());
        }
        // The longest first: of `op365` and `op365_sk` the second says more of `op365_sk_cs_…`.
        known.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
        let beginnings = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(known.iter().map(|brand| format!("{brand}_")))
            .ok()
            .filter(|_| !known.is_empty())
            .ok_or_else(|| BadBrand(String::new()))?;
        Ok(Self { brands: known, beginnings })
    }

    /// The first credential in `text` that begins at `from` or after it, and before `until`.
    ///
    /// One that is cut off at the end of the text is none.
    #[must_use]
    pub fn find(&self, text: &[u8], from: usize, until: usize) -> Option<Match> {
        let mut from = from;
        while from < until {
            let found = self.beginnings.find(Input::new(text).span(from..text.len()))?;
            if found.start() >= until {
                return None;
            }
            if let Some(found) = self.judge(text, found.start()) {
                return Some(found);
            }
            from = found.start() + 1;
        }
        None
    }

    /// The credential that begins just here, where a brand stands.
    fn judge(&self, text: &[u8], start: usize) -> Option<Match> {
        let text = &text[start..];
        // No body holds a `_`, and all bodies are longer than a prefix: so if there is a credential, its body follows
        // the last `_` that a prefix can reach to.
        let reach = &text[..text.len().min(Prefix::MAX_LENGTH + 1)];
        let separator = memrchr(b'_', reach)?;
        let body = &text[separator + 1..];
        if !body.get(..KEY_BODY)?.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let prefix = std::str::from_utf8(&reach[..separator]).ok()?;
        let kind = self.kind(prefix)?;
        let ends = |length: usize, kind| {
            let end = start + separator + 1 + length;
            Some(Match { start, end, kind })
        };
        if kind == Kind::RefreshToken {
            let token = body.get(..REFRESH_TOKEN_BODY).and_then(|it| std::str::from_utf8(it).ok());
            if token.is_some_and(looks_like_refresh_token) {
                return ends(REFRESH_TOKEN_BODY, kind);
            }
        }
        let key = std::str::from_utf8(text.get(..separator + 1 + KEY_BODY)?).ok()?;
        // An API key of an environment `rt` is one, too.
        let kind = if kind == Kind::RefreshToken { Kind::ApiKey } else { kind };
        key::has_valid_checksum(key).then(|| ends(KEY_BODY, kind))?
    }

    fn kind(&self, prefix: &str) -> Option<Kind> {
        let rest = |brand: &String| {
            let rest = prefix.strip_prefix(brand.as_str())?;
            (rest.is_empty() || rest.starts_with('_')).then_some(rest)
        };
        Some(match self.brands.iter().find_map(rest)? {
            "_cs" => Kind::ClientSecret,
            "_rs" => Kind::ResourceServerCredential,
            "_rt" => Kind::RefreshToken,
            _ => Kind::ApiKey,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::hmac;
    use entity::{GrantId, Timestamp};
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::tokens::{RefreshToken, RefreshTokens};

    pub(in crate::scan) fn key(prefix: &str) -> String {
        key::generate(&prefix.parse().unwrap()).unwrap().expose_secret().to_owned()
    }

    fn refresh_token(brand: &str) -> String {
        let tokens = RefreshTokens::new(brand, hmac::Key::new(hmac::HMAC_SHA256, b"key"));
        let grant = GrantId::new(Timestamp(1_700_000_000_000));
        tokens.encode(RefreshToken { grant, generation: 7 }).expose_secret().to_owned()
    }

    fn all(finder: &Finder, text: &[u8]) -> Vec<Match> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(next) = finder.find(text, from, text.len()) {
            from = next.end;
            found.push(next);
        }
        found
    }

    /// What the finder promises, said as plainly as can be: at each place, every length.
    pub(in crate::scan) fn all_naively(brands: &[&str], text: &[u8]) -> Vec<Match> {
        let mut found = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let longest = (start..=text.len().min(start + LONGEST)).rev();
            let credential = longest.filter_map(|end| {
                let candidate = std::str::from_utf8(&text[start..end]).ok()?;
                let (prefix, body) = candidate.rsplit_once('_')?;
                let brand = brands
                    .iter()
                    .filter(|brand| candidate.starts_with(&format!("{brand}_")))
                    .max_by_key(|brand| brand.len())?;
                let rest = &prefix[brand.len()..];
                if prefix.len() > 32 {
                    return None;
                }
                if rest == "_rt" && looks_like_refresh_token(body) {
                    return Some(Match { start, end, kind: Kind::RefreshToken });
                }
                let kind = match rest {
                    "_cs" => Kind::ClientSecret,
                    "_rs" => Kind::ResourceServerCredential,
                    _ => Kind::ApiKey,
                };
                key::has_valid_checksum(candidate).then_some(Match { start, end, kind })
            });
            match credential.into_iter().next() {
                Some(credential) => {
                    start = credential.end;
                    found.push(credential);
                }
                None => start += 1,
            }
        }
        found
    }

    #[test]
    fn every_kind_is_found_under_every_brand_whatever_stands_around_it() {
        let brands = ["op365_sk", "ops0", "apvk"];
        let finder = Finder::new(brands).unwrap();
        for brand in brands {
            for (credential, kind) in [
                (key(brand), Kind::ApiKey),
                (key(&format!("{brand}_live")), Kind::ApiKey),
                (key(&format!("{brand}_an_older_word")), Kind::ApiKey),
                (key(&format!("{brand}_cs")), Kind::ClientSecret),
                (key(&format!("{brand}_rs")), Kind::ResourceServerCredential),
                (refresh_token(brand), Kind::RefreshToken),
            ] {
                for (before, after) in [
                    ("", ""),
                    ("KEY=", "\n"),
                    ("%3D", "%26x"),
                    ("x", "x"),
                    ("0_", "_0"),
                    ("ops0_", "ops0_"),
                    ("\u{e9}", "\u{0}"),
                ] {
                    let text = format!("{before}{credential}{after}");
                    let end = before.len() + credential.len();
                    let expected = [Match { start: before.len(), end, kind }];
                    assert_eq!(all(&finder, text.as_bytes()), expected, "{text}");
                }
            }
        }
    }

    #[test]
    fn what_has_another_brand_or_a_wrong_checksum_is_not_found() {
        let finder = Finder::new(["pc"]).unwrap();
        let good = key("pc_live");
        for text in [
            key("qc_live"),
            good.replace("pc_live", "pc_test"),
            good.replace("pc_live", "PC_live"),
            good.replace("pc_live_", "pc_live-"),
            good[..good.len() - 1].to_owned(),
            good[1..].to_owned(),
            "pc_rt_".to_owned() + &"0".repeat(77),
            "pc_live_".to_owned() + &"a".repeat(40),
            "pc_".repeat(100),
            String::new(),
        ] {
            assert_eq!(all(&finder, text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn the_longest_brand_names_the_kind() {
        let (client_secret, api_key) = (key("op365_sk_cs"), key("op365_sk"));
        for brands in [["op365", "op365_sk"], ["op365_sk", "op365"]] {
            let finder = Finder::new(brands).unwrap();
            assert_eq!(all(&finder, client_secret.as_bytes())[0].kind, Kind::ClientSecret);
            assert_eq!(all(&finder, api_key.as_bytes())[0].kind, Kind::ApiKey);
        }
    }

    #[test]
    fn the_longest_prefix_is_found_and_what_no_prefix_reaches_to_is_not() {
        let finder = Finder::new(["pc"]).unwrap();
        let longest = key(&format!("pc_{}", "a".repeat(29)));
        assert_eq!(all(&finder, longest.as_bytes()).len(), 1);
        let checked = format!("pc_{}_{}", "a".repeat(30), "b".repeat(34));
        let checksum = key::checksum_base62(checked.as_bytes());
        let too_long = format!("{checked}{}", std::str::from_utf8(&checksum).unwrap());
        assert!(key::has_valid_checksum(&too_long));
        assert_eq!(all(&finder, too_long.as_bytes()), []);
    }

    #[test]
    fn what_is_no_brand_is_refused() {
        for brands in [&[""][..], &["Pc"], &["pc_"], &["pc", "a-b"], &[]] {
            assert!(Finder::new(brands.iter().copied()).is_err(), "{brands:?}");
        }
        assert!(Finder::new(["pc", "pc"]).is_ok());
    }

    /// Pieces that look like credentials, and credentials, glued together.
    pub(in crate::scan) fn any_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            3 => prop::sample::select(vec!["pc", "p_c", "_", "pc_", "p_c_", "p_c_p_c_", "pc_rt_", "\n", " "])
                .prop_map(|text| text.as_bytes().to_vec()),
            3 => "[0-9A-Za-z]{1,50}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..20),
            2 => prop::sample::select(vec!["pc", "pc_live", "p_c", "p_c_cs", "p_c_p_c", "pc_rs", "other"])
                .prop_map(|prefix| key(prefix).into_bytes()),
            1 => prop::sample::select(vec!["pc", "p_c"])
                .prop_map(|brand| refresh_token(brand).into_bytes()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_finder_finds_what_a_plain_search_finds(text in any_text()) {
            let brands = ["pc", "p_c"];
            let finder = Finder::new(brands).unwrap();
            prop_assert_eq!(all(&finder, &text), all_naively(&brands, &text));
        }
    }
}
