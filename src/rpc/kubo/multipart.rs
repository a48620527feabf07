//! `multipart/form-data` (RFC 7578), read part by part: none is held in memory.

use std::io::{self, Read};

use super::super::gateway::request::decode_percent;

/// The longest head of a part.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
}

/// The head of a part.
#[derive(Debug)]
pub(super) struct Head {
    /// Its path, `/` between names; empty if it has none.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
}

/// A body in parts. It reads as the bytes of the current part.
pub(super) struct Multipart<R> {
    input: R,
    /// What is read and not taken.
    buffer: Vec<u8>,
    /// `\r\n--` and the boundary.
    delimiter: Vec<u8>,
}

fn malformed(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl<R: Read> Multipart<R> {
    /// Reads a body with this `Content-Type`.
    pub(super) fn new(input: R, content_type: &str) -> Option<Self> {
        let mut parameters = content_type.split(';').map(str::trim);
        if !parameters.next()?.eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameters.find_map(|parameter| parameter.strip_prefix("boundary="))?.trim_matches('"');
        // The first one may stand at the very start.
        Some(Self { input, buffer: b"\r\n".to_vec(), delimiter: format!("\r\n--{boundary}").into_bytes() })
    }

    /// Reads more; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let start = self.buffer.len();
        self.buffer.resize(start + READ_BYTES, 0);
        let count = self.input.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + *count.as_ref().unwrap_or(&0));
        Ok(count? > 0)
    }

    /// Where the delimiter begins, or may begin.
    fn end_of_part(&self) -> usize {
        let mut from = 0;
        while let Some(found) = self.buffer[from..].iter().position(|byte| *byte == b'\r') {
            let rest = &self.buffer[from + found..];
            let length = rest.len().min(self.delimiter.len());
            if rest[..length] == self.delimiter[..length] {
                return from + found;
            }
            from += found + 1;
        }
        self.buffer.len()
    }

    /// The next part; `None` at the end. What was not read of the one before is skipped.
    pub(super) fn next_part(&mut self) -> io::Result<Option<Head>> {
        io::copy(self, &mut io::sink())?;
        self.buffer.drain(..self.delimiter.len());
        let end = loop {
            if self.buffer.starts_with(b"--") {
                return Ok(None);
            }
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(malformed("the head of a part is too long"));
            }
            if !self.fill()? {
                return Err(malformed("the body breaks off"));
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        // An empty part has its delimiter at once.
        Ok(Some(head_of(&head)))
    }
}

fn head_of(text: &str) -> Head {
    let mut head = Head { name: Vec::new(), kind: Kind::File };
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.trim().eq_ignore_ascii_case("content-type") {
            head.kind = match value.trim() {
                "application/x-directory" => Kind::Directory,
                "application/symlink" => Kind::Symlink,
                _ => Kind::File,
            };
        } else if name.trim().eq_ignore_ascii_case("content-disposition") {
            let file_name = value.split(';').find_map(|part| part.trim().strip_prefix("filename="));
            head.name = decode_percent(file_name.unwrap_or_default().trim_matches('"'));
        }
    }
    head
}

/// The current part.
impl<R: Read> Read for Multipart<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let end = self.end_of_part();
            if end > 0 {
                let count = end.min(into.len());
                into[..count].copy_from_slice(&self.buffer[..count]);
                self.buffer.drain(..count);
                return Ok(count);
            }
            if self.buffer.len() >= self.delimiter.len() {
                return Ok(0);
            }
            if !self.fill()? {
                return Err(malformed("the body breaks off"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = into.len().min(1);
            self.0.read(&mut into[..count])
        }
    }

    type Part = (Vec<u8>, Kind, Vec<u8>);

    fn parts(input: impl Read) -> io::Result<Vec<Part>> {
        let mut multipart = Multipart::new(input, "multipart/form-data; boundary=\"b\"").unwrap();
        let mut parts = Vec::new();
        while let Some(head) = multipart.next_part()? {
            let mut bytes = Vec::new();
            multipart.read_to_end(&mut bytes)?;
            parts.push((head.name, head.kind, bytes));
        }
        Ok(parts)
    }

    #[test]
    fn parts_come_one_after_the_other() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%2Fb%20c\"\r\n\
                     Content-Type: text/plain\r\n\r\none\r\n--\r\r\n-\r\n--b\r\ncontent-type: application/x-directory\r\n\
                     Content-Disposition: form-data; filename=\"d\"\r\n\r\n\r\n--b\r\n\r\n\r\n--b--\r\n";
        let expected = vec![
            (b"a/b c".to_vec(), Kind::File, b"one\r\n--\r\r\n-".to_vec()),
            (b"d".to_vec(), Kind::Directory, Vec::new()),
            (Vec::new(), Kind::File, Vec::new()),
        ];
        assert_eq!(parts(&body[..]).unwrap(), expected);
        assert_eq!(parts(Slow(body)).unwrap(), expected);
        for cut in 0..body.len() - 6 {
            assert!(parts(&body[..cut]).is_err(), "{cut}");
        }
        let long = [b"--b\r\n".to_vec(), vec![b'x'; 100_000]].concat();
        assert!(parts(&long[..]).is_err());
    }
}
