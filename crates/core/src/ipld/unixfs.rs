//! The data of a [UnixFS](https://specs.ipfs.tech/unixfs/) node: what kind of entry it is, its sizes, mode and time.

use std::borrow::Cow;

use super::FormatError;
use super::proto::{Fields, Value, put_bytes, put_bytes_head, put_fixed32, put_number, varint_len};
use crate::primitives::varint;

const DATA: &str = "UnixFS data";
const MTIME: &str = "UnixFS mtime";

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A piece of a file, of the trickle layout or from old software.
    Raw = 0,
    /// A directory in one node.
    Directory = 1,
    /// A file or a piece of one.
    File = 2,
    /// No longer in use.
    Metadata = 3,
    /// A symbolic link.
    Symlink = 4,
    /// A node of a directory in many, which the hashes of names lead through.
    HamtShard = 5,
}

impl Kind {
    fn from_number(number: u64) -> Option<Self> {
        use Kind::{Directory, File, HamtShard, Metadata, Raw, Symlink};
        [Raw, Directory, File, Metadata, Symlink, HamtShard].into_iter().find(|kind| *kind as u64 == number)
    }
}

/// The nine permission bits; never 0, which stands for "not set".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(u16);

impl Mode {
    /// The permission bits of a mode, as in `st_mode`; `None` if none is set.
    pub fn from_bits(bits: u32) -> Option<Self> {
        match (bits & 0o777) as u16 {
            0 => None,
            bits => Some(Self(bits)),
        }
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0.into()
    }
}

/// A time of last modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtime {
    /// Seconds since 1970, negative before.
    pub secs: i64,
    /// Nanoseconds after that, below 10^9.
    pub nanos: u32,
}

impl Mtime {
    fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, 1, self.secs.cast_unsigned());
        if self.nanos != 0 {
            put_fixed32(&mut out, 2, self.nanos);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (mut secs, mut nanos) = (None, 0);
        for field in Fields::new(bytes, MTIME) {
            match field? {
                (1, Value::Varint(number)) => secs = Some(number.cast_signed()),
                (2, Value::Fixed32(number)) if number < 1_000_000_000 => nanos = number,
                (2, Value::Fixed32(number)) => {
                    return Err(FormatError::Value { what: MTIME, field: "nanoseconds", got: number.into() });
                }
                (field @ 1..=2, _) => return Err(FormatError::Field { what: MTIME, field }),
                _ => {}
            }
        }
        Ok(Self { secs: secs.ok_or(FormatError::Missing { what: MTIME, field: "seconds" })?, nanos })
    }
}

/// What UnixFS keeps of an entry beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permissions.
    pub mode: Option<Mode>,
    /// Time of last modification.
    pub mtime: Option<Mtime>,
}

impl Metadata {
    /// Neither.
    pub const NONE: Self = Self { mode: None, mtime: None };

    /// Whether there is neither.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    fn put(self, out: &mut Vec<u8>) {
        if let Some(mode) = self.mode {
            put_number(out, 7, mode.bits().into());
        }
        if let Some(mtime) = self.mtime {
            put_bytes(out, 8, &mtime.encode());
        }
    }
}

/// The data of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data<'a> {
    /// What it is.
    pub kind: Kind,
    /// A file's bytes, a symlink's target, a shard's bit field.
    pub bytes: &'a [u8],
    /// Bytes of the file in this node and below.
    pub file_size: Option<u64>,
    /// Bytes of the file below each link.
    pub block_sizes: Vec<u64>,
    /// Multihash code of the function that places names in a shard.
    pub hash_type: Option<u64>,
    /// Places in a shard.
    pub fanout: Option<u64>,
    /// Mode and time.
    pub metadata: Metadata,
}

