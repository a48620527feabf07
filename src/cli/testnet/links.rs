//! The links of a network as the board shows them: a matrix whose cells can be chosen and clicked. No I/O here.

use std::time::Duration;

use crate::runtime::LinkSettings;

/// The default of `slow`: half a second's delay, and 64 kB a second.
pub const SLOW: LinkSettings =
    LinkSettings { cut: false, delay: Duration::from_millis(500), loss: 0.0, bandwidth: 64_000 };

/// The state of a link: that of its worse end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    /// No faults, but the two nodes are not connected.
    Apart,
    /// Connected, without faults.
    Whole,
    /// Slow, or loses messages.
    Slow,
    /// Nothing passes.
    Cut,
}

impl LinkState {
    /// The state of one end.
    pub fn of(settings: &LinkSettings, is_connected: bool) -> Self {
        match settings {
            LinkSettings { cut: true, .. } => Self::Cut,
            settings if *settings != LinkSettings::default() => Self::Slow,
            _ if is_connected => Self::Whole,
            _ => Self::Apart,
        }
    }

    /// The state as the board shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apart => "not connected",
            Self::Whole => "whole",
            Self::Slow => "slow",
            Self::Cut => "cut",
        }
    }

    /// The action of a click.
    fn next(self) -> Action {
        match self {
            Self::Apart | Self::Whole => Action::Cut,
            Self::Cut => Action::Slow,
            Self::Slow => Action::Heal,
        }
    }

    /// The cell, three columns wide, and the colour by its ANSI number.
    fn cell(self) -> (&'static str, u8) {
        match self {
            Self::Apart => (" · ", 90),
            Self::Whole => ("───", 32),
            Self::Slow => ("~~~", 33),
            Self::Cut => ("─╳─", 31),
        }
    }
}

/// An action on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Lets nothing pass on the link.
    Cut,
    /// Delays the link by [`SLOW`].
    Slow,
    /// Remove all faults.
    Heal,
}

impl Action {
    /// The settings of both ends after it.
    pub fn settings(self) -> LinkSettings {
        match self {
            Self::Cut => LinkSettings { cut: true, ..LinkSettings::default() },
            Self::Slow => SLOW,
            Self::Heal => LinkSettings::default(),
        }
    }
}

/// The states of all links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    nodes: usize,
    states: Vec<LinkState>,
}

impl Links {
    /// `nodes` nodes, none connected.
    pub fn new(nodes: usize) -> Self {
        Self { nodes, states: vec![LinkState::Apart; nodes * nodes] }
    }

    /// Sets one end's state.
    pub fn see(&mut self, from: usize, to: usize, state: LinkState) {
        for place in [from * self.nodes + to, to * self.nodes + from] {
            if let Some(known) = self.states.get_mut(place) {
                *known = state.max(*known);
            }
        }
    }

    /// The state between two nodes.
    pub fn between(&self, (from, to): (usize, usize)) -> LinkState {
        self.states.get(from * self.nodes + to).copied().unwrap_or(LinkState::Apart)
    }
}

/// A key that controls the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// To the next cell on this side.
    Left,
    /// See [`Key::Left`].
    Right,
    /// See [`Key::Left`].
    Up,
    /// See [`Key::Left`].
    Down,
    /// The action of a click.
    Toggle,
    /// Carries out the action.
    Do(Action),
}

/// The matrix and its chosen link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    nodes: usize,
    /// Row and column, never the same.
    chosen: (usize, usize),
}

/// Columns before the first cell, and those of each cell with its gap.
const MARGIN: usize = 10;
const PITCH: usize = 5;
/// Lines before the first row of cells.
const HEADING: usize = 1;

impl Matrix {
    /// Of so many nodes, the link between the first two chosen. There is none with fewer than two.
    pub fn new(nodes: usize) -> Option<Self> {
        (nodes >= 2).then_some(Self { nodes, chosen: (0, 1) })
    }

    /// The link that is chosen.
    pub fn chosen(&self) -> (usize, usize) {
        self.chosen
    }

    /// Handles a key; returns the action on the chosen link.
    pub fn key(&mut self, key: Key, links: &Links) -> Option<Action> {
        match key {
            Key::Left => self.step(0, -1),
            Key::Right => self.step(0, 1),
            Key::Up => self.step(-1, 0),
            Key::Down => self.step(1, 0),
            Key::Toggle => return Some(links.between(self.chosen).next()),
            Key::Do(action) => return Some(action),
        }
        None
    }

    /// Moves the choice, over the diagonal, and not beyond the edge.
    fn step(&mut self, rows: isize, columns: isize) {
        let (mut row, mut column) = self.chosen;
        loop {
            let (Some(next_row), Some(next_column)) =
                (row.checked_add_signed(rows), column.checked_add_signed(columns))
            else {
                return;
            };
            (row, column) = (next_row, next_column);
            if row >= self.nodes || column >= self.nodes {
                return;
            }
            if row != column {
                self.chosen = (row, column);
                return;
            }
        }
    }

