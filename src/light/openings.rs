//! What blocks of the best chain commit to, checked against their headers.

use super::headers::Headers;
use super::proofs::check;
use crate::consensus::commitment::Committed;
use crate::p2p::coins::{Opening, OpeningFault};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::proofs::ProofFault;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;

/// Checks an answer about the block `asked`. `None` if that is no longer on the best chain.
///
/// # Errors
/// The sender's offence.
pub(super) fn check_opening(
    opening: Opening,
    asked: &(Height, BlockHash),
    chain: &Headers,
) -> Result<Option<Committed>, Offence> {
    let committed = *opening.check().map_err(Offence::FalseOpening)?;
    if (opening.coinbase.height, opening.coinbase.block) != *asked {
        return Err(Offence::FalseOpening(OpeningFault::OtherBlock));
    }
    match check(opening.coinbase, chain) {
        Ok(_) => Ok(Some(committed)),
        Err(ProofFault::Elsewhere { .. }) => Ok(None),
        Err(fault) => Err(Offence::FalseProof(fault)),
    }
}
