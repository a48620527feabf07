//! Unsigned varints (LEB128), read strictly.

use unsigned_varint::decode::{self, Error};

/// The number that `bytes` begin with, and what follows it.
///
/// # Errors
/// If the bytes end in the middle, the number has more than 64 bits, or it is not in its shortest form. The library
/// (`unsigned-varint` 0.8.0) takes ten bytes even if the last has bits beyond the 64th, and drops these, so one number
/// would have many forms.
pub fn read(bytes: &[u8]) -> Result<(u64, &[u8]), Error> {
    let (number, rest) = decode::u64(bytes)?;
    if bytes.len() - rest.len() == 10 && bytes[9] > 1 {
        return Err(Error::Overflow);
    }
    Ok((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_form() {
        let long = |last: u8| [&[0xff; 9][..], &[last]].concat();
        for (bytes, expected) in [
            (vec![0], Some(0)),
            (vec![0x7f, 9], Some(127)),
            (vec![0x80, 1], Some(128)),
            (long(1), Some(u64::MAX)),
            (long(0), None),
            (long(2), None),
            (long(3), None),
            (long(0x81), None),
            (vec![0x80, 0], None),
            (vec![0x80], None),
            (vec![], None),
        ] {
            assert_eq!(read(&bytes).ok().map(|(number, _)| number), expected, "{bytes:x?}");
        }
    }
}
