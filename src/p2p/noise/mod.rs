//! Encryption and identity of connections: the Noise protocol framework (revision 34, Trevor Perrin 2018), pattern XX
//! with X25519, ChaCha20-Poly1305 and SHA-256.
//!
//! `identity` has the static key that a node is known by, `handshake` the three messages in which both sides prove theirs,
//! `record` what goes over the wire from then on. There is no connection without. All of it takes and gives bytes:
//! the owner of the stream carries them.

mod handshake;
mod identity;
mod record;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

pub use handshake::{HANDSHAKE_BYTES, Handshake, HandshakeError, MESSAGE_BYTES, Session};
pub use identity::{Identity, KEY_BYTES};
pub use record::{MAX_PLAIN, MAX_RECORD, MIN_RECORD, Opener, RecordError, Sealer, TAG_BYTES};

/// The protocol's name, from which both sides' keys follow too.
pub const PROTOCOL: &str = "Noise_XX_25519_ChaChaPoly_SHA256";

/// The prologue over TCP: this transport, and its version, which changes with the handshake or the records and with nothing
/// inside them.
pub const PROLOGUE: &[u8] = b"cairn transport 1";

/// What begins the prologue over WebRTC, followed by the SHA-256 of the certificates of the node that was dialled and of the
/// one that dialled.
pub const WEBRTC_PROLOGUE: &[u8] = b"cairn webrtc 1";

/// What carries the bytes. Both sides must mean the same, or the second message is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A TCP connection.
    Tcp,
    /// A WebRTC data channel, whose own encryption is between these certificates: a third party that has put itself
    /// between both sides has other certificates on at least one of them.
    WebRtc {
        /// SHA-256 of the certificate of the side that was dialled.
        node: [u8; 32],
        /// SHA-256 of the certificate of the side that dialled.
        page: [u8; 32],
    },
}

impl Carrier {
    fn prologue(&self) -> Vec<u8> {
        match self {
            Self::Tcp => PROLOGUE.to_vec(),
            Self::WebRtc { node, page } => [WEBRTC_PROLOGUE, node, page].concat(),
        }
    }
}

/// The usual primitives, except that a Diffie-Hellman whose result is zero is an error: the other side's key was one of the
/// few that give the same with everybody (RFC 7748, section 6.1). Randomness comes from a seed.
struct Strict {
    seed: [u8; 32],
}

impl CryptoResolver for Strict {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seeded(ChaCha20Rng::from_seed(self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(StrictDh(DefaultResolver.resolve_dh(choice)?)))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct Seeded(ChaCha20Rng);

impl Random for Seeded {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

struct StrictDh(Box<dyn Dh>);

impl Dh for StrictDh {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, privkey: &[u8]) {
        self.0.set(privkey);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        self.0.generate(rng)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.dh(pubkey, out)?;
        // All bytes are looked at, whatever they are: how long that takes says nothing.
        let any = out.iter().take(self.dh_len()).fold(0, |any, byte| any | byte);
        if any == 0 { Err(snow::Error::Dh) } else { Ok(()) }
    }
}
