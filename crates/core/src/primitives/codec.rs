//! The only encoding of values that are hashed, stored or sent.
//!
//! bincode 2 with little-endian, fixed-width integers: the header's six fields then encode to exactly Bitcoin's 80
//! bytes, and an integer has one encoding (the variable-width setting accepts non-minimal ones). A length prefix is a
//! `u64`, an enum tag a `u32`. Consensus types hold no maps, sets or zero-sized elements, whose encodings are not
//! canonical. Only this module (and what the derives expand to) names bincode, so that it can be replaced here.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
pub use bincode::de::Decoder;
pub use bincode::enc::Encoder;
use bincode::enc::{EncoderImpl, write::SizeWriter};
pub use bincode::error::{DecodeError, EncodeError};
pub use bincode::{Decode, Encode, impl_borrow_decode};

/// Most memory in bytes that one decoded value may claim. bincode counts in-memory sizes, before it allocates.
///
/// A hostile length prefix is refused before memory is reserved for it. The code that reads from the wire caps the
/// bytes separately.
pub const MAX_DECODED_BYTES: usize = 64 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_DECODED_BYTES>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<MAX_DECODED_BYTES>();

/// Why bytes are not the encoding of the value expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum CodecError {
    /// The bytes end early, a tag is unknown, or a length is beyond [`MAX_DECODED_BYTES`].
    #[error("cannot decode {what}: {reason}")]
    Malformed {
        /// The type that was expected.
        what: String,
        /// The decoder's error.
        reason: String,
    },
    /// Bytes follow the value. They are refused, or one value would have many encodings.
    #[error("cannot decode {what}: it ends after {used} bytes, but {given} were given")]
    Trailing {
        /// The type that was expected.
        what: String,
        /// Bytes the value took.
        used: usize,
        /// Bytes given.
        given: usize,
    },
}

/// The one encoding of `value`.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, CONFIG).expect("encoding into memory has no failing case for these types")
}

/// Length of [`encode`]'s result in bytes, without building it.
pub fn encoded_len<T: Encode>(value: &T) -> usize {
    let mut encoder = EncoderImpl::new(SizeWriter::default(), CONFIG);
    value.encode(&mut encoder).expect("counting bytes has no failing case for these types");
    encoder.into_writer().bytes_written
}

/// Decodes a value that must take all of `bytes`.
///
/// # Errors
/// [`CodecError`] if they are short, malformed, claim too much memory, or go on after the value.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = decode_prefix(bytes)?;
    if used != bytes.len() {
        return Err(CodecError::Trailing { what: short_type_name::<T>().into(), used, given: bytes.len() });
    }
    Ok(value)
}

/// Decodes the value at the start of `bytes`; returns it with its length in bytes. For reading one part of a stored
/// record.
///
/// # Errors
/// [`CodecError::Malformed`] if the bytes are short, malformed, or claim too much memory.
pub fn decode_prefix<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    bincode::decode_from_slice(bytes, CONFIG)
        .map_err(|e| CodecError::Malformed { what: short_type_name::<T>().into(), reason: describe(&e) })
}

/// Decodes a value from a string of hex digits.
///
/// # Errors
/// [`CodecError`]; a digit that is not hex counts as malformed.
pub fn decode_hex<T: Decode<()>>(text: &str) -> Result<T, CodecError> {
    let bytes = hex::decode(text)
        .map_err(|e| CodecError::Malformed { what: short_type_name::<T>().into(), reason: format!("not hex: {e}") })?;
    decode(&bytes)
}

/// A readable message: bincode prints its errors as Rust values.
fn describe(error: &DecodeError) -> String {
    match error {
        DecodeError::UnexpectedEnd { additional } => format!("the bytes end at least {additional} too early"),
        DecodeError::UnexpectedVariant { type_name, found, .. } => {
            format!("{found} is not a kind of {}", short(type_name))
        }
        DecodeError::LimitExceeded => format!("a length asks for more than {MAX_DECODED_BYTES} bytes of memory"),
        DecodeError::InvalidBooleanValue(found) => format!("{found} is neither false (0) nor true (1)"),
        other => other.to_string(),
    }
}

fn short_type_name<T>() -> &'static str {
    short(std::any::type_name::<T>())
}

/// The last name of a type's path, without its parameters.
fn short(full: &'static str) -> &'static str {
    let path = full.split('<').next().unwrap_or(full);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(decode::<u32>(&[1, 0, 0, 0]), Ok(1));
        assert!(matches!(decode::<u32>(&[1, 0, 0, 0, 0]), Err(CodecError::Trailing { used: 4, given: 5, .. })));
        assert!(matches!(decode::<u32>(&[1, 0, 0]), Err(CodecError::Malformed { .. })));
    }

    #[test]
    fn a_hostile_length_is_refused_before_allocating() {
        let claim = encode(&u64::MAX);
        assert!(matches!(decode::<Vec<u8>>(&claim), Err(CodecError::Malformed { .. })));
    }

    #[test]
    fn errors_are_for_people() {
        let reason = |bytes: &[u8]| match decode::<(bool, Option<u16>)>(bytes) {
            Err(CodecError::Malformed { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&[1, 1, 7]), "the bytes end at least 1 too early");
        assert_eq!(reason(&[2, 0]), "2 is neither false (0) nor true (1)");
        assert_eq!(reason(&[1, 9]), "9 is not a kind of Option");
        assert!(decode::<Vec<u8>>(&encode(&u64::MAX)).unwrap_err().to_string().contains("67108864 bytes of memory"));
    }

    #[test]
    fn length_without_building() {
        let value = (7u32, vec![1u8, 2, 3]);
        assert_eq!(encoded_len(&value), encode(&value).len());
    }
}
