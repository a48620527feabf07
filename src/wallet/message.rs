//! Signed messages: text that the holder of an address has signed. `docs/protocol.md` specifies the format.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, SignatureDigest};
use crate::primitives::keys::{PublicKey, SecretKey, Signature, SignatureCheck};

/// Prefixes the preimage, as long as that of transactions and different from it: a signed message spends nothing.
const MESSAGE_TAG: &[u8] = b"cairn/message/1";

/// Text that is not a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signature: expected the base64 of 64 bytes, which has 88 characters")]
pub struct SignatureParseError;

/// What is signed for `message` on the network with this genesis.
pub fn digest(genesis: &BlockHash, message: &str) -> SignatureDigest {
    let mut bytes = MESSAGE_TAG.to_vec();
    bytes.extend_from_slice(genesis.as_bytes());
    bytes.extend(codec::encode(&message.as_bytes().to_vec()));
    SignatureDigest::of(&bytes)
}

/// Signs a message; the signature is base64 (RFC 4648, section 4).
pub fn sign(key: &SecretKey, genesis: &BlockHash, message: &str) -> String {
    STANDARD.encode(key.sign(&digest(genesis, message)).0)
}

/// Whether the holder of `key` signed the message.
///
/// # Errors
/// [`SignatureParseError`] if `signature` is not the base64 of 64 bytes.
pub fn verify(
    key: &PublicKey,
    genesis: &BlockHash,
    message: &str,
    signature: &str,
) -> Result<bool, SignatureParseError> {
    let bytes = STANDARD.decode(signature).map_err(|_| SignatureParseError)?;
    let signature = Signature(bytes.try_into().map_err(|_| SignatureParseError)?);
    Ok(SignatureCheck { key: *key, signature, digest: digest(genesis, message) }.holds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_key_one_network_and_one_message() {
        let (key, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]).public_key());
        let (genesis, elsewhere) = (BlockHash::from_bytes([4; 32]), BlockHash::from_bytes([5; 32]));
        let signature = sign(&key, &genesis, "I was here.");
        let verify = |key: &PublicKey, genesis, message, signature: &str| verify(key, genesis, message, signature);
        let own = key.public_key();
        assert_eq!(verify(&own, &genesis, "I was here.", &signature), Ok(true));
        assert_eq!(verify(&other, &genesis, "I was here.", &signature), Ok(false));
        assert_eq!(verify(&own, &elsewhere, "I was here.", &signature), Ok(false));
        assert_eq!(verify(&own, &genesis, "I was here", &signature), Ok(false));
        for wrong in ["", "AA==", &signature[1..], &format!("{signature}="), "ä"] {
            assert_eq!(verify(&own, &genesis, "I was here.", wrong), Err(SignatureParseError), "{wrong}");
        }
    }
}
