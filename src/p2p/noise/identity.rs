//! The static key, from which a node's id follows.

use std::fmt;

use sha2::{Digest, Sha256};
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};

use crate::p2p::kad::NodeId;

/// Bytes of an X25519 key, secret or public.
pub const KEY_BYTES: usize = 32;

/// A static key pair; the node's id is the hash of the public key.
#[derive(Clone)]
pub struct Identity {
    secret: [u8; KEY_BYTES],
    id: NodeId,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Identity {
    /// That of a secret key; any 32 bytes are one.
    pub fn from_secret(secret: [u8; KEY_BYTES]) -> Self {
        let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("X25519 is compiled in");
        dh.set(&secret);
        Self { secret, id: id_of(dh.pubkey()) }
    }

    /// The id under which other nodes know this one.
    pub fn id(&self) -> NodeId {
        self.id
    }

    pub(super) fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }
}

/// The id of a static public key: its SHA-256.
pub(super) fn id_of(public: &[u8]) -> NodeId {
    NodeId(Sha256::digest(public).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys are Bob's of RFC 7748, section 6.1.
    #[test]
    fn an_id_is_the_hash_of_the_public_key() {
        let bytes = |digits: &str| <[u8; 32]>::try_from(hex::decode(digits).unwrap()).unwrap();
        let secret = bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let public = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let id = "f35e5616160a30bf3c6e79fa73c576d40205e8fc3ba4e1c6dcf93e6b98e857b4";
        assert_eq!(Identity::from_secret(secret).id(), id_of(&public));
        assert_eq!(id_of(&public).to_string(), id);
    }
}
