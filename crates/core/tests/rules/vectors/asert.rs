//! The official `aserti3-2d` runs: block by block, the bits that follow from anchor, height and time.

use cairn_core::consensus::asert::{Schedule, next_bits};
use cairn_core::primitives::target::{Bits, Target};
use proptest::prelude::*;

/// Bitcoin Cash: ten minutes a block, two days of half-life, Bitcoin's easiest target.
const TARGET_SPACING_SECS: u32 = 600;
const HALF_LIFE_SECS: u32 = 172_800;
const LIMIT: Bits = Bits(0x1d00_ffff);

struct Anchor {
    height: i64,
    parent_time: i64,
    bits: Bits,
}

impl Anchor {
    fn next_bits(&self, height: i64, time: i64) -> Bits {
        let schedule = Schedule {
            elapsed_secs: time - self.parent_time,
            blocks: height - self.height,
            target_spacing_secs: TARGET_SPACING_SECS,
            half_life_secs: HALF_LIFE_SECS,
        };
        next_bits(target(self.bits), &schedule, target(LIMIT))
    }
}

fn target(bits: Bits) -> Target {
    bits.target().unwrap()
}

fn bits(text: &str) -> Bits {
    text.trim().strip_prefix("0x").and_then(|hex| hex.parse().ok()).unwrap_or_else(|| panic!("{text}: not bits"))
}

#[test]
fn every_official_run() {
    // Blocks in each file, so that a file cut short is noticed.
    for (run, blocks) in (1..).zip([10, 10, 10, 225, 225, 1000, 1000, 500, 10]) {
        let text = super::data(&format!("aserti3-2d/run{run:02}"));
        let field = |name: &str| {
            let marker = format!("##   {name}: ");
            text.lines().find_map(|line| line.strip_prefix(&marker)).unwrap_or_else(|| panic!("run {run}: no {name}"))
        };
        let anchor = Anchor {
            height: field("anchor height").parse().unwrap(),
            parent_time: field("anchor parent time").parse().unwrap(),
            bits: bits(field("anchor nBits")),
        };
        let mut seen = 0;
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let [_, height, time, expected] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("run {run}: {line}")
            };
            let got = anchor.next_bits(height.parse().unwrap(), time.parse().unwrap());
            assert_eq!(got, bits(expected), "run {run}, {line}");
            seen += 1;
        }
        assert_eq!(seen, blocks, "run {run}");
    }
}

proptest! {
    /// No times and heights overflow; the answer is a target from 1 to the limit; a later block is never harder.
    #[test]
    fn bounded_and_monotonic(
        anchor in 1u32..0x1d00_ffff,
        elapsed_secs in -i64::from(u32::MAX)..=i64::from(u32::MAX),
        blocks in 0..=i64::from(u32::MAX),
        target_spacing_secs in 1u32..=86_400,
        half_life_secs in 1u32..=31_536_000,
        later in 0..=i64::from(u32::MAX),
    ) {
        let Ok(anchor) = Bits(anchor).target() else { return Ok(()) };
        let limit = target(LIMIT);
        prop_assume!(anchor <= limit);
        let schedule = Schedule { elapsed_secs, blocks, target_spacing_secs, half_life_secs };
        let sooner = next_bits(anchor, &schedule, limit).target().unwrap();
        let schedule = Schedule { elapsed_secs: elapsed_secs + later, ..schedule };
        let later = next_bits(anchor, &schedule, limit).target().unwrap();
        prop_assert!(sooner <= later && later <= limit);
    }
}
