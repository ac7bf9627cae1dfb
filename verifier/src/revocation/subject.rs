//! The subject of an entry in 16 bytes.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use aws_lc_rs::digest::{SHA256, digest};

/// What an entry is about.
///
/// An id of the authorization server is its UUID: the six bits that are the same in every UUIDv7 (version and variant)
/// tell the kind of the id instead. Of any other text it is the beginning of the SHA-256, under a kind of its own: 122
/// bits, so that nobody can make a text that is taken for another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    high: u64,
    low: u64,
}

const PREFIX_LENGTH: usize = 4;
const LENGTH: usize = PREFIX_LENGTH + 26;
const VERSION: u64 = 0xf << 12;
const VARIANT: u64 = 0b11 << 62;
const OTHER_TEXT: u64 = 0;

impl Subject {
    pub(crate) fn new(text: &str) -> Subject {
        Subject::of_id(text).unwrap_or_else(|| Subject::of_other(text))
    }

    /// One id has one spelling: upper case and look-alike letters make other texts.
    fn of_id(text: &str) -> Option<Subject> {
        let text: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
        let (prefix, body) = text.split_at(PREFIX_LENGTH);
        let kind = kind_of(prefix)?;
        let mut uuid = u128::from(Some(VALUES[usize::from(body[0])]).filter(|first| *first < 8)?);
        let mut seen = 0;
        for character in &body[1..] {
            let value = VALUES[usize::from(*character)];
            seen |= value;
            uuid = uuid << 5 | u128::from(value & 31);
        }
        #[expect(clippy::cast_possible_truncation, reason = "each half in turn")]
        let (high, low) = ((uuid >> 64) as u64, uuid as u64);
        let is_version_7 = high & VERSION == 7 << 12 && low & VARIANT == 0b10 << 62;
        (seen < 32 && is_version_7).then(|| Subject::with_kind(high, low, kind))
    }

    fn of_other(text: &str) -> Subject {
        let digest = digest(&SHA256, text.as_bytes());
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (high, low) = digest.as_ref().split_at(8);
        Subject::with_kind(number(high), number(&low[..8]), OTHER_TEXT)
    }

    fn with_kind(high: u64, low: u64, kind: u64) -> Subject {
        Subject { high: high & !VERSION | kind >> 2 << 12, low: low & !VARIANT | kind << 62 }
    }
}

/// Six bits at most. Prefixes that aren't here are no less right, only hashed.
fn kind_of(prefix: &[u8]) -> Option<u64> {
    Some(match prefix {
        b"tok_" => 1,
        b"gnt_" => 2,
        b"app_" => 3,
        b"usr_" => 4,
        b"key_" => 5,
        b"sec_" => 6,
        b"org_" => 7,
        b"prj_" => 8,
        b"api_" => 9,
        b"sig_" => 10,
        _ => return None,
    })
}

/// Crockford's base32 in lower case; what is no digit of it has a value above 31.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let digits = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut value = 0;
    while value < digits.len() {
        values[digits[value] as usize] = value as u8;
        value += 1;
    }
    values
};

impl Hash for Subject {
    /// The lower half alone: 62 random bits of an id, or of a SHA-256.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

/// How subjects are spread over tables.
///
/// They are random already, and made by the authorization server, so a multiplication is enough of a hash. It is keyed
/// for each set, lest somebody collects ids that fall on the same place.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubjectHashing {
    key: u64,
}

impl SubjectHashing {
    pub(super) fn new() -> SubjectHashing {
        SubjectHashing { key: RandomState::new().hash_one(0) }
    }
}

impl BuildHasher for SubjectHashing {
    type Hasher = SubjectHasher;

    fn build_hasher(&self) -> SubjectHasher {
        SubjectHasher { state: self.key }
    }
}

pub(super) struct SubjectHasher {
    state: u64,
}

impl Hasher for SubjectHasher {
    fn write_u64(&mut self, number: u64) {
        const ODD: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.state ^ number) * ODD;
        #[expect(clippy::cast_possible_truncation, reason = "both halves are folded into one")]
        let folded = product as u64 ^ (product >> 64) as u64;
        self.state = folded;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "usr_01h455vb4pex5vsknk084sn02q";

    #[test]
    fn an_id_is_its_uuid_but_for_the_kind() {
        let uuid = 0x01890a5d_ac96_774b_bcce_b302099a8057_u128;
        let fixed = 0xf << 76 | 0b11 << 62;
        let kind = 4_u128;
        let subject = Subject::of_id(ID).unwrap();
        let number = u128::from(subject.high) << 64 | u128::from(subject.low);
        assert_eq!(number, uuid & !fixed | kind >> 2 << 76 | (kind & 3) << 62);
    }

    #[test]
    fn each_kind_of_id_has_subjects_of_its_own() {
        let prefixes = ["tok", "gnt", "app", "usr", "key", "sec", "org", "prj", "api", "sig"];
        let mut seen = vec![Subject::of_other(ID)];
        for prefix in prefixes {
            let id = ID.replace("usr", prefix);
            let subject = Subject::of_id(&id).unwrap();
            assert_eq!(Subject::new(&id), subject);
            assert!(!seen.contains(&subject), "{prefix}");
            seen.push(subject);
        }
    }

    #[test]
    fn other_texts_are_told_apart_too() {
        let texts = [
            "",
            "usr_",
            "usr_1",
            "usr_2",
            "usr_01H455VB4PEX5VSKNK084SN02Q",
            "usr_o1h455vb4pex5vsknk084sn02q",
            "usr_81h455vb4pex5vsknk084sn02q",
            "usr_01h455vb4pex5vsknk084sn02",
            "usr_01h455vb4pex5vsknk084sn02qq",
            "usr_01h455vb4pex5vsknk084sn0é",
            // Neither of version 7 nor of the right variant.
            "usr_01h455vb4pax5vsknk084sn02q",
            "usr_01h455vb4pex5zsknk084sn02q",
            "usr_01h455vb4pex5gsknk084sn02q",
            "rol_01h455vb4pex5vsknk084sn02q",
            "https://example.com/somebody",
        ];
        let mut seen = vec![Subject::new(ID)];
        for text in texts {
            let subject = Subject::new(text);
            assert_eq!(Subject::of_id(text), None, "{text}");
            assert_eq!(subject, Subject::new(text));
            assert!(!seen.contains(&subject), "{text}");
            seen.push(subject);
        }
    }

    #[test]
    fn ids_made_one_after_another_are_spread_over_the_tables() {
        let hashing = SubjectHashing::new();
        let mut counts = [0; 64];
        for n in 0..64_000_u64 {
            // The time is the same, the rest random, as in ids that are made at once.
            let random = RandomState::new().hash_one(n);
            let hash = hashing.hash_one(Subject::with_kind(1 << 32, random, 1));
            counts[super::super::table_of(hash)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
