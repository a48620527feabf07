//! Evidence whose size grows with the logarithm of the chain's length: FlyClient (Bünz, Kiffer, Luu, Zamani 2020) over
//! the Merkle mountain range that every coinbase commits to.
//!
//! The tip's coinbase commits to all earlier headers and the sum of their work. The proof shows the last [`TAIL`]
//! headers and a sample of the others. The tip's hash determines the sample, so the maker of a chain cannot choose it.
//! Each header shown is tied to the commitment, proves its work and has the bits that the difficulty rule gives after
//! the time of the node to its left. The coinbase of each sampled block commits to exactly the headers that the tip's
//! commitment places before it. The work claimed for headers that are not shown is within what the rule allows between
//! the times around them.
//!
//! # What it shows
//! Work, and only in expectation. Suppose a forger does the share `c` of the work claimed on top of the honest chain;
//! the rest is false. One point is sampled from each stratum of work. If false work fills the
//! shares `f₀, f₁, …` of the strata, a set of samples misses all of it with probability `Π (1 − fⱼ)`: at `c = 1/2` and
//! the worst distribution, less than `2^−40`. That is the chance of one draw. Each new draw needs a new tip and costs its
//! work, and on a branch that begins at an old tip the last headers are cheap. The number of strata therefore grows as
//! the tip gets cheaper ([`strata_per_octave`]), so that the cost of a draw times the expected number of draws exceeds
//! the whole work.
//!
//! The number of headers proves nothing: on a branch that begins at an old tip they are as cheap as the network allows.
//! Times are their miners' claims. They do not fall and are not in the future, and a forger who makes headers dear by
//! early times must claim the work of the climb, and so have it sampled.
//!
//! # Layout
//! Integers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | height `n` of the tip |
//! | 80 | the tip's header |
//! | … | the tip's *coinbase* |
//! | … | the range over the `n` headers before it: its mountains, tallest first, each a *node* |
//!
//! A *coinbase* is the ledger root (32), to which it commits besides headers; the transaction's encoding without the 32
//! bytes of the commitment, which the verifier computes; then the number of hashes in its Merkle branch (1 byte) and those
//! hashes. A *node* begins with a byte:
//!
//! | byte | node | then |
//! |---|---|---|
//! | 0 | nothing under it is shown | its hash (32), the length of its work in bytes (1) and those bytes, little-endian, the last not 0; its last time (4) |
//! | 1 | an inner node | its left node, its right node |
//! | 2 | a header | its parent's hash (32) unless the leaf before is shown, its Merkle root (32), version, time, bits, nonce (4 each) |
//! | 3 | a header that is sampled | version, time, bits, nonce (4 each), its *coinbase*; the leaf before is shown |
//!
//! The leaf of genesis is not written: the verifier has it. The proof shows header 1, where difficulty is anchored; the
//! last [`TAIL`] headers; and the sampled headers (byte 3) with the parent of each. The first of the last [`TAIL`] headers
//! always counts as sampled, and so does the payment's block if it is before them; genesis never does. Nothing else may
//! be shown, so that one chain has one proof.
//!
//! # Headers alone
//! A verifier that holds a proven range can be shown further headers under it ([`prove_headers`]): the nodes of each
//! mountain that has such a header, as above, with no header sampled. Genesis does not count as shown there.

mod bounds;
mod bytes;
mod prove;
mod sample;
mod verify;

pub use prove::{Source, prove, prove_headers};
pub use sample::strata_per_octave;
pub(super) use verify::verify;
pub use verify::{ProvenChain, ProvenHeader, SuccinctError, verify_chain, verify_header, verify_headers};

use crate::primitives::height::Height;

/// The first header after genesis, where difficulty is anchored.
const FIRST: Height = Height::GENESIS.next();
/// The last this many headers before the tip are all shown.
pub const TAIL: u32 = 256;
const HIDDEN: u8 = 0;
const INNER: u8 = 1;
const HEADER: u8 = 2;
const SAMPLE: u8 = 3;

/// The mountains of the range over the headers before `tip`, tallest first, as the levels of each and its first leaf.
fn mountains(tip: Height) -> impl Iterator<Item = (u32, Height)> {
    let leaves = tip.as_u32();
    (0..u32::BITS).rev().filter(move |levels| leaves >> levels & 1 == 1).scan(Height::GENESIS, |first, levels| {
        let start = *first;
        *first = first.saturating_add(1 << levels);
        Some((levels, start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountains_cover_all_leaves() {
        for tip in (0..70).map(Height::from_u32) {
            let leaves = |(levels, first): (u32, Height)| first.until(first.saturating_add(1 << levels));
            let all: Vec<Height> = mountains(tip).flat_map(leaves).collect();
            assert_eq!(all, Height::GENESIS.until(tip).collect::<Vec<_>>());
        }
    }
}
