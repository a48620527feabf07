//! A chain of headers checked one after another from genesis, in constant memory: what a verifier without bodies does.

use crate::consensus::check::check_proof_of_work;
use crate::consensus::context::{HeaderContext, Parent, check_header, next_bits};
use crate::consensus::error::RuleError;
use crate::consensus::params::Params;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;

/// Why a header does not continue the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderChainError {
    /// It names another parent.
    #[error("the header at height {height} names parent {got}, expected {expected}")]
    Unlinked {
        /// The height it would have.
        height: Height,
        /// The parent it names.
        got: BlockHash,
        /// The tip it was to continue.
        expected: BlockHash,
    },
    /// It breaks a rule.
    #[error("the header at height {height}: {source}")]
    Rule {
        /// The height it would have.
        height: Height,
        /// The rule.
        source: RuleError,
    },
    /// There are no heights left.
    #[error("the chain is at the greatest height there can be")]
    TooHigh,
}

/// The end of a valid chain of headers from genesis: what the rules need to know of a chain to check its next header.
///
/// Every rule on headers is checked but the one that needs a clock
/// ([`check_clock`](crate::consensus::context::check_clock)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderTail {
    tip: Header,
    tip_hash: BlockHash,
    height: Height,
    work: Work,
    /// Time of block 1, the difficulty rule's anchor.
    first_time: u32,
}

/// A tail in the form in which files keep it. Nothing in it is checked before [`HeaderTail::resume`], and even then its
/// holder trusts the place where it was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Height of the last header.
    pub height: Height,
    /// The last header.
    pub tip: Header,
    /// Expected hashes behind the whole chain.
    pub work: Work,
    /// Time of block 1.
    pub first_time: u32,
}

impl HeaderTail {
    /// The chain of genesis alone.
    pub fn new(params: &Params) -> Self {
        let tip = params.genesis.header;
        Self::checked((tip, params.genesis_hash), Height::GENESIS, params.genesis_target.work(), tip.time)
    }

    /// The end of a chain that was checked before: its last header and that one's hash, its height and work, and the time
    /// of its block 1.
    pub fn checked((tip, tip_hash): (Header, BlockHash), height: Height, work: Work, first_time: u32) -> Self {
        Self { tip, tip_hash, height, work, first_time }
    }

    /// The chain that ends at a checkpoint; `None` if that is at genesis and not this network's.
    pub fn resume(params: &Params, from: &Checkpoint) -> Option<Self> {
        let Checkpoint { height, tip, work, first_time } = *from;
        let tip_hash = tip.hash();
        let is_ours = height != Height::GENESIS || tip_hash == params.genesis_hash;
        is_ours.then(|| Self::checked((tip, tip_hash), height, work, first_time))
    }

    /// What is needed to continue from here later.
    pub fn checkpoint(&self) -> Checkpoint {
        let Self { tip, height, work, first_time, .. } = *self;
        Checkpoint { height, tip, work, first_time }
    }

    /// Adds the next header; answers its hash. On an error the chain is as before.
    ///
    /// # Errors
    /// [`HeaderChainError`] with the first rule broken.
    pub fn push(&mut self, header: &Header, params: &Params) -> Result<BlockHash, HeaderChainError> {
        let hash = header.hash();
        self.push_linked(header, hash, params)?;
        Ok(hash)
    }

    /// Adds headers up to the first that breaks a rule. Hashed together, they take half the time.
    ///
    /// # Errors
    /// How many were added, and what is wrong with the next.
    pub fn extend(&mut self, headers: &[Header], params: &Params) -> Result<(), (usize, HeaderChainError)> {
        let hashes = Header::hash_all(headers);
        let mut pairs = headers.iter().zip(hashes).enumerate();
        pairs.try_for_each(|(place, (header, hash))| {
            self.push_linked(header, hash, params).map_err(|error| (place, error))
        })
    }

    fn push_linked(&mut self, header: &Header, hash: BlockHash, params: &Params) -> Result<(), HeaderChainError> {
        let height = self.height.checked_add(1).ok_or(HeaderChainError::TooHigh)?;
        if header.previous != self.tip_hash {
            return Err(HeaderChainError::Unlinked { height, got: header.previous, expected: self.tip_hash });
        }
        self.push_child(header, hash, params).map_err(|source| HeaderChainError::Rule { height, source })
    }

