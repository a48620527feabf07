//! A scenario from its beginning to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::acts::{Refused, Stage};
use super::check::{Facts, look};
use super::plan::{Event, Scenario, Timed};
use super::selfish::Selfish;
use super::timeline::{Step, timeline};
use super::world::{World, WorldError};
use crate::p2p::Command;
use crate::sim::LinkSettings;
use crate::sim::units::Span;

/// How often checks that may take a while are looked at, and selfish miners look at the others.
const POLL: Duration = Duration::from_millis(50);

/// Something that happened, for people who watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When.
    pub at: Span,
    /// `event`, `holds`, `fails` or `note`.
    pub kind: &'static str,
    /// What.
    pub text: String,
}

/// A check and its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    /// The line of the file where it stands.
    pub line: usize,
    /// What must be so.
    pub text: String,
    /// The author's remark.
    pub note: Option<String>,
    /// Whether it was so.
    pub holds: bool,
    /// What was seen last.
    pub seen: String,
    /// When that was.
    pub at: Span,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's title.
    pub title: String,
    /// The seed of this run.
    pub seed: u64,
    /// How many nodes there were.
    pub nodes: usize,
    /// How many blocks were found.
    pub blocks: usize,
    /// How many payments were made.
    pub payments: usize,
    /// Whether all checks hold.
    pub holds: bool,
    /// All checks, in the order in which they were decided.
    pub checks: Vec<CheckResult>,
}

struct Run<'a, W> {
    scenario: &'a Scenario,
    stage: Stage<'a, W>,
    tell: &'a mut dyn FnMut(&LogLine),
    facts: Facts,
    /// The faults of each side of each link, which a restarted node has to be told again.
    faults: BTreeMap<(usize, usize), LinkSettings>,
    selfish: Vec<Selfish>,
    is_mining: bool,
    blocks: u64,
    /// Checks that do not hold yet.
    pending: Vec<usize>,
    done: Vec<CheckResult>,
}

/// Runs a scenario in a world whose nodes are all down. `tell` is told what happens, when it does.
///
/// # Errors
/// [`WorldError`] if the world fails. Checks that do not hold are no error: the report says so.
pub fn run<W: World>(
    scenario: &Scenario,
    seed: u64,
    world: &mut W,
    tell: &mut dyn FnMut(&LogLine),
) -> Result<Report, WorldError> {
    let names = scenario.names();
    let nodes = 0..scenario.nodes.len();
    let is_selfish = |node: &usize| scenario.nodes[*node].is_selfish;
    let others: Vec<usize> = nodes.clone().filter(|node| !is_selfish(node)).collect();
    let selfish = nodes.filter(is_selfish).map(|node| Selfish::new(node, others.clone())).collect();
    let mut run = Run {
        scenario,
        stage: Stage { world, names: &names },
        tell,
        facts: Facts::default(),
        faults: BTreeMap::new(),
        selfish,
        is_mining: true,
        blocks: 0,
        pending: Vec::new(),
        done: Vec::new(),
    };
    run.play(seed)?;
    Ok(Report {
        title: scenario.title.clone(),
        seed,
        nodes: names.len(),
        blocks: run.facts.miners.len(),
        payments: run.facts.paid.len(),
        holds: run.done.iter().all(|check| check.holds),
        checks: run.done,
    })
}

