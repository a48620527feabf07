//! Bitcoin's CompactSize: a count in one byte, or in two or four after a marker.

/// Appends `n`, which is below 2^32, in its shortest form.
pub fn write(bytes: &mut Vec<u8>, n: usize) {
    match n {
        0..=0xfc => bytes.push(n as u8),
        0xfd..=0xffff => {
            bytes.push(0xfd);
            bytes.extend((n as u16).to_le_bytes());
        }
        _ => {
            bytes.push(0xfe);
            bytes.extend((n as u32).to_le_bytes());
        }
    }
}

/// Reads a count from the front of `bytes` and advances them. `None` if the bytes end early, the count is not in its
/// shortest form, or it takes eight bytes, which no count here needs.
pub fn read(bytes: &mut &[u8]) -> Option<usize> {
    let (width, least) = match bytes.split_off_first()? {
        0xfd => (2, 0xfd),
        0xfe => (4, 0x1_0000),
        0xff => return None,
        small => return Some(usize::from(*small)),
    };
    let n = bytes.split_off(..width)?.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte));
    (n >= least).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_form_is_read() {
        for (n, width) in [(0, 1), (0xfc, 1), (0xfd, 3), (0xffff, 3), (0x1_0000, 5), (0xffff_ffff, 5)] {
            let mut bytes = Vec::new();
            write(&mut bytes, n);
            assert_eq!(bytes.len(), width);
            assert_eq!(read(&mut &bytes[..]), Some(n));
            assert_eq!(read(&mut &bytes[..width - 1]), None, "cut");
        }
        for longer in [&[0xfd, 0xfc, 0][..], &[0xfe, 0xff, 0xff, 0, 0], &[0xff; 9]] {
            assert_eq!(read(&mut &longer[..]), None, "{longer:?}");
        }
    }
}
