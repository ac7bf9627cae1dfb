//! Reading server-sent events (the `text/event-stream` of the HTML standard), with limits.

/// One event. Those without data are dropped, as the standard has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Event {
    /// The `event` field, empty when there is none.
    pub(super) name: String,
    pub(super) data: String,
    /// The `id` field of this very event.
    pub(super) id: Option<String>,
}

/// The stream isn't one that we would read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EventStreamError {
    #[error("a line of the event stream is longer than {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    #[error("an event is larger than {MAX_EVENT_BYTES} bytes")]
    EventTooLarge,
    #[error("the event stream is not UTF-8")]
    NotUtf8,
}

const MAX_LINE_BYTES: usize = 8 * 1024;
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// Makes events of bytes, however they are cut up.
#[derive(Default)]
pub(super) struct EventStream {
    line: Vec<u8>,
    after_carriage_return: bool,
    past_first_line: bool,
    event: Event,
    has_data: bool,
}

impl EventStream {
    /// Takes in some bytes and returns the events that they complete. The stream is useless after an error.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventStreamError> {
        let mut events = Vec::new();
        for &byte in bytes {
            // A line ends with CR LF, LF or CR.
            let ends_crlf = byte == b'\n' && self.after_carriage_return;
            self.after_carriage_return = byte == b'\r';
            match byte {
                b'\n' if ends_crlf => {}
                b'\n' | b'\r' => {
                    events.extend(self.end_line()?);
                    self.line.clear();
                }
                _ if self.line.len() == MAX_LINE_BYTES => {
                    return Err(EventStreamError::LineTooLong);
                }
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Result<Option<Event>, EventStreamError> {
        let mut line = std::str::from_utf8(&self.line).map_err(|_| EventStreamError::NotUtf8)?;
        if !self.past_first_line {
            self.past_first_line = true;
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                if self.event.data.len() > MAX_EVENT_BYTES {
                    return Err(EventStreamError::EventTooLarge);
                }
            }
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            // Comments (an empty field name), `retry` and whatever the future brings.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str, data: &str, id: Option<&str>) -> Event {
        Event { name: name.to_owned(), data: data.to_owned(), id: id.map(str::to_owned) }
    }

    fn read(text: &str) -> Vec<Event> {
        EventStream::default().push(text.as_bytes()).unwrap()
    }

    #[test]
    fn events_are_read_whatever_ends_their_lines() {
        let expected = [event("entry", "{\"seq\":7}", Some("7")), event("ready", "{}", None)];
        let text =
            ": hello\nevent: entry\nid: 7\ndata: {\"seq\":7}\n\n:\n\nevent:ready\ndata:{}\n\n";
        assert_eq!(read(text), expected);
        assert_eq!(read(&text.replace('\n', "\r\n")), expected);
        assert_eq!(read(&text.replace('\n', "\r")), expected);
        assert_eq!(read(&format!("\u{feff}{}", &text[8..])), expected);
    }

    #[test]
    fn the_finer_points_are_as_the_standard_has_them() {
        assert_eq!(read("data: a\ndata\ndata:  b\n\n"), [event("", "a\n\n b", None)]);
        assert_eq!(read("event: x\nid: 1\n\ndata: y\n\n"), [event("", "y", None)]);
        assert_eq!(read("retry: 5\nfoo: bar\n: data: no\ndata: y\n\n"), [event("", "y", None)]);
        assert_eq!(read("id: a\0b\ndata: y\n\n"), [event("", "y", None)]);
        assert_eq!(read("data: unfinished\n"), []);
    }

    #[test]
    fn lines_and_events_are_limited() {
        let push = |text: String| EventStream::default().push(text.as_bytes());
        assert!(push(format!("data:{}\n\n", "a".repeat(MAX_LINE_BYTES - 5))).is_ok());
        let long = push(format!(":{}", "a".repeat(MAX_LINE_BYTES)));
        assert_eq!(long, Err(EventStreamError::LineTooLong));
        let many = push(format!("data: {}\n", "a".repeat(1000)).repeat(17));
        assert_eq!(many, Err(EventStreamError::EventTooLarge));
        assert_eq!(EventStream::default().push(b"data: \xff\n"), Err(EventStreamError::NotUtf8));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(
            text in "((event: [a-c]{1,3}|data: [a-c]{0,3}|id: [0-9]|: x|)(\n|\r|\r\n)){0,20}",
            size in 1usize..9,
        ) {
            let mut stream = EventStream::default();
            let mut events = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                events.extend(stream.push(chunk).unwrap());
            }
            prop_assert_eq!(events, read(&text));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = EventStream::default().push(&bytes);
        }
    }
}
