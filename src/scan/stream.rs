//! Reads whatever is long in one buffer, and keeps count of lines.

use std::io::{ErrorKind, Read};

use memchr::{memchr_iter, memrchr};
use serde::Serialize;

use super::finder::LONGEST;
use super::{Finder, Kind};

/// So much that reading costs few calls, and so little that it stays in a core's own cache.
const SIZE: usize = 256 * 1024;

/// Where something begins, counted from 1. The column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    pub line: u64,
    pub column: u64,
    /// Bytes before it.
    pub offset: u64,
}

impl Place {
    const START: Self = Self { line: 1, column: 1, offset: 0 };

    fn advance(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        let of_this_line = match memrchr(b'\n', bytes) {
            None => bytes,
            Some(end) => {
                self.line += memchr_iter(b'\n', &bytes[..=end]).count() as u64;
                self.column = 1;
                &bytes[end + 1..]
            }
        };
        // The bytes 10xxxxxx only continue a character.
        let characters = of_this_line.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        self.column += characters as u64;
    }
}

/// Memory to read into: the same for every file of a search.
pub struct Buffer(Box<[u8]>);

impl Default for Buffer {
    fn default() -> Self {
        Self::of(SIZE)
    }
}

impl Buffer {
    fn of(size: usize) -> Self {
        Self(vec![0; size.max(2 * LONGEST)].into_boxed_slice())
    }

    /// Searches a stream to its end, and tells of each credential where it is and what; says how many bytes there
    /// were. Of a credential that two reads share, the beginning is kept until the rest is there.
    ///
    /// # Errors
    /// When reading fails. What was found before has been told.
    pub fn search(
        &mut self,
        finder: &Finder,
        reader: &mut impl Read,
        mut found: impl FnMut(Place, Kind, &str),
    ) -> std::io::Result<u64> {
        let buffer = &mut self.0;
        let mut place = Place::START;
        let mut filled = 0;
        loop {
            let is_end = fill(reader, buffer, &mut filled)?;
            let text = &buffer[..filled];
            let until = if is_end { filled } else { filled.saturating_sub(LONGEST - 1) };
            let mut seen = 0;
            while let Some(credential) = finder.find(text, seen, until) {
                place.advance(&text[seen..credential.start]);
                let bytes = &text[credential.start..credential.end];
                if let Ok(secret) = std::str::from_utf8(bytes) {
                    found(place, credential.kind, secret);
                }
                place.advance(bytes);
                seen = credential.end;
            }
            let rest = seen.max(until);
            place.advance(&text[seen..rest]);
            if is_end {
                return Ok(place.offset);
            }
            buffer.copy_within(rest..filled, 0);
            filled -= rest;
        }
    }
}

/// Reads until the buffer is full; whether the end was reached before.
fn fill(reader: &mut impl Read, buffer: &mut [u8], filled: &mut usize) -> std::io::Result<bool> {
    while *filled < buffer.len() {
        match reader.read(&mut buffer[*filled..]) {
            Ok(0) => return Ok(true),
            Ok(read) => *filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::finder::tests::{all_naively, any_text, key};
    use super::*;

    type Found = Vec<(Place, Kind, String)>;

    fn search(buffer: &mut Buffer, brands: &[&str], reader: &mut impl Read) -> (Found, u64) {
        let finder = Finder::new(brands.iter().copied()).unwrap();
        let mut found = Vec::new();
        let bytes = buffer
            .search(&finder, reader, |place, kind, secret| {
                found.push((place, kind, secret.to_owned()));
            })
            .unwrap();
        (found, bytes)
    }

    /// Gives as few bytes at a time as it is told.
    struct Slow<'t>(&'t [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let size = self.1.min(buffer.len());
            self.0.read(&mut buffer[..size])
        }
    }

    #[test]
    fn lines_and_columns_count_from_one_and_characters() {
        let key = key("pc_live");
        let text = format!("\n{key}\r\nübung = \"{key}\"; x\n\n{key}");
        let (found, bytes) = search(&mut Buffer::default(), &["pc"], &mut text.as_bytes());
        let places: Vec<_> = found.iter().map(|it| (it.0.line, it.0.column)).collect();
        assert_eq!(places, [(2, 1), (3, 10), (5, 1)]);
        assert_eq!(bytes, text.len() as u64);
        let offset = usize::try_from(found[2].0.offset).unwrap();
        assert!(text[offset..].starts_with(&key));
    }

    #[test]
    fn a_key_is_found_wherever_the_buffer_ends() {
        let key = key("pc_live");
        let mut buffer = Buffer::of(0);
        let size = buffer.0.len();
        for before in 0..2 * size {
            let text = format!("{}{key}{}", "é".repeat(before / 2), "x".repeat(size));
            let (found, _) = search(&mut buffer, &["pc"], &mut text.as_bytes());
            assert_eq!(found.len(), 1, "after {before} bytes");
            assert_eq!(found[0].0.column, before as u64 / 2 + 1);
            assert_eq!(found[0].2, key);
        }
    }

    #[test]
    fn a_long_line_needs_no_more_memory_than_a_short_one() {
        let key = key("pc_live");
        let mut reader =
            std::io::repeat(b'a').take(5_000_000).chain(key.as_bytes()).chain(&b"\n"[..]);
        let (found, bytes) = search(&mut Buffer::default(), &["pc"], &mut reader);
        assert_eq!((found[0].0.line, found[0].0.column), (1, 5_000_001));
        assert_eq!(bytes, 5_000_000 + key.len() as u64 + 1);
    }

    proptest! {
        #[test]
        fn a_stream_in_pieces_is_what_it_is_in_one(
            texts in prop::collection::vec(any_text(), 1..6),
            filler in 0..400usize,
            size in 1..300usize,
        ) {
            let text = texts.join(&vec![b'.'; filler][..]);
            let brands = ["pc", "p_c"];
            let (found, bytes) = search(&mut Buffer::of(0), &brands, &mut Slow(&text, size));
            prop_assert_eq!(bytes, text.len() as u64);
            let expected = all_naively(&brands, &text);
            prop_assert_eq!(found.len(), expected.len());
            for ((place, kind, secret), expected) in found.iter().zip(expected) {
                let before = &text[..expected.start];
                let line = before.split(|byte| *byte == b'\n');
                let last = line.clone().next_back().unwrap_or_default();
                let characters = last.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
                prop_assert_eq!(place.offset, expected.start as u64);
                prop_assert_eq!(place.line, line.count() as u64);
                prop_assert_eq!(place.column, characters as u64 + 1);
                prop_assert_eq!(*kind, expected.kind);
                prop_assert_eq!(secret.as_bytes(), &text[expected.start..expected.end]);
            }
        }
    }
}
