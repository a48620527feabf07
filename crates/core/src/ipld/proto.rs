//! The part of [protobuf](https://protobuf.dev/programming-guides/encoding/) that dag-pb and UnixFS use: fields in
//! memory, read without copying.

use super::FormatError;
use crate::primitives::varint;

/// A field's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2: bytes, text or a message.
    Bytes(&'a [u8]),
    /// Wire type 5, little-endian.
    Fixed32(u32),
}

/// The fields of a message, in order. Ends after an error.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// Of a message that errors call `what`.
    pub fn new(message: &'a [u8], what: &'static str) -> Self {
        Self { rest: message, what }
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let (value, rest) = varint::read(self.rest).map_err(|_| "a number breaks off or is too long")?;
        self.rest = rest;
        Ok(value)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), &'static str> {
        const SHORT: &str = "a field is longer than the message";
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| SHORT)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => {
                let (bytes, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
                self.rest = rest;
                Value::Fixed32(u32::from_le_bytes(*bytes))
            }
            _ => return Err("a field of a wire type that is not used"),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        let what = self.what;
        Some(field.map_err(|reason| FormatError::Malformed { what, reason }))
    }
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    out.extend(unsigned_varint::encode::u64(value, &mut unsigned_varint::encode::u64_buffer()));
}

/// Appends a field of wire type 0.
pub fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

/// Appends a field of wire type 2.
pub fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_bytes_head(out, field, bytes.len());
    out.extend(bytes);
}

/// Appends what comes before the bytes of a field of wire type 2.
pub fn put_bytes_head(out: &mut Vec<u8>, field: u64, length: usize) {
    put_varint(out, field << 3 | 2);
    put_varint(out, length as u64);
}

/// Appends a field of wire type 5.
pub fn put_fixed32(out: &mut Vec<u8>, field: u64, value: u32) {
    put_varint(out, field << 3 | 5);
    out.extend(value.to_le_bytes());
}

/// Bytes that a varint takes.
pub fn varint_len(value: u64) -> usize {
    unsigned_varint::encode::u64(value, &mut unsigned_varint::encode::u64_buffer()).len()
}

/// Bytes that a field of wire type 2 takes, if its number is below 16.
pub fn bytes_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}
