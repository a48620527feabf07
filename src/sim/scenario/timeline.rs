//! Everything that a run does at a time that is known before it begins.

use std::time::Duration;

use rand::RngExt;

use super::plan::{Event, PayPlan, Scenario};
use crate::sim::generator;

/// The generators of a run's draws, one for each miner.
const MINING: u64 = 0x6d69_6e65;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// The event of this number.
    Event(usize),
    /// One payment, through a node.
    Pay { number: usize, node: usize, event: usize },
    /// A node finds a block by chance.
    Block(usize),
    /// The check of this number begins.
    Check(usize),
}

/// All steps in the order of their times; at one time, events come first and checks last.
pub(super) fn timeline(scenario: &Scenario, seed: u64) -> Vec<(Duration, Step)> {
    let mut steps = Vec::new();
    for (number, event) in scenario.events.iter().enumerate() {
        steps.push((event.at, Step::Event(number)));
        if let Event::Pay(plan) = &event.what {
            steps.extend(payments(plan, number).map(|(after, step)| (event.at + after, step)));
        }
    }
    steps.extend(blocks(scenario, seed));
    steps.extend(scenario.checks.iter().enumerate().map(|(number, check)| (check.at, Step::Check(number))));
    // Stable, so that the file's order decides the rest.
    steps.sort_by_key(|(at, step)| (*at, matches!(step, Step::Check(_))));
    steps
}

/// The payments of an event, evenly spread, each with the time after the event.
fn payments(plan: &PayPlan, event: usize) -> impl Iterator<Item = (Duration, Step)> {
    let count = plan.numbers.len().max(1) as u32;
    (0u32..).zip(plan.numbers.clone()).zip(plan.through.iter().cycle()).map(move |((place, number), node)| {
        // Virtual time has whole milliseconds.
        let after = Duration::from_millis((plan.over * place / count).as_millis() as u64);
        (after, Step::Pay { number, node: *node, event })
    })
}

/// When each miner finds blocks: independent of the others, after exponential times, since mining is memoryless.
fn blocks(scenario: &Scenario, seed: u64) -> Vec<(Duration, Step)> {
    let Some(every) = scenario.every else { return Vec::new() };
    let total: f64 = scenario.nodes.iter().map(|node| node.power).sum();
    let (end, mut found) = (scenario.ends(), Vec::new());
    for (node, plan) in scenario.nodes.iter().enumerate().filter(|(_, plan)| plan.power > 0.0) {
        let mean = every.as_secs_f64() * total / plan.power;
        let (mut rng, mut at) = (generator(seed, MINING, node as u64), 0.0);
        loop {
            // From 0, which has no logarithm, excluded.
            at -= (1.0 - rng.random::<f64>()).ln() * mean;
            if at >= end.as_secs_f64() {
                break;
            }
            found.push((Duration::from_millis((at * 1e3) as u64), Step::Block(node)));
        }
    }
    found
}
