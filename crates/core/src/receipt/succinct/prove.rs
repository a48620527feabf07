//! The prover's side: choose the headers to show and write them.

use std::collections::BTreeSet;

use ruint::aliases::U256;

use super::bytes::{Coinbase, write_node, write_own_fields};
use super::sample::{MAX_STRATA, challenges, strata_per_octave};
use super::{FIRST, HEADER, HIDDEN, INNER, SAMPLE, TAIL, mountains};
use crate::primitives::codec;
use crate::primitives::hash::LedgerRoot;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::merkle::Branch;
use crate::primitives::mmr::{Node, peak_numbers};
use crate::primitives::target::Work;
use crate::primitives::tx::Transaction;
use crate::receipt::weight::work_of;

/// Access to the data of the best chain that a proof needs. All functions must answer for the same tip.
pub struct Source<'a, E> {
    /// A node of the header range by its number (see [`mmr`](crate::primitives::mmr)).
    pub node: &'a dyn Fn(u64) -> Result<Node, E>,
    /// The header at a height.
    pub header: &'a dyn Fn(Height) -> Result<Header, E>,
    /// The coinbase of the block at a height, its branch, and the half of its commitment that is not about headers.
    pub coinbase: &'a dyn Fn(Height) -> Result<(Transaction, Branch, LedgerRoot), E>,
}

/// A node of the range with its position, from which its children's positions follow.
#[derive(Clone, Copy)]
struct Place {
    /// Levels above the leaves.
    levels: u32,
    /// The first leaf under it.
    first: Height,
    number: u64,
}

impl Place {
    fn children(self) -> (Self, Self) {
        let levels = self.levels - 1;
        let left = Self { levels, first: self.first, number: self.number - (1 << self.levels) };
        let right = Self { levels, first: left.end(), number: self.number - 1 };
        (left, right)
    }

    fn covers(self, leaf: Height) -> bool {
        (self.first..self.end()).contains(&leaf)
    }

    /// The leaf after the last under it.
    fn end(self) -> Height {
        self.first.saturating_add(1 << self.levels)
    }
}

/// The proof that the header at height `block` is in the chain that ends at height `tip`, which must not be genesis.
///
/// # Errors
/// The source's error.
pub fn prove<E>(source: &Source<'_, E>, tip: Height, block: Height) -> Result<Vec<u8>, E> {
    let genesis = (source.header)(Height::GENESIS)?.hash();
    let last = (source.header)(tip)?;
    let mut prover = Prover { source, samples: BTreeSet::new(), shown: BTreeSet::new(), out: Vec::new() };
    let peaks: Vec<Place> = peaks(tip).collect();
    let mut total = U256::ZERO;
    for peak in &peaks {
        total += (source.node)(peak.number)?.work.0;
    }
    let first_of_tail = tip.saturating_sub(TAIL);
    let before_tail = prover.work_before(&peaks, first_of_tail)?;
    // Genesis commits to nothing, so it is never sampled. In the tail, one sample is enough: the other headers link to
    // it.
    prover.samples.extend([first_of_tail, block.min(first_of_tail)].into_iter().filter(|leaf| *leaf > Height::GENESIS));
    // If more were due, verifiers would refuse the proof anyway.
    let strata = strata_per_octave(Work(total), work_of(&last)).unwrap_or(MAX_STRATA);
    for point in challenges(&genesis, &last.hash(), Work(total), Work(total - before_tail), strata) {
        match prover.leaf_at(&peaks, point)? {
            leaf if leaf > Height::GENESIS && leaf < first_of_tail => {
                prover.samples.insert(leaf);
            }
            _ => {}
        }
    }
    let parents = prover.samples.iter().filter_map(|leaf| leaf.prev());
    let others = first_of_tail.until(tip).chain([Height::GENESIS, FIRST, block]).filter(|leaf| *leaf < tip);
    prover.shown.extend(parents.chain(others));
    prover.shown.extend(prover.samples.iter().copied());

    prover.out.extend(codec::encode(&tip));
    prover.out.extend(last.to_bytes());
    prover.coinbase(tip)?;
    for peak in peaks {
        prover.node(peak)?;
    }
    Ok(prover.out)
}

