//! Faults on single links, the same in virtual time as on sockets.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Sim;
use crate::p2p::Command;

/// A link's faults on the side of one node; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LinkSettings {
    /// Nothing passes, in either direction.
    pub cut: bool,
    /// How much later what is sent leaves; at most [`MAX_DELAY`].
    pub delay: Duration,
    /// Share of the messages sent that is dropped, from 0 to 1.
    pub loss: f64,
    /// Most bytes a second that are sent; 0 for no limit.
    pub bandwidth: u64,
}

/// Longest delay: with more, no peer would wait for the other's hello.
pub const MAX_DELAY: Duration = Duration::from_secs(60);

/// The faults of all links, by the node on whose side they are and the other.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<(usize, usize), LinkSettings>);

impl Faults {
    /// What is set on the side of `from`.
    pub(super) fn of(&self, from: usize, to: usize) -> LinkSettings {
        self.0.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Whether either side is cut.
    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.of(a, b).cut || self.of(b, a).cut
    }
}

impl Sim {
    /// Sets the faults of a link on the side of `from`. A cut silences the connections between the two. When neither side is
    /// cut any more, these connections break, and `from` dials at once, as a node on sockets does.
    pub fn set_link(&mut self, from: usize, to: usize, settings: LinkSettings) {
        let was_cut = self.faults.is_cut(from, to);
        match settings == LinkSettings::default() {
            true => drop(self.faults.0.remove(&(from, to))),
            false => drop(self.faults.0.insert((from, to), settings)),
        }
        let is_cut = self.faults.is_cut(from, to);
        let between = |nodes: &[usize; 2]| *nodes == [from, to] || *nodes == [to, from];
        if is_cut {
            self.links.values_mut().filter(|link| between(&link.nodes)).for_each(|link| link.is_cut = true);
        } else if was_cut && self.places[from].group == self.places[to].group {
            let silent = self.links.iter().filter(|(_, link)| link.is_cut && between(&link.nodes));
            let silent: Vec<u64> = silent.map(|(id, _)| *id).collect();
            silent.into_iter().for_each(|link| self.break_link(link));
            let address = Self::address(to);
            self.command(from, |reply| Command::ConnectOnce(address, None, reply));
        }
    }
}
