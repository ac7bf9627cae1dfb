//! The format of API keys and of other opaque credentials: `<prefix>_<34 random characters><6 of checksum>`.
//!
//! The last 40 characters are base62. The checksum is the CRC-32 (ISO-HDLC) of all that stands before it, the prefix
//! included. It lets a mistyped or invented key be refused without asking anyone, and secret scanners tell a key from
//! a look-alike; it proves nothing, since anyone can compute it.
//!
//! What is caught for certain in a key of ours: a change within four neighbouring characters before the checksum (a
//! CRC-32 catches every burst of 32 bits), so each wrong character and each swap of neighbours; any change of the
//! checksum alone; a character of the last 40 that was left out, and a letter or digit put in among them. Of all other
//! changes one in 2^32 goes unnoticed.
//!
//! Prefixes hold digits and underscores, so a key is read from its right end and never split at `_`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use aws_lc_rs::digest::SHA256;
use secrecy::SecretString;
use secrecy::zeroize::Zeroize;

use crate::base62;

/// The greatest length that [`has_valid_checksum`] looks at, in bytes.
pub const MAX_LENGTH: usize = 128;
/// The number of random characters: 34 × log2 62 ≈ 202 bits.
pub const RANDOM_LENGTH: usize = 34;
/// The number of characters of the checksum.
pub const CHECKSUM_LENGTH: usize = 6;

/// The lengths that an imported key can have, in bytes.
const IMPORTED_LENGTH: RangeInclusive<usize> = 16..=512;
const BODY_LENGTH: usize = RANDOM_LENGTH + CHECKSUM_LENGTH;

/// What a credential begins with, for people and secret scanners: `op365_sk_live`, say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(String);

/// The text is no [`Prefix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a prefix has 1 to {max} characters of `a-z`, `0-9` and `_`, and no `_` at its ends",
    max = Prefix::MAX_LENGTH
)]
pub struct PrefixError;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomError;

impl Prefix {
    /// The greatest length, in characters.
    pub const MAX_LENGTH: usize = 32;

    /// Joins a brand and a kind or environment: `op365_sk` and `live` give `op365_sk_live`.
    ///
    /// The second part may be empty, and then the brand is the prefix.
    pub fn new(brand: &str, environment: &str) -> Result<Prefix, PrefixError> {
        if environment.is_empty() {
            brand.parse()
        } else {
            format!("{brand}_{environment}").parse()
        }
    }