/// The proof that the headers at the heights `wanted` are under the range over the headers before height `end`.
///
/// # Errors
/// The source's error.
pub fn prove_headers<E>(source: &Source<'_, E>, end: Height, wanted: &BTreeSet<Height>) -> Result<Vec<u8>, E> {
    let mut prover = Prover { source, samples: BTreeSet::new(), shown: wanted.clone(), out: Vec::new() };
    for peak in peaks(end) {
        if prover.shows_under(peak) {
            prover.node(peak)?;
        }
    }
    Ok(prover.out)
}

/// The peaks of the range over the headers before height `end`.
fn peaks(end: Height) -> impl Iterator<Item = Place> {
    let numbers = peak_numbers(u64::from(end.as_u32()));
    mountains(end).zip(numbers).map(|((levels, first), number)| Place { levels, first, number })
}

struct Prover<'a, E> {
    source: &'a Source<'a, E>,
    samples: BTreeSet<Height>,
    /// All headers to show, samples included. Genesis, which the verifier has, counts as shown.
    shown: BTreeSet<Height>,
    out: Vec<u8>,
}

impl<E> Prover<'_, E> {
    /// Work of the leaves before `leaf`.
    fn work_before(&self, peaks: &[Place], leaf: Height) -> Result<U256, E> {
        let mut sum = U256::ZERO;
        for peak in peaks {
            if !peak.covers(leaf) {
                sum += (self.source.node)(peak.number)?.work.0;
                continue;
            }
            let mut place = *peak;
            while place.levels > 0 {
                let (left, right) = place.children();
                place = if right.covers(leaf) {
                    sum += (self.source.node)(left.number)?.work.0;
                    right
                } else {
                    left
                };
            }
            break;
        }
        Ok(sum)
    }

    /// The leaf whose work contains `point`.
    fn leaf_at(&self, peaks: &[Place], mut point: U256) -> Result<Height, E> {
        for peak in peaks {
            let work = (self.source.node)(peak.number)?.work.0;
            if point >= work {
                point -= work;
                continue;
            }
            let mut place = *peak;
            while place.levels > 0 {
                let (left, right) = place.children();
                let work = (self.source.node)(left.number)?.work.0;
                place = if point >= work {
                    point -= work;
                    right
                } else {
                    left
                };
            }
            return Ok(place.first);
        }
        Ok(Height::GENESIS)
    }

    fn coinbase(&mut self, height: Height) -> Result<(), E> {
        let (transaction, branch, ledger) = (self.source.coinbase)(height)?;
        Coinbase { ledger, transaction, branch }.write(&mut self.out);
        Ok(())
    }

    fn shows_under(&self, place: Place) -> bool {
        self.shown.range(place.first..place.end()).next().is_some()
    }

    fn node(&mut self, place: Place) -> Result<(), E> {
        if place.first == Height::GENESIS && place.levels == 0 {
            return Ok(());
        }
        if !self.shows_under(place) {
            self.out.push(HIDDEN);
            write_node(&(self.source.node)(place.number)?, &mut self.out);
            return Ok(());
        }
        if place.levels > 0 {
            self.out.push(INNER);
            let (left, right) = place.children();
            self.node(left)?;
            return self.node(right);
        }
        let leaf = place.first;
        let header = (self.source.header)(leaf)?;
        if self.samples.contains(&leaf) {
            self.out.push(SAMPLE);
            write_own_fields(&header, &mut self.out);
            return self.coinbase(leaf);
        }
        self.out.push(HEADER);
        if !leaf.prev().is_some_and(|parent| self.shown.contains(&parent)) {
            self.out.extend(header.previous.to_bytes());
        }
        self.out.extend(header.merkle_root.to_bytes());
        write_own_fields(&header, &mut self.out);
        Ok(())
    }
}