    /// Handles a click at a column and line of the matrix; returns the action on the link chosen by it.
    pub fn click(&mut self, column: usize, line: usize, links: &Links) -> Option<Action> {
        let row = line.checked_sub(HEADING)?;
        let offset = column.checked_sub(MARGIN)?;
        let (cell, within) = (offset / PITCH, offset % PITCH);
        if row >= self.nodes || cell >= self.nodes || row == cell || within >= 3 {
            return None;
        }
        self.chosen = (row, cell);
        self.key(Key::Toggle, links)
    }

    /// The matrix in lines, coloured, the chosen cell reversed; and a line that names it.
    pub fn lines(&self, links: &Links) -> Vec<String> {
        let mut heading = format!("{:MARGIN$}", "  links");
        for node in 1..=self.nodes {
            heading += &format!("{node:^3}  ");
        }
        let mut lines = vec![heading];
        for row in 0..self.nodes {
            let mut line = format!("{:MARGIN$}", format!("  node-{}", row + 1));
            for column in 0..self.nodes {
                line += &match (row == column, links.between((row, column)).cell()) {
                    (true, _) => "     ".to_owned(),
                    (false, (cell, _)) if (row, column) == self.chosen => format!("\x1b[7m{cell}\x1b[0m  "),
                    (false, (cell, colour)) => format!("\x1b[{colour}m{cell}\x1b[0m  "),
                };
            }
            lines.push(line);
        }
        let (row, column) = self.chosen;
        lines.push(String::new());
        lines.push(format!("  node-{} — node-{}: {}", row + 1, column + 1, links.between(self.chosen).name()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        let mut links = Links::new(3);
        links.see(0, 1, LinkState::Whole);
        links.see(1, 0, LinkState::Cut);
        links.see(2, 0, LinkState::Slow);
        links
    }

    /// The line without its colours.
    fn plain(line: &str) -> String {
        let mut text = String::new();
        let mut parts = line.split('\x1b');
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            text.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
        }
        text
    }

    #[test]
    fn a_link_is_as_bad_as_its_worse_end() {
        let links = links();
        assert_eq!((links.between((0, 1)), links.between((1, 0))), (LinkState::Cut, LinkState::Cut));
        assert_eq!((links.between((0, 2)), links.between((1, 2))), (LinkState::Slow, LinkState::Apart));
        assert_eq!(LinkState::of(&LinkSettings::default(), true), LinkState::Whole);
        for action in [Action::Cut, Action::Slow, Action::Heal] {
            // Three clicks lead back to where one began.
            let state = LinkState::of(&action.settings(), true);
            let after = LinkState::of(&state.next().settings(), true);
            let back = LinkState::of(&after.next().settings(), true).next();
            assert_eq!(LinkState::of(&back.settings(), true), state);
        }
    }

    #[test]
    fn a_click_hits_the_cell_that_is_drawn_there() {
        let links = links();
        let mut matrix = Matrix::new(3).unwrap();
        let lines: Vec<String> = matrix.lines(&links).iter().map(|line| plain(line)).collect();
        assert_eq!(lines[0], "  links    1    2    3   ");
        assert_eq!(lines[1], "  node-1       ─╳─  ~~~  ");
        assert_eq!(lines[3], "  node-3  ~~~   ·        ");
        assert_eq!(lines[5], "  node-1 — node-2: cut");
        let mut hit = Vec::new();
        for (line, text) in lines.iter().enumerate().take(4) {
            for (column, drawn) in text.chars().enumerate() {
                let action = matrix.click(column, line, &links);
                assert!(action.is_some() || !"─╳~·".contains(drawn), "{column} {line} {drawn}");
                if action.is_some() && hit.last() != Some(&matrix.chosen()) {
                    hit.push(matrix.chosen());
                }
            }
        }
        assert_eq!(hit, [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]);
        assert_eq!(matrix.click(500, 500, &links), None);
        assert_eq!(matrix.click(MARGIN, HEADING + 2, &links), Some(Action::Heal), "it was slow");
        assert_eq!(matrix.click(MARGIN + PITCH, HEADING, &links), Some(Action::Slow), "it was cut");
        assert_eq!(matrix.click(MARGIN + PITCH, HEADING + 2, &links), Some(Action::Cut), "it was whole");
    }

    #[test]
    fn keys_move_over_the_diagonal_and_stop_at_the_edge() {
        let links = links();
        let mut matrix = Matrix::new(3).unwrap();
        let mut moved = |key| {
            assert_eq!(matrix.key(key, &links), None);
            matrix.chosen()
        };
        assert_eq!(moved(Key::Left), (0, 1), "nothing is left of it but the diagonal");
        assert_eq!(moved(Key::Right), (0, 2));
        assert_eq!(moved(Key::Right), (0, 2));
        assert_eq!(moved(Key::Down), (1, 2));
        assert_eq!(moved(Key::Left), (1, 0));
        assert_eq!(moved(Key::Down), (2, 0));
        assert_eq!(moved(Key::Up), (1, 0));
        assert_eq!(matrix.key(Key::Toggle, &links), Some(Action::Slow));
        assert_eq!(matrix.key(Key::Do(Action::Heal), &links), Some(Action::Heal));
        assert_eq!(Matrix::new(1), None);
    }
}