impl<'a> Data<'a> {
    /// Of a kind, with nothing else.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            bytes: &[],
            file_size: None,
            block_sizes: Vec::new(),
            hash_type: None,
            fanout: None,
            metadata: Metadata::NONE,
        }
    }

    /// Its bytes, as Kubo writes them: fields in order, those not set left out.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_parts().concat()
    }

    /// The same in three parts, the bytes of the file in the middle: a node around them is put together with one copy of
    /// them.
    pub(super) fn encode_parts(&self) -> [Cow<'a, [u8]>; 3] {
        let mut before = Vec::with_capacity(16);
        put_number(&mut before, 1, self.kind as u64);
        if !self.bytes.is_empty() {
            put_bytes_head(&mut before, 2, self.bytes.len());
        }
        let sizes: usize = self.block_sizes.iter().map(|size| 1 + varint_len(*size)).sum();
        let mut after = Vec::with_capacity(sizes + 48);
        if let Some(size) = self.file_size {
            put_number(&mut after, 3, size);
        }
        self.block_sizes.iter().for_each(|size| put_number(&mut after, 4, *size));
        if let Some(code) = self.hash_type {
            put_number(&mut after, 5, code);
        }
        if let Some(fanout) = self.fanout {
            put_number(&mut after, 6, fanout);
        }
        self.metadata.put(&mut after);
        [before.into(), self.bytes.into(), after.into()]
    }

    /// Reads it. Fields that the format does not have are skipped, as in any protobuf message; of one that comes twice,
    /// the last counts. Costs time and memory in proportion to `bytes`.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut kind = None;
        let mut data = Self::new(Kind::Raw);
        for field in Fields::new(bytes, DATA) {
            match field? {
                (1, Value::Varint(number)) => {
                    let unknown = FormatError::Value { what: DATA, field: "the type", got: number };
                    kind = Some(Kind::from_number(number).ok_or(unknown)?);
                }
                (2, Value::Bytes(bytes)) => data.bytes = bytes,
                (3, Value::Varint(number)) => data.file_size = Some(number),
                (4, Value::Varint(number)) => data.block_sizes.push(number),
                (4, Value::Bytes(packed)) => {
                    let mut rest = packed;
                    while !rest.is_empty() {
                        let reason = "a packed number breaks off or is too long";
                        let (size, after) =
                            varint::read(rest).map_err(|_| FormatError::Malformed { what: DATA, reason })?;
                        data.block_sizes.push(size);
                        rest = after;
                    }
                }
                (5, Value::Varint(number)) => data.hash_type = Some(number),
                (6, Value::Varint(number)) => data.fanout = Some(number),
                (7, Value::Varint(number)) => data.metadata.mode = Mode::from_bits((number & 0o777) as u32),
                (8, Value::Bytes(mtime)) => data.metadata.mtime = Some(Mtime::decode(mtime)?),
                (field @ 1..=8, _) => return Err(FormatError::Field { what: DATA, field }),
                _ => {}
            }
        }
        data.kind = kind.ok_or(FormatError::Missing { what: DATA, field: "the type" })?;
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let all = Data {
            kind: Kind::HamtShard,
            bytes: b"bits",
            file_size: Some(0),
            block_sizes: vec![1, 0, u64::MAX],
            hash_type: Some(0x22),
            fanout: Some(256),
            metadata: Metadata { mode: Mode::from_bits(0o100_644), mtime: Some(Mtime { secs: -1, nanos: 5 }) },
        };
        assert_eq!(Data::decode(&all.encode()), Ok(all));
        let bare = Data::new(Kind::Symlink);
        assert_eq!(bare.encode(), [8, 4]);
        assert_eq!(Data::decode(&[8, 4]), Ok(bare));
    }

    #[test]
    fn what_others_write() {
        let packed = Data::decode(&[8, 2, 0x22, 3, 5, 0x80, 1]).unwrap();
        assert_eq!(packed.block_sizes, [5, 128]);
        let unknown = Data::decode(&[8, 2, 0x78, 1, 0x38, 0]).unwrap();
        assert_eq!(unknown, Data::new(Kind::File), "a field of the future, and a mode of 0");
    }

    #[test]
    fn what_is_no_data_is_refused() {
        for bytes in [
            &[][..],
            &[8],
            &[8, 6],
            &[0x10, 1],
            &[8, 2, 0x12, 9],
            &[8, 2, 0x22, 1, 0x80],
            &[8, 2, 0x42, 0],
            &[8, 2, 0x42, 7, 8, 1, 0x15, 0, 0xca, 0x9a, 0x3b],
            &[8, 2, 0x42, 3, 8, 1, 0x10],
        ] {
            assert!(Data::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
