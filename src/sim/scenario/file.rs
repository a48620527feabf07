//! The file of a scenario: TOML, each error with its line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::plan::{Bounds, Check, Event, MAX_NODES, NodePlan, PayPlan, Scenario, Timed};
use crate::primitives::amount::FeeRate;
use crate::sim::units::{Share, Span};
use crate::sim::{LinkSettings, MAX_DELAY};

/// Largest file.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Latest time of an event: an hour, which a run over real nodes takes too.
const MAX_TIME: Duration = Duration::from_secs(3_600);
/// Most blocks that are found by chance, in the mean, and most at once.
const MAX_BLOCKS: u32 = 10_000;
/// Most payments in all.
const MAX_PAYMENTS: usize = 2_000;
/// The nodes before it that a node connects to, unless told otherwise.
const CONNECTS: usize = 3;

/// Why a file is no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or not of this form. The message has the line.
    #[error("{0}")]
    Syntax(String),
    /// A value that cannot be.
    #[error("line {line}: {message}")]
    Value {
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what was expected.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    about: String,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    network: Network,
    mining: Option<Mining>,
    nodes: Spanned<Vec<Node>>,
    #[serde(default)]
    links: Vec<Slow>,
    #[serde(default)]
    events: Vec<EventEntry>,
    #[serde(default)]
    checks: Vec<CheckEntry>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    block_bytes: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mining {
    every: Spanned<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    name: Spanned<String>,
    count: Option<Spanned<usize>>,
    power: Option<Spanned<f64>>,
    connects: Option<Spanned<Names>>,
    joins: Option<Spanned<Span>>,
    max_inbound: Option<usize>,
    strategy: Option<Strategy>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Strategy {
    Honest,
    Selfish,
}

/// One name or several, each of a node, of nodes with a count, or `all`.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "expected the name of a node or of nodes with a count, \"all\", or a list of these")]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(name) => f.write_str(name),
            Self::Several(names) => f.write_str(&names.join(", ")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    between: Spanned<[Names; 2]>,
    delay: Option<Spanned<Span>>,
    loss: Option<Spanned<f64>>,
    bandwidth: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventEntry {
    at: Spanned<Span>,
    note: Option<String>,
    cut: Option<Spanned<[Names; 2]>>,
    slow: Option<Slow>,
    heal: Option<Spanned<[Names; 2]>>,
    dial: Option<Spanned<[Names; 2]>>,
    stop: Option<Spanned<Names>>,
    start: Option<Spanned<Names>>,
    mine: Option<Mine>,
    pay: Option<Pay>,
    mining: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mine {
    node: Spanned<String>,
    blocks: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pay {
    name: Spanned<String>,
    count: Option<Spanned<usize>>,
    rate: Option<Spanned<u64>>,
    through: Spanned<Names>,
    over: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckEntry {
    at: Spanned<Span>,
    within: Option<Spanned<Span>>,
    note: Option<String>,
    agree: Option<Spanned<Names>>,
    tips: Option<Count>,
    height: Option<Count>,
    mempool: Option<Count>,
    peers: Option<Peers>,
    confirmed: Option<Confirmed>,
    share: Option<Blocks>,
    lost: Option<Blocks>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    nodes: Option<Spanned<Names>>,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Peers {
    of: Spanned<Names>,
    among: Option<Spanned<Names>>,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    payments: Spanned<String>,
    by: Option<Spanned<Names>>,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocks {
    miner: Spanned<Names>,
    by: Option<Spanned<Names>>,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

/// What names mean, and where lines begin.
struct Reader<'a> {
    text: &'a str,
    nodes: Vec<NodePlan>,
    /// The nodes of each name: of one node, or of all those of an entry with a count.
    groups: BTreeMap<String, Vec<usize>>,
    /// The numbers of the payments of each name.
    payments: BTreeMap<String, Range<usize>>,
    paid: usize,
}

type Parsed<T> = Result<T, ScenarioError>;

impl Scenario {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`ScenarioError`], with the line.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let file: File =
            toml::from_str(text).map_err(|error| ScenarioError::Syntax(error.to_string().trim_end().to_owned()))?;
        let mut reader =
            Reader { text, nodes: Vec::new(), groups: BTreeMap::new(), payments: BTreeMap::new(), paid: 0 };
        reader.read_nodes(&file.nodes)?;
        let links = file.links.iter().map(|link| reader.slow(link)).collect::<Parsed<Vec<_>>>()?;
        let both = |(pairs, settings): (Vec<(usize, usize)>, LinkSettings)| {
            pairs.into_iter().flat_map(move |(a, b)| [(a, b, settings), (b, a, settings)])
        };
        let links = links.into_iter().flat_map(both).collect();
        let mut events = Vec::new();
        for entry in &file.events {
            events.push(reader.event(entry)?);
        }
        for (node, plan) in reader.nodes.iter().enumerate().filter(|(_, plan)| !plan.joins.is_zero()) {
            let (at, text, what) = (plan.joins, format!("start {}", plan.name), Event::Start(vec![node]));
            events.push(Timed { at, within: Duration::ZERO, line: 0, text, note: None, what });
        }
        events.sort_by_key(|event| event.at);
        let checks = file.checks.iter().map(|entry| reader.check(entry)).collect::<Parsed<Vec<_>>>()?;
        let block_bytes = file.network.block_bytes.map_or(1_000_000, Spanned::into_inner);
        let scenario = Self {
            title: file.title,
            about: file.about,
            seed: file.seed,
            block_bytes,
            every: file.mining.as_ref().map(|mining| mining.every.get_ref().0),
            nodes: reader.nodes.clone(),
            links,
            events,
            checks,
            payments: reader.paid,
        };
        if let Some(Mining { every }) = &file.mining {
            let blocks = scenario.ends().as_secs_f64() / every.get_ref().0.as_secs_f64();
            reader.require(every, blocks <= f64::from(MAX_BLOCKS), || {
                format!("a block every {} makes {blocks:.0} of them, expected {MAX_BLOCKS} at most", every.get_ref())
            })?;
        }
        // Bounds of the network are the genesis file's.
        scenario
            .params(crate::primitives::time::UnixTime::from_secs(1_767_225_600))
            .map_err(|error| ScenarioError::Value { line: 1, message: error.to_string() })?;
        Ok(scenario)
    }
}

impl Reader<'_> {
    /// The line of a place in the text, counted from 1.
    fn line(&self, place: &Range<usize>) -> usize {
        1 + self.text.bytes().take(place.start).filter(|byte| *byte == b'\n').count()
    }

    fn wrong<T, R>(&self, value: &Spanned<T>, message: String) -> Parsed<R> {
        Err(ScenarioError::Value { line: self.line(&value.span()), message })
    }

    fn require<T>(&self, value: &Spanned<T>, holds: bool, message: impl FnOnce() -> String) -> Parsed<()> {
        if holds { Ok(()) } else { self.wrong(value, message()) }
    }

    fn time(&self, value: Option<&Spanned<Span>>) -> Parsed<Duration> {
        let Some(value) = value else { return Ok(Duration::ZERO) };
        let time = value.get_ref().0;
        self.require(value, time <= MAX_TIME, || format!("{} is later than an hour", value.get_ref()))?;
        Ok(time)
    }

    fn read_nodes(&mut self, nodes: &Spanned<Vec<Node>>) -> Parsed<()> {
        for entry in nodes.get_ref() {
            let name = entry.name.get_ref();
            let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            self.require(&entry.name, is_word && name != "all", || {
                format!("{name:?} is no name: expected letters, digits, dashes and underscores, and not \"all\"")
            })?;
            let count = entry.count.as_ref().map_or(1, |count| *count.get_ref());
            let at = &entry.name;
            self.require(at, count >= 1 && self.nodes.len().saturating_add(count) <= MAX_NODES, || {
                format!("expected 1 to {MAX_NODES} nodes in all")
            })?;
            let names: Vec<String> = match entry.count {
                Some(_) => (1..=count).map(|number| format!("{name}-{number}")).collect(),
                None => vec![name.clone()],
            };
            let power = entry.power.as_ref().map_or(0.0, |power| *power.get_ref());
            self.require(at, power.is_finite() && power >= 0.0, || "power: expected a number from 0".to_owned())?;
            let first = self.nodes.len();
            let joins = self.time(entry.joins.as_ref())?;
            for name in &names {
                let (name, node) = (name.clone(), self.nodes.len());
                let connects = (node.saturating_sub(CONNECTS)..node).collect();
                let is_selfish = entry.strategy == Some(Strategy::Selfish);
                let max_inbound = entry.max_inbound;
                self.nodes.push(NodePlan { name, power, connects, joins, max_inbound, is_selfish });
            }
            // A name is one node's, or that of all nodes of one entry.
            let mut named: Vec<_> = names.into_iter().zip((first..).map(|node| vec![node])).collect();
            named.extend(entry.count.is_some().then(|| (name.clone(), (first..self.nodes.len()).collect())));
            for (name, members) in named {
                let is_new = self.groups.insert(name.clone(), members).is_none();
                self.require(at, is_new, || format!("there are several nodes called {name:?}"))?;
            }
        }
        self.require(nodes, !self.nodes.is_empty(), || "expected a node at least".to_owned())?;
        // Names of nodes that come later are known only now.
        for entry in nodes.get_ref() {
            for node in self.groups[entry.name.get_ref()].clone() {
                if let Some(names) = &entry.connects {
                    let others = self.find(names, names.get_ref())?;
                    self.nodes[node].connects = others.into_iter().filter(|other| *other != node).collect();
                }
                let is_selfish = |node: &usize| self.nodes[*node].is_selfish;
                // Nothing connects to a selfish miner, nor it to others: blocks pass by another way.
                let connects = &self.nodes[node].connects;
                let kept = connects.iter().copied().filter(|other| !is_selfish(other) && !is_selfish(&node)).collect();
                self.nodes[node].connects = kept;
            }
        }
        Ok(())
    }

    /// The nodes that some names mean, in order, each once.
    fn find<T>(&self, at: &Spanned<T>, names: &Names) -> Parsed<Vec<usize>> {
        let names = match names {
            Names::One(name) => std::slice::from_ref(name),
            Names::Several(names) => &names[..],
        };
        let mut found = Vec::new();
        for name in names {
            match self.groups.get(name) {
                Some(nodes) => found.extend(nodes),
                None if name == "all" => found.extend(0..self.nodes.len()),
                None => {
                    let known: Vec<&str> = self.groups.keys().map(String::as_str).collect();
                    return self.wrong(at, format!("there is no node {name:?}, only {}", known.join(", ")));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        self.require(at, !found.is_empty(), || "expected a node at least".to_owned())?;
        Ok(found)
    }

    /// The same where nothing said means all nodes.
    fn find_or_all(&self, names: Option<&Spanned<Names>>) -> Parsed<Vec<usize>> {
        match names {
            Some(names) => self.find(names, names.get_ref()),
            None => Ok((0..self.nodes.len()).collect()),
        }
    }

    /// Every pair of a node of the first names and another one of the second.
    fn pairs(&self, names: &Spanned<[Names; 2]>) -> Parsed<Vec<(usize, usize)>> {
        let [first, second] = names.get_ref();
        let (first, second) = (self.find(names, first)?, self.find(names, second)?);
        let mut pairs = Vec::new();
        for a in first {
            pairs.extend(second.iter().filter(|b| **b != a).map(|b| (a, *b)));
        }
        self.require(names, !pairs.is_empty(), || "a node has no link to itself".to_owned())?;
        let hidden = pairs.iter().flat_map(|(a, b)| [*a, *b]).find(|node| self.nodes[*node].is_selfish);
        match hidden {
            Some(node) => {
                self.wrong(names, format!("{} mines selfishly and has no links of its own", self.nodes[node].name))
            }
            None => Ok(pairs),
        }
    }

    fn slow(&self, slow: &Slow) -> Parsed<(Vec<(usize, usize)>, LinkSettings)> {
        let delay = slow.delay.as_ref().map_or(Duration::ZERO, |delay| delay.get_ref().0);
        let loss = slow.loss.as_ref().map_or(Ok(Share::default()), |loss| Share::new(*loss.get_ref()));
        self.require(&slow.between, delay <= MAX_DELAY, || format!("delay: expected {} at most", Span(MAX_DELAY)))?;
        let loss = loss.or_else(|error| self.wrong(&slow.between, format!("loss: {error}")))?.get();
        let settings = LinkSettings { cut: false, delay, loss, bandwidth: slow.bandwidth.unwrap_or(0) };
        self.require(&slow.between, settings != LinkSettings::default(), || {
            "expected a delay, a loss or a bandwidth".to_owned()
        })?;
        Ok((self.pairs(&slow.between)?, settings))
    }

    fn event(&mut self, entry: &EventEntry) -> Parsed<Timed<Event>> {
        let EventEntry { at, note, cut, slow, heal, dial, stop, start, mine, pay, mining } = entry;
        let between = |names: &Spanned<[Names; 2]>| names.get_ref().clone().map(|names| names.to_string()).join(" — ");
        let mut found = Vec::new();
        if let Some(names) = cut {
            let settings = LinkSettings { cut: true, ..LinkSettings::default() };
            found.push((Event::Link(self.pairs(names)?, settings), format!("cut {}", between(names))));
        }
        if let Some(slow) = slow {
            let (pairs, settings) = self.slow(slow)?;
            found.push((Event::Link(pairs, settings), format!("slow {}", between(&slow.between))));
        }
        if let Some(names) = heal {
            let whole = LinkSettings::default();
            found.push((Event::Link(self.pairs(names)?, whole), format!("heal {}", between(names))));
        }
        if let Some(names) = dial {
            found.push((Event::Dial(self.pairs(names)?), format!("dial {}", between(names).replace('—', "→"))));
        }
        if let Some(names) = stop {
            found.push((Event::Stop(self.find(names, names.get_ref())?), format!("stop {}", names.get_ref())));
        }
        if let Some(names) = start {
            found.push((Event::Start(self.find(names, names.get_ref())?), format!("start {}", names.get_ref())));
        }
        if let Some(mine) = mine {
            found.push(self.mine(mine)?);
        }
        if let Some(pay) = pay {
            found.push(self.pay(pay)?);
        }
        if let Some(on) = mining {
            found.push((Event::Mining(*on), format!("mining {}", if *on { "begins" } else { "ends" })));
        }
        let time = self.time(Some(at))?;
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some((what, text)), None) => {
                let (line, note) = (self.line(&at.span()), note.clone());
                Ok(Timed { at: time, within: Duration::ZERO, line, text, note, what })
            }
            _ => self.wrong(
                at,
                "an event is one of cut, slow, heal, dial, stop, start, mine, pay and mining: expected exactly one"
                    .to_owned(),
            ),
        }
    }

    fn mine(&self, mine: &Mine) -> Parsed<(Event, String)> {
        let name = mine.node.get_ref();
        let nodes = self.find(&mine.node, &Names::One(name.clone()))?;
        let [node] = nodes[..] else {
            return self.wrong(&mine.node, format!("{name:?} means several nodes, expected one"));
        };
        let blocks = mine.blocks.as_ref().map_or(1, |blocks| *blocks.get_ref());
        self.require(&mine.node, (1..=MAX_BLOCKS).contains(&blocks), || {
            format!("blocks: expected a number from 1 to {MAX_BLOCKS}")
        })?;
        Ok((Event::Mine { node, blocks }, format!("mine {blocks} at {name}")))
    }

    fn pay(&mut self, pay: &Pay) -> Parsed<(Event, String)> {
        let name = pay.name.get_ref();
        let through = self.find(&pay.through, pay.through.get_ref())?;
        let count = pay.count.as_ref().map_or(1, |count| *count.get_ref());
        self.require(&pay.name, count >= 1 && self.paid.saturating_add(count) <= MAX_PAYMENTS, || {
            format!("count: expected 1 to {MAX_PAYMENTS} payments in all")
        })?;
        let rate = pay.rate.as_ref().map_or(10, |rate| *rate.get_ref());
        self.require(&pay.name, (1..=1_000).contains(&rate), || {
            "rate: expected 1 to 1000 grains for each byte".to_owned()
        })?;
        let numbers = self.paid..self.paid + count;
        self.paid += count;
        let known = self.payments.insert(name.clone(), numbers.clone());
        self.require(&pay.name, known.is_none(), || format!("there are payments called {name:?} already"))?;
        let text = format!("pay {count} called {name} through {}, {rate} grains a byte", pay.through.get_ref());
        let over = self.time(pay.over.as_ref())?;
        Ok((Event::Pay(PayPlan { numbers, rate: FeeRate::from_grains_per_byte(rate), through, over }), text))
    }

    fn check(&self, entry: &CheckEntry) -> Parsed<Timed<Check>> {
        let CheckEntry { at, within, note, agree, tips, height, mempool, peers, confirmed, share, lost } = entry;
        let name = |names: &Option<Spanned<Names>>| {
            names.as_ref().map_or_else(|| "all".to_owned(), |names| names.get_ref().to_string())
        };
        let mut found = Vec::new();
        if let Some(names) = agree {
            let nodes = self.find(names, names.get_ref())?;
            found.push((Check::Agree(nodes), format!("{} agree", names.get_ref())));
        }
        type Counted = fn(Vec<usize>, Bounds) -> Check;
        let counts = [
            (tips, Check::Tips as Counted, "tips"),
            (height, Check::Height, "height"),
            (mempool, Check::Mempool, "mempool"),
        ];
        for (count, make, what) in counts {
            if let Some(Count { nodes, at_least, at_most }) = count {
                let bounds = self.bounds(at, *at_least, *at_most)?;
                let check = make(self.find_or_all(nodes.as_ref())?, bounds);
                found.push((check, format!("{what} of {}: {bounds}", name(nodes))));
            }
        }
        if let Some(Peers { of, among, at_least, at_most }) = peers {
            let bounds = self.bounds(at, *at_least, *at_most)?;
            let text = format!("peers of {} among {}: {bounds}", of.get_ref(), name(among));
            let (of, among) = (self.find(of, of.get_ref())?, self.find_or_all(among.as_ref())?);
            found.push((Check::Peers { of, among, bounds }, text));
        }
        if let Some(Confirmed { payments, by, at_least, at_most }) = confirmed {
            let bounds = self.bounds(at, *at_least, *at_most)?;
            let Some(numbers) = self.payments.get(payments.get_ref()).cloned() else {
                return self.wrong(payments, format!("there are no payments called {:?}", payments.get_ref()));
            };
            let text = format!("{} confirmed by {}: {bounds}", payments.get_ref(), name(by));
            found.push((Check::Confirmed { numbers, by: self.find_or_all(by.as_ref())?, bounds }, text));
        }
        if let Some(Blocks { miner, by, at_least, at_most }) = share {
            let bounds = self.bounds(at, *at_least, *at_most)?;
            let text = format!("share of {} in the chain of {}: {bounds}", miner.get_ref(), name(by));
            let (miners, by) = (self.find(miner, miner.get_ref())?, self.find_or_all(by.as_ref())?);
            found.push((Check::Share { miners, by, bounds }, text));
        }
        if let Some(Blocks { miner, by, at_least, at_most }) = lost {
            let bounds = self.bounds(at, *at_least, *at_most)?;
            let text = format!("blocks of {} that the chain of {} lacks: {bounds}", miner.get_ref(), name(by));
            let (miners, by) = (self.find(miner, miner.get_ref())?, self.find_or_all(by.as_ref())?);
            found.push((Check::Lost { miners, by, bounds }, text));
        }
        let (time, within) = (self.time(Some(at))?, self.time(within.as_ref())?);
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some((what, text)), None) => {
                let (line, note) = (self.line(&at.span()), note.clone());
                Ok(Timed { at: time, within, line, text, note, what })
            }
            _ => self.wrong(
                at,
                "a check is one of agree, tips, height, mempool, peers, confirmed, share and lost: expected exactly one"
                    .to_owned(),
            ),
        }
    }

    /// What a check demands of a number; it must demand something.
    fn bounds<T>(&self, at: &Spanned<T>, at_least: Option<f64>, at_most: Option<f64>) -> Parsed<Bounds> {
        let bounds = Bounds { at_least, at_most };
        let numbers = [at_least, at_most];
        self.require(at, numbers.iter().any(Option::is_some), || "expected at_least, at_most or both".to_owned())?;
        let is_range = !matches!((at_least, at_most), (Some(least), Some(most)) if least > most)
            && numbers.iter().flatten().all(|number| number.is_finite());
        self.require(at, is_range, || "at_least is more than at_most".to_owned())?;
        Ok(bounds)
    }
}