impl<W: World> Run<'_, W> {
    fn play(&mut self, seed: u64) -> Result<(), WorldError> {
        let steps = timeline(self.scenario, seed);
        let mut steps = steps.into_iter().peekable();
        self.set_up()?;
        // What is set at the beginning is set before the first dial.
        while let Some((_, step)) = steps.next_if(|(at, _)| at.is_zero()) {
            self.step(&step)?;
        }
        for node in 0..self.scenario.nodes.len() {
            self.connect(node)?;
        }
        let mut poll = POLL;
        loop {
            let is_watched = !self.pending.is_empty() || !self.selfish.is_empty();
            let next = match (steps.peek(), is_watched) {
                (Some((at, _)), true) => (*at).min(poll),
                (Some((at, _)), false) => *at,
                (None, _) if self.pending.is_empty() => return Ok(()),
                (None, _) => poll,
            };
            self.stage.world.wait_until(next)?;
            let now = self.stage.world.now();
            while let Some((_, step)) = steps.next_if(|(at, _)| *at <= now) {
                self.step(&step)?;
            }
            if poll <= now {
                self.poll()?;
                poll = self.stage.world.now().max(now) + POLL;
            }
        }
    }

    /// Starts the nodes that are there from the beginning, and sets their links.
    fn set_up(&mut self) -> Result<(), WorldError> {
        for (node, plan) in self.scenario.nodes.iter().enumerate() {
            if plan.joins.is_zero() {
                self.stage.world.start(node)?;
            }
            if plan.is_selfish {
                let cut = LinkSettings { cut: true, ..LinkSettings::default() };
                let others = (0..self.scenario.nodes.len()).filter(|other| *other != node);
                self.faults.extend(others.flat_map(|other| [((node, other), cut), ((other, node), cut)]));
            }
        }
        self.faults.extend(self.scenario.links.iter().map(|(from, to, settings)| ((*from, *to), *settings)));
        let faults: Vec<_> = self.faults.iter().map(|(link, settings)| (*link, *settings)).collect();
        faults.into_iter().try_for_each(|(link, settings)| self.set_link(link, settings))
    }

    fn step(&mut self, step: &Step) -> Result<(), WorldError> {
        let scenario = self.scenario;
        match step {
            Step::Event(number) => self.event(&scenario.events[*number]),
            Step::Pay { number, node, event } => {
                let Event::Pay(plan) = &scenario.events[*event].what else { return Ok(()) };
                match self.stage.pay(*node, *number, plan)? {
                    Some(Ok(txid)) => drop(self.facts.paid.insert(*number, txid)),
                    Some(Err(Refused(reason))) => {
                        self.log("note", format!("{} refuses a payment: {reason}", self.stage.names[*node]));
                    }
                    None => self.log("note", format!("{} is not running and gets no payment", self.stage.names[*node])),
                }
                Ok(())
            }
            Step::Block(node) if self.is_mining => self.mine(*node),
            Step::Block(_) => Ok(()),
            Step::Check(number) => {
                self.pending.push(*number);
                self.decide()
            }
        }
    }

    fn event(&mut self, event: &Timed<Event>) -> Result<(), WorldError> {
        let note = event.note.as_ref().map(|note| format!("  ({note})")).unwrap_or_default();
        self.log("event", format!("{}{note}", event.text));
        match &event.what {
            Event::Link(pairs, settings) => {
                let both = pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]);
                both.into_iter().try_for_each(|link| self.set_link(link, *settings))
            }
            Event::Dial(pairs) => {
                for (from, to) in pairs {
                    if let Some((address, id)) = self.stage.world.contact(*to) {
                        self.stage.world.command(*from, move |reply| Command::ConnectOnce(address, Some(id), reply))?;
                    }
                }
                Ok(())
            }
            Event::Stop(nodes) => nodes.iter().try_for_each(|node| match self.stage.world.contact(*node) {
                Some(_) => self.stage.world.stop(*node),
                None => Ok(()),
            }),
            Event::Start(nodes) => nodes.iter().try_for_each(|node| self.start(*node)),
            Event::Mine { node, blocks } => (0..*blocks).try_for_each(|_| self.mine(*node)),
            // Its payments are steps of their own.
            Event::Pay(_) => Ok(()),
            Event::Mining(on) => {
                self.is_mining = *on;
                Ok(())
            }
        }
    }

    fn mine(&mut self, node: usize) -> Result<(), WorldError> {
        self.blocks += 1;
        if let Some(hash) = self.stage.mine(node, self.blocks)? {
            self.facts.miners.insert(hash, node);
        }
        Ok(())
    }

    /// Starts a node that is down, and connects it.
    fn start(&mut self, node: usize) -> Result<(), WorldError> {
        if self.stage.world.contact(node).is_some() {
            return Ok(());
        }
        self.stage.world.start(node)?;
        let touching = self.faults.iter().filter(|((from, to), _)| *from == node || *to == node);
        let touching: Vec<_> = touching.map(|(link, settings)| (*link, *settings)).collect();
        touching.into_iter().try_for_each(|(link, settings)| self.set_link(link, settings))?;
        self.connect(node)
    }

    /// Remembers the faults of one side of a link, and sets them if both nodes are up.
    fn set_link(&mut self, (from, to): (usize, usize), settings: LinkSettings) -> Result<(), WorldError> {
        self.faults.insert((from, to), settings);
        let are_up = [from, to].iter().all(|node| self.stage.world.contact(*node).is_some());
        if are_up { self.stage.world.set_link(from, to, settings) } else { Ok(()) }
    }

    /// Has a node that is up stay connected to those that it should be, and those that should be to it.
    fn connect(&mut self, node: usize) -> Result<(), WorldError> {
        let nodes = &self.scenario.nodes;
        let outward = nodes[node].connects.iter().map(|other| (node, *other));
        let inward = (0..nodes.len()).filter(|other| nodes[*other].connects.contains(&node)).map(|other| (other, node));
        for (from, to) in outward.chain(inward) {
            if let Some((address, id)) = self.stage.world.contact(to) {
                self.stage.world.command(from, move |reply| Command::AddNode(address, Some(id), reply))?;
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), WorldError> {
        for selfish in &mut self.selfish {
            selfish.react(&mut self.stage)?;
        }
        self.decide()
    }

    /// Looks at the checks that are pending: each is over when it holds, or when its time is.
    fn decide(&mut self) -> Result<(), WorldError> {
        for number in std::mem::take(&mut self.pending) {
            let check = &self.scenario.checks[number];
            let seen = look(&check.what, &mut self.stage, &self.facts)?;
            let at = self.stage.world.now();
            if !seen.holds && at < check.at + check.within {
                self.pending.push(number);
                continue;
            }
            let note = check.note.as_ref().map(|note| format!("{note}: ")).unwrap_or_default();
            self.log(
                if seen.holds { "holds" } else { "fails" },
                format!("{note}{} (seen: {}; line {})", check.text, seen.text, check.line),
            );
            let (line, text, note) = (check.line, check.text.clone(), check.note.clone());
            let at = Span(Duration::from_millis(at.as_millis() as u64));
            self.done.push(CheckResult { line, text, note, holds: seen.holds, seen: seen.text, at });
        }
        Ok(())
    }

    fn log(&mut self, kind: &'static str, text: String) {
        let at = Span(Duration::from_millis(self.stage.world.now().as_millis() as u64));
        (self.tell)(&LogLine { at, kind, text });
    }
}
