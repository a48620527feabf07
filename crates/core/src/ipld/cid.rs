//! [Content identifiers](https://github.com/multiformats/cid): a codec, which says what a block's bytes mean, and their
//! multihash.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use cid::Version;
use cid::multibase::{self, Base};
use multihash::Multihash;

use super::hash::{HashFunction, MAX_IDENTITY_BYTES};

/// The longest text that is read: more than any base needs for the longest CID.
const MAX_TEXT_BYTES: usize = 1_200;
/// Characters of a CIDv0.
const V0_TEXT_BYTES: usize = 46;

/// What a block's bytes mean, as a [multicodec](https://github.com/multiformats/multicodec) code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Codec(pub u64);

impl Codec {
    /// Bytes without links.
    pub const RAW: Self = Self(0x55);
    /// A node of UnixFS, see [`dagpb`](super::dagpb).
    pub const DAG_PB: Self = Self(0x70);
    /// A header's 80 bytes.
    pub const BITCOIN_BLOCK: Self = Self(0xb0);
    /// A transaction, or an inner node of the tree over them.
    pub const BITCOIN_TX: Self = Self(0xb1);
}

impl Display for Codec {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match *self {
            Self::RAW => f.write_str("raw"),
            Self::DAG_PB => f.write_str("dag-pb"),
            Self::BITCOIN_BLOCK => f.write_str("bitcoin-block"),
            Self::BITCOIN_TX => f.write_str("bitcoin-tx"),
            Self(code) => write!(f, "{code:#x}"),
        }
    }
}

/// The name of a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cid(cid::CidGeneric<MAX_IDENTITY_BYTES>);

/// Text or bytes that are no CID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum CidError {
    /// Not in a base that multibase knows, or not a text in that base.
    #[error("not a CID: {reason}")]
    Text { reason: String },
    /// Bytes that break off, or a version, hash or length that cannot be.
    #[error("not the bytes of a CID: {reason}")]
    Bytes { reason: String },
    /// More bytes than the CID has.
    #[error("{excess} bytes follow the CID")]
    Trailing { excess: usize },
    /// A digest of another length than its function gives.
    #[error("a digest of {got} bytes, where {function} has {expected}")]
    DigestLength { function: &'static str, got: usize, expected: usize },
}

impl Cid {
    /// The CIDv1 of a block with this codec. `None` if it is too long for the identity function.
    pub fn v1(codec: Codec, function: HashFunction, bytes: &[u8]) -> Option<Self> {
        Some(Self(cid::CidGeneric::new_v1(codec.0, function.hash(bytes)?)))
    }

    /// The CIDv0 of a dag-pb block, by SHA-256.
    pub fn v0(bytes: &[u8]) -> Option<Self> {
        cid::CidGeneric::new_v0(HashFunction::Sha2_256.hash(bytes)?).ok().map(Self)
    }

    /// The CIDv1 for content with a known digest. `None` if the digest is longer than any function's.
    pub fn from_digest(codec: Codec, function: HashFunction, digest: &[u8]) -> Option<Self> {
        Some(Self(cid::CidGeneric::new_v1(codec.0, Multihash::wrap(function.code(), digest).ok()?)))
    }

    /// Reads the CID at the start of `bytes`, and returns what follows.
    ///
    /// # Errors
    /// [`CidError`].
    pub fn read_prefix(bytes: &[u8]) -> Result<(Self, &[u8]), CidError> {
        let mut rest = bytes;
        let malformed = |reason: String| CidError::Bytes { reason };
        let cid = cid::CidGeneric::read_bytes(&mut rest).map_err(|error| malformed(error.to_string()))?;
        let (code, got) = (cid.hash().code(), usize::from(cid.hash().size()));
        match HashFunction::from_code(code) {
            None | Some(HashFunction::Identity) => {}
            Some(function) if function.digest_len() == got => {}
            Some(function) => {
                let expected = function.digest_len();
                return Err(CidError::DigestLength { function: function.name(), got, expected });
            }
        }
        // The library takes numbers of more than 64 bits, and drops what is too much.
        if cid.to_bytes() != bytes[..bytes.len() - rest.len()] {
            return Err(malformed("a number has more than 64 bits".to_owned()));
        }
        Ok((Self(cid), rest))
    }