    /// The text, without the `_` that follows it in a key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let valid = (1..=Prefix::MAX_LENGTH).contains(&text.len())
            && text.bytes().all(is_prefix_byte)
            && !text.starts_with('_')
            && !text.ends_with('_');
        valid.then(|| Prefix(text.to_owned())).ok_or(PrefixError)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` has the form of a key and the checksum that belongs to it. Says nothing about the key being known.
pub fn has_valid_checksum(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() > MAX_LENGTH || bytes.len() < BODY_LENGTH + 2 {
        return false;
    }
    let (head, body) = bytes.split_at(bytes.len() - BODY_LENGTH);
    let (checked, checksum) = bytes.split_at(bytes.len() - CHECKSUM_LENGTH);
    head.ends_with(b"_")
        && head.iter().copied().all(is_prefix_byte)
        && body.iter().all(|digit| base62::value(*digit).is_some())
        && checksum == checksum_base62(checked)
}

/// Whether `text` may be a key that was made elsewhere and imported: it begins like those, and has 16 to 512 bytes. Such
/// keys have another checksum, or none.
pub fn may_be_imported(text: &str, prefixes: &[String]) -> bool {
    IMPORTED_LENGTH.contains(&text.len()) && prefixes.iter().any(|prefix| text.starts_with(prefix))
}

/// A new key with 34 characters from the operating system's randomness.
pub fn generate(prefix: &Prefix) -> Result<SecretString, RandomError> {
    let mut random = [0; RANDOM_LENGTH];
    let mut filled = 0;
    while filled < RANDOM_LENGTH {
        let mut bytes = [0; 2 * RANDOM_LENGTH];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| RandomError)?;
        // 248 is the greatest multiple of 62 in a byte; taking the rest too would favour the first digits.
        let digits = bytes.iter().filter(|byte| **byte < 248);
        for (slot, byte) in random[filled..].iter_mut().zip(digits) {
            *slot = base62::DIGITS[usize::from(byte % 62)];
            filled += 1;
        }
        bytes.zeroize();
    }
    let key = join(prefix, &random);
    random.zeroize();
    Ok(key)
}

/// The key with this prefix and these 34 characters. `None` when one of them is no base62 digit.
pub fn assemble(prefix: &Prefix, random: &[u8; RANDOM_LENGTH]) -> Option<SecretString> {
    random.iter().all(|digit| base62::value(*digit).is_some()).then(|| join(prefix, random))
}

fn join(prefix: &Prefix, random: &[u8; RANDOM_LENGTH]) -> SecretString {
    // Of the right size at once: a string that grows leaves copies behind.
    let mut key = String::with_capacity(prefix.0.len() + 1 + BODY_LENGTH);
    key.push_str(&prefix.0);
    key.push('_');
    key.extend(random.iter().copied().map(char::from));
    let checksum = checksum_base62(key.as_bytes());
    key.extend(checksum.map(char::from));
    SecretString::from(key)
}

/// The SHA-256 of the whole key, under which it is stored and cached. Keys are random enough for a fast hash.
pub fn digest(text: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, text.as_bytes()).as_ref());
    digest
}

/// The CRC-32 (ISO-HDLC, as in zlib) of `bytes` as six base62 digits, padded with `0` on the left.
pub fn checksum_base62(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    base62::digits(u64::from(crc32fast::hash(bytes)))
}

fn is_prefix_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn checksum(text: &str) -> String {
        checksum_base62(text.as_bytes()).map(char::from).iter().collect()
    }

    #[test]
    fn the_checksum_is_that_of_github_and_npm() {
        assert_eq!(checksum("000000000000000000000000000000"), "2C8GjS");
        assert_eq!(checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), "0mLq17");
        assert_eq!(checksum("qkJaB6MffYVzZXWqmcoF49yrUxP3wf"), "0LsakP");
        assert_eq!(base62::digits::<6>(u64::from(u32::MAX)), *b"4gfFC3");
        assert_eq!(base62::digits::<6>(0), *b"000000");
    }

    #[test]
    fn a_prefix_may_hold_digits_and_underscores_but_not_end_in_one() {
        let prefix =
            |brand: &str, environment: &str| Prefix::new(brand, environment).map(|p| p.to_string());
        assert_eq!(prefix("op365_sk", "live").as_deref(), Ok("op365_sk_live"));
        assert_eq!(prefix("ops0", "").as_deref(), Ok("ops0"));
        assert_eq!(prefix("apvk", "test").as_deref(), Ok("apvk_test"));
        assert_eq!(prefix(&"a".repeat(32), "").map(|p| p.len()), Ok(32));
        for brand in ["", "_", "_a", "a_", "A", "a-b", "é", &"a".repeat(33)] {
            assert_eq!(prefix(brand, ""), Err(PrefixError), "{brand}");
        }
        assert_eq!(prefix("pc", "live_"), Err(PrefixError));
        assert_eq!(prefix("", "live"), Err(PrefixError));
    }

    #[test]
    fn a_key_is_read_from_its_right_end() {
        let random = [b'a'; RANDOM_LENGTH];
        for prefix in ["pc_live", "op365_sk", "ops0", "a", "a_1_b_2"] {
            let key = assemble(&prefix.parse().unwrap(), &random).unwrap();
            assert!(has_valid_checksum(key.expose_secret()), "{prefix}");
        }
        assert!(assemble(&"pc".parse().unwrap(), &[b'_'; RANDOM_LENGTH]).is_none());
    }

    #[test]
    fn what_has_no_prefix_or_another_form_is_refused_whatever_its_checksum() {
        let signed = |text: &str| format!("{text}{}", checksum(text));
        let random = "a".repeat(RANDOM_LENGTH);
        assert!(has_valid_checksum(&signed(&format!("pc_{random}"))));
        for text in [
            String::new(),
            random.clone(),
            format!("_{random}"),
            format!("pc{random}"),
            format!("pc-{random}"),
            format!("PC_{random}"),
            format!("pé_{random}"),
            format!("pc_{}-", &random[1..]),
            format!("{}_{random}", "a".repeat(MAX_LENGTH - BODY_LENGTH)),
        ] {
            assert!(!has_valid_checksum(&signed(&text)), "{text}");
        }
        let longest = format!("{}_{random}", "a".repeat(MAX_LENGTH - BODY_LENGTH - 1));
        assert!(has_valid_checksum(&signed(&longest)));
    }

    #[test]
    fn keys_differ_and_do_not_print() {
        let prefix = Prefix::new("pc", "live").unwrap();
        let (one, other) = (generate(&prefix).unwrap(), generate(&prefix).unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert!(!format!("{one:?}").contains("pc_live"));
    }

    #[test]
    fn what_was_imported_is_known_by_its_beginning() {
        let prefixes = ["sk_old_".to_owned(), "SG.".to_owned()];
        let may_be = |text: &str| may_be_imported(text, &prefixes);
        assert!(may_be("sk_old_123456789") && may_be("SG.abcdefg.hijklmn"));
        assert!(!may_be("sk_old_12345678") && !may_be("sk_new_1234567890") && !may_be(""));
        assert!(!may_be(&format!("sk_old_{}", "a".repeat(506))));
        assert!(!may_be_imported("sk_old_123456789", &[]));
    }

    #[test]
    fn a_digest_is_sha_256() {
        assert_eq!(digest("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    proptest! {
        #[test]
        fn a_generated_key_is_valid_and_every_changed_character_is_caught(
            prefix in "[a-z][a-z0-9_]{0,10}[a-z0-9]",
            change in any::<prop::sample::Index>(),
            replacement in "[ -~]",
        ) {
            let key = generate(&prefix.parse().unwrap()).unwrap();
            let key = key.expose_secret();
            prop_assert!(has_valid_checksum(key));
            prop_assert_eq!(key.len(), prefix.len() + 41);
            let at = change.index(key.len());
            let changed = format!("{}{replacement}{}", &key[..at], &key[at + 1..]);
            prop_assert_eq!(has_valid_checksum(&changed), changed == key);
        }

        #[test]
        fn every_change_of_four_neighbours_is_caught(
            prefix in "[a-z][a-z0-9_]{0,10}[a-z0-9]",
            start in any::<prop::sample::Index>(),
            replacement in "[0-9A-Za-z]{1,4}",
        ) {
            let key = generate(&prefix.parse().unwrap()).unwrap();
            let key = key.expose_secret();
            let checked = key.len() - CHECKSUM_LENGTH;
            let at = start.index(checked);
            let replacement = &replacement[..replacement.len().min(checked - at)];
            let changed = format!("{}{replacement}{}", &key[..at], &key[at + replacement.len()..]);
            prop_assert_eq!(has_valid_checksum(&changed), changed == key);
        }

        #[test]
        fn every_other_checksum_is_caught(
            prefix in "[a-z][a-z0-9_]{0,10}[a-z0-9]",
            checksum in "[0-9A-Za-z]{6}",
        ) {
            let key = generate(&prefix.parse().unwrap()).unwrap();
            let key = key.expose_secret();
            let changed = format!("{}{checksum}", &key[..key.len() - CHECKSUM_LENGTH]);
            prop_assert_eq!(has_valid_checksum(&changed), changed == key);
        }

        #[test]
        fn swapped_neighbours_are_caught(
            prefix in "[a-z][a-z0-9_]{0,10}[a-z0-9]",
            at in any::<prop::sample::Index>(),
        ) {
            let key = generate(&prefix.parse().unwrap()).unwrap();
            let key = key.expose_secret();
            let mut changed = key.as_bytes().to_vec();
            let at = at.index(changed.len() - 1);
            changed.swap(at, at + 1);
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(has_valid_checksum(&changed), changed == key);
        }

        #[test]
        fn a_character_too_few_or_too_many_is_caught(
            prefix in "[a-z][a-z0-9_]{0,10}[a-z0-9]",
            at in any::<prop::sample::Index>(),
            further in "[ -~]",
        ) {
            let key = generate(&prefix.parse().unwrap()).unwrap();
            let key = key.expose_secret();
            let at = at.index(key.len());
            let shorter = format!("{}{}", &key[..at], &key[at + 1..]);
            prop_assert!(!has_valid_checksum(&shorter), "{shorter}");
            let longer = format!("{}{further}{}", &key[..at], &key[at..]);
            prop_assert!(!has_valid_checksum(&longer), "{longer}");
            let longer = format!("{key}{further}");
            prop_assert!(!has_valid_checksum(&longer), "{longer}");
        }

        #[test]
        fn any_text_is_judged(text in ".{0,140}") {
            prop_assert!(!has_valid_checksum(&text));
        }
    }
}
