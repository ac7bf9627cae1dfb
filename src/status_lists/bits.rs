//! The encoding of a list: one bit a token, from the least significant of each byte on, deflated in a zlib container
//! (draft-ietf-oauth-status-list, section 4.1).

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::PLACES;

/// The statuses of a list: `0` is valid, `1` is invalid.
pub(super) struct Bits(Vec<u8>);

impl Default for Bits {
    fn default() -> Self {
        Self(vec![0; PLACES as usize / 8])
    }
}

impl Bits {
    /// Says that the token with this place is no longer valid.
    pub fn revoke(&mut self, idx: u16) {
        if let Some(byte) = self.0.get_mut(usize::from(idx / 8)) {
            *byte |= 1 << (idx % 8);
        }
    }

    /// The `lst` of the list.
    pub fn encoded(&self) -> std::io::Result<String> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&self.0)?;
        Ok(URL_SAFE_NO_PAD.encode(encoder.finish()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn inflated(lst: &str) -> Vec<u8> {
        let bytes = URL_SAFE_NO_PAD.decode(lst).unwrap();
        let mut inflated = Vec::new();
        flate2::read::ZlibDecoder::new(&*bytes).read_to_end(&mut inflated).unwrap();
        inflated
    }

    /// The first example of the draft's section 4.1: these statuses are the bytes B9 A3.
    #[test]
    fn the_statuses_of_the_draft_are_its_bytes() {
        let mut bits = Bits::default();
        let statuses = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1];
        for (idx, _) in statuses.iter().enumerate().filter(|(_, status)| **status == 1) {
            bits.revoke(u16::try_from(idx).unwrap());
        }
        assert_eq!(bits.0[..2], [0xb9, 0xa3]);
        let back = inflated(&bits.encoded().unwrap());
        assert_eq!(back, bits.0, "it reads as it was written");
        assert_eq!(inflated("eNrbuRgAAhcBXQ"), [0xb9, 0xa3], "and the draft's own text does");
    }

    #[test]
    fn the_last_place_is_in_the_list_and_an_empty_list_is_small() {
        let empty = Bits::default().encoded().unwrap();
        assert!(empty.len() < 64, "{}", empty.len());
        let mut bits = Bits::default();
        bits.revoke(u16::MAX);
        let back = inflated(&bits.encoded().unwrap());
        assert_eq!((back.len(), back[8191], back[8190]), (8192, 0x80, 0));
    }
}