    /// Reads a CID in binary form, with nothing after it.
    ///
    /// # Errors
    /// [`CidError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        match Self::read_prefix(bytes)? {
            (cid, []) => Ok(cid),
            (_, rest) => Err(CidError::Trailing { excess: rest.len() }),
        }
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Bytes of the binary form.
    pub fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    /// What the block's bytes mean.
    pub fn codec(&self) -> Codec {
        Codec(self.0.codec())
    }

    /// The digest, if it is one of 32 bytes by this function.
    pub fn digest_of(&self, function: HashFunction) -> Option<[u8; 32]> {
        let digest = (self.function() == Some(function)).then(|| self.0.hash().digest());
        digest?.try_into().ok()
    }

    /// 0 or 1.
    pub fn version(&self) -> u8 {
        match self.0.version() {
            Version::V0 => 0,
            Version::V1 => 1,
        }
    }

    /// Code, length and digest of the hash: what two CIDs of the same block have in common.
    pub fn multihash(&self) -> Vec<u8> {
        self.0.hash().to_bytes()
    }

    /// The same as text in base58 without a prefix, as in CIDv0 and for peers.
    pub fn multihash_text(&self) -> String {
        Base::Base58Btc.encode(self.multihash())
    }

    /// The CIDv1 for content with a multihash that is given as text in base58 without a prefix.
    ///
    /// # Errors
    /// [`CidError`].
    pub fn from_multihash_text(codec: Codec, text: &str) -> Result<Self, CidError> {
        let malformed = |reason: String| CidError::Text { reason };
        if text.len() > MAX_TEXT_BYTES {
            return Err(malformed(format!("{} characters are too many", text.len())));
        }
        let bytes = Base::Base58Btc.decode(text).map_err(|error| malformed(error.to_string()))?;
        let hash = Multihash::<MAX_IDENTITY_BYTES>::from_bytes(&bytes).map_err(|error| malformed(error.to_string()))?;
        Self::from_bytes(&cid::CidGeneric::new_v1(codec.0, hash).to_bytes())
    }

    /// The function that names the block; `None` if it is not known here.
    pub fn function(&self) -> Option<HashFunction> {
        HashFunction::from_code(self.0.hash().code())
    }

    /// Multicodec code of the function.
    pub fn function_code(&self) -> u64 {
        self.0.hash().code()
    }

    /// The block itself, if the CID holds it in place of a hash.
    pub fn inline(&self) -> Option<&[u8]> {
        (self.function() == Some(HashFunction::Identity)).then(|| self.0.hash().digest())
    }

    /// Whether `bytes` are the block; `None` if the function is not known here.
    pub fn names(&self, bytes: &[u8]) -> Option<bool> {
        Some(self.function()?.hash(bytes).is_some_and(|hash| hash == *self.0.hash()))
    }

    /// The CIDv1 of the same block and codec.
    #[must_use]
    pub fn to_v1(&self) -> Self {
        Self(cid::CidGeneric::new_v1(self.0.codec(), *self.0.hash()))
    }
}

/// CIDv0 in base58, CIDv1 in base32.
impl Display for Cid {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// As text.
impl serde::Serialize for Cid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// In any base. A CIDv0 has no base other than base58, without prefix.
impl FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        let malformed = |reason: &dyn Display| CidError::Text { reason: reason.to_string() };
        if text.len() > MAX_TEXT_BYTES {
            return Err(malformed(&format_args!("{} characters are too many", text.len())));
        }
        if text.len() == V0_TEXT_BYTES && text.starts_with("Qm") {
            let bytes = Base::Base58Btc.decode(text).map_err(|error| malformed(&error))?;
            return Self::from_bytes(&bytes);
        }
        let (_, bytes) = multibase::decode(text).map_err(|error| malformed(&error))?;
        let cid = Self::from_bytes(&bytes)?;
        match cid.version() {
            0 => Err(malformed(&"a CIDv0 has no base prefix")),
            _ => Ok(cid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_any_base_is_the_same_cid() {
        let cid: Cid = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku".parse().unwrap();
        assert_eq!(cid, Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"").unwrap());
        assert_eq!(Cid::from_multihash_text(Codec::RAW, &cid.multihash_text()), Ok(cid));
        assert!(Cid::from_multihash_text(Codec::RAW, "0OIl").is_err());
        for base in [Base::Base2, Base::Base16Upper, Base::Base36Lower, Base::Base58Btc, Base::Base64Url] {
            let text = cid.0.to_string_of_base(base).unwrap();
            assert_eq!(text.parse(), Ok(cid), "{text}");
        }
    }

    #[test]
    fn what_is_no_cid_is_refused() {
        let v0 = Cid::v0(b"").unwrap();
        assert_eq!(v0.to_string().parse(), Ok(v0));
        let long = format!("f{}", "0".repeat(2_000));
        let prefixed = multibase::encode(Base::Base58Btc, v0.to_bytes());
        for text in ["", "Q", "b", "x", "Qm", "bafkrei", "é", "\0", &long, &prefixed, &format!("/ipfs/{v0}")] {
            assert!(text.parse::<Cid>().is_err(), "{text:?}");
        }
        let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"").unwrap();
        let trailing = [cid.to_bytes(), vec![0]].concat();
        assert_eq!(Cid::from_bytes(&trailing), Err(CidError::Trailing { excess: 1 }));
        assert!(multibase::encode(Base::Base32Lower, &trailing).parse::<Cid>().is_err());
        for cut in 0..cid.encoded_len() {
            assert!(Cid::from_bytes(&trailing[..cut]).is_err(), "{cut}");
        }
        let short = Cid::from_digest(Codec::RAW, HashFunction::Sha2_256, &[0; 31]).unwrap();
        let error = CidError::DigestLength { function: "sha2-256", got: 31, expected: 32 };
        assert_eq!(Cid::from_bytes(&short.to_bytes()), Err(error));
        // A codec of 70 bits, version 2, and a CIDv0 that says so.
        let wide = [&[1][..], &[0xff; 9], &[0x7f, 0, 0]].concat();
        assert!(Cid::from_bytes(&wide).is_err());
        assert!(Cid::from_bytes(&[2, 0x55, 0, 0]).is_err());
        assert!(Cid::from_bytes(&[0, 0x70, 0, 0]).is_err());
    }

    #[test]
    fn the_identity_has_a_limit() {
        let full = Cid::v1(Codec::RAW, HashFunction::Identity, &[7; MAX_IDENTITY_BYTES]).unwrap();
        assert_eq!(full.inline(), Some(&[7; MAX_IDENTITY_BYTES][..]));
        assert_eq!(full.to_string().parse(), Ok(full));
        assert_eq!(Cid::v1(Codec::RAW, HashFunction::Identity, &[7; MAX_IDENTITY_BYTES + 1]), None);
        let mut bytes = vec![1, 0x55, 0, 129, 1];
        bytes.extend([7; 129]);
        assert!(matches!(Cid::from_bytes(&bytes), Err(CidError::Bytes { .. })));
    }
}
