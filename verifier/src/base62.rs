//! Base62 (`0-9A-Za-z`, most significant digit first): text without punctuation, which a double click selects as a whole.

/// The digits in the order of their values.
pub(crate) const DIGITS: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const BLOCK_BYTES: usize = 8;
/// 62^10 < 2^64 < 62^11.
const BLOCK_DIGITS: usize = 11;

/// Writes `number` as exactly `N` digits, padded with `0` on the left; higher digits that don't fit are left out.
pub(crate) fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    digits
}

/// The value of a digit, or `None` when the byte is none.
pub(crate) fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'Z' => Some(digit - b'A' + 10),
        b'a'..=b'z' => Some(digit - b'a' + 36),
        _ => None,
    }
}

/// Writes each 8 bytes, read as a big-endian number, as 11 digits.
///
/// A last block that isn't full is filled with zeros on its right; [`decode_blocks`] with the same length undoes that.
pub fn encode_blocks(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(BLOCK_BYTES) * BLOCK_DIGITS);
    for chunk in bytes.chunks(BLOCK_BYTES) {
        let mut block = [0; BLOCK_BYTES];
        block[..chunk.len()].copy_from_slice(chunk);
        let digits = digits::<BLOCK_DIGITS>(u64::from_be_bytes(block));
        text.extend(digits.map(char::from));
    }
    text
}

/// Undoes [`encode_blocks`]. `None` unless `text` is what `encode_blocks` makes of some `expected_len` bytes.
pub fn decode_blocks(text: &str, expected_len: usize) -> Option<Vec<u8>> {
    let expected_digits = expected_len.div_ceil(BLOCK_BYTES).checked_mul(BLOCK_DIGITS)?;
    if text.len() != expected_digits {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / BLOCK_DIGITS * BLOCK_BYTES);
    for digits in text.as_bytes().chunks(BLOCK_DIGITS) {
        let number = digits.iter().try_fold(0u64, |number, digit| {
            number.checked_mul(62)?.checked_add(u64::from(value(*digit)?))
        })?;
        bytes.extend(number.to_be_bytes());
    }
    let filling = bytes.split_off(expected_len);
    filling.iter().all(|byte| *byte == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode_blocks, encode_blocks};

    #[test]
    fn a_block_is_eleven_digits() {
        assert_eq!(encode_blocks(&[]), "");
        assert_eq!(encode_blocks(&[0; 8]), "00000000000");
        assert_eq!(encode_blocks(&[0, 0, 0, 0, 0, 0, 0, 61]), "0000000000z");
        assert_eq!(encode_blocks(&[0xff; 8]), "LygHa16AHYF");
    }

    #[test]
    fn what_is_no_encoding_is_refused() {
        assert_eq!(decode_blocks("LygHa16AHYF", 8), Some(vec![0xff; 8]));
        assert_eq!(decode_blocks("LygHa16AHYG", 8), None, "2^64");
        assert_eq!(decode_blocks("zzzzzzzzzzz", 8), None);
        assert_eq!(decode_blocks("0000000000", 8), None, "too short");
        assert_eq!(decode_blocks("000000000000", 8), None, "too long");
        assert_eq!(decode_blocks("00000000000", 16), None);
        assert_eq!(decode_blocks("0000000000-", 8), None);
        assert_eq!(decode_blocks("000000000é", 8), None);
        assert_eq!(decode_blocks("0000000000z", 7), None, "filling is not zero");
        assert_eq!(decode_blocks("", usize::MAX), None);
    }

    proptest! {
        #[test]
        fn bytes_survive_the_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(decode_blocks(&encode_blocks(&bytes), bytes.len()), Some(bytes));
        }

        #[test]
        fn a_text_decodes_only_if_it_is_the_encoding(text in "[0-9A-Za-z]{22}") {
            if let Some(bytes) = decode_blocks(&text, 16) {
                prop_assert_eq!(encode_blocks(&bytes), text);
            }
        }
    }
}