    /// Adds a header whose hash is `hash`, and which the caller knows to name the tip as its parent. On an error the chain
    /// is as before.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn push_child(&mut self, header: &Header, hash: BlockHash, params: &Params) -> Result<(), RuleError> {
        check_header(header, &self.next_context(params))?;
        check_proof_of_work(header, &hash, params)?;
        let own_work = header.bits.target()?.work();
        let height = self.height.next();
        if self.height == Height::GENESIS {
            self.first_time = header.time;
        }
        (self.tip, self.tip_hash, self.height, self.work) = (*header, hash, height, self.work + own_work);
        Ok(())
    }

    /// What the next header must keep to.
    pub fn next_context(&self, params: &Params) -> HeaderContext {
        let parent = Parent { height: self.height, time: self.tip.time, first_time: self.first_time };
        HeaderContext { height: self.height.next(), min_time: self.tip.time, bits: next_bits(&parent, params) }
    }

    /// The last header.
    pub fn tip(&self) -> &Header {
        &self.tip
    }

    /// Its hash.
    pub fn tip_hash(&self) -> BlockHash {
        self.tip_hash
    }

    /// Its height; genesis has 0.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Expected hashes behind the whole chain, genesis included.
    pub fn work(&self) -> Work {
        self.work
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::params::{GenesisSpec, Retarget};
    use crate::primitives::hash::MerkleRoot;
    use crate::primitives::target::Bits;

    fn mined(chain: &HeaderTail, params: &Params, time: u32) -> Header {
        let context = chain.next_context(params);
        let mut header = Header {
            version: 1,
            previous: chain.tip_hash(),
            merkle_root: MerkleRoot::of(&time.to_le_bytes()),
            time,
            bits: context.bits,
            nonce: 0,
        };
        let target = header.bits.target().unwrap();
        while !target.is_met_by(&header.hash()) {
            header.nonce += 1;
        }
        header
    }

    /// Difficulty that changes at every block, easy enough for a test.
    fn params() -> Params {
        let mut spec = GenesisSpec {
            retarget: Retarget::Asert,
            bits: Bits(0x200f_ffff),
            half_life_secs: 20,
            max_future_secs: 2,
            ..GenesisSpec::regtest()
        };
        spec.mine_nonce();
        Params::new(spec).unwrap()
    }

    #[test]
    fn a_chain_grows_by_the_rules_and_no_other_way() {
        let params = params();
        let mut chain = HeaderTail::new(&params);
        let mut bits_seen = Vec::new();
        for i in 1..=40 {
            // A fast start, then a slow end: difficulty goes up and comes down.
            let time = params.timestamp + if i < 25 { 2 * i } else { 50 + 11 * (i - 25) };
            let good = mined(&chain, &params, time);
            let before = (chain.tip_hash(), chain.height(), chain.work());

            let unlinked = Header { previous: BlockHash::ZERO, ..good };
            assert!(matches!(chain.push(&unlinked, &params), Err(HeaderChainError::Unlinked { .. })));
            let easier = Header { bits: Bits(0x207f_fffe), ..good };
            assert!(matches!(
                chain.push(&easier, &params),
                Err(HeaderChainError::Rule { source: RuleError::WrongBits { .. }, .. })
            ));
            let early = Header { time: chain.tip().time - 1, ..good };
            assert!(matches!(
                chain.push(&early, &params),
                Err(HeaderChainError::Rule { source: RuleError::TimeTooOld { .. }, .. })
            ));
            let mut unmined = good;
            while good.bits.target().unwrap().is_met_by(&unmined.hash()) {
                unmined.nonce += 1;
            }
            assert!(matches!(
                chain.push(&unmined, &params),
                Err(HeaderChainError::Rule { source: RuleError::HighHash { .. }, .. })
            ));
            assert_eq!(before, (chain.tip_hash(), chain.height(), chain.work()), "a refusal changes nothing");

            let mut resumed = HeaderTail::resume(&params, &chain.checkpoint()).unwrap();
            assert_eq!(resumed.next_context(&params), chain.next_context(&params));
            assert_eq!(resumed.push(&good, &params), Ok(good.hash()));
            assert_eq!(chain.push(&good, &params), Ok(good.hash()));
            assert_eq!(resumed.checkpoint(), chain.checkpoint());
            assert_eq!((chain.height(), chain.tip_hash()), (Height::from_u32(i), good.hash()));
            assert_eq!(chain.work(), before.2 + good.bits.target().unwrap().work());
            bits_seen.push(good.bits.target().unwrap());
        }
        assert_eq!(bits_seen[0], params.genesis_target, "block 1 has the bits of genesis");
        assert!(bits_seen.iter().min() < bits_seen.first() && bits_seen.last() > bits_seen.iter().min());
    }
}
