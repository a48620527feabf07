//! The links of a network as the board shows them: a matrix whose cells can be chosen and clicked. No I/O here.

use std::ops::Range;
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
    /// The nodes, by the numbers in their names.
    numbers: Vec<usize>,
    states: Vec<LinkState>,
}

impl Links {
    /// Nodes of these numbers, none connected.
    pub fn new(numbers: Vec<usize>) -> Self {
        Self { states: vec![LinkState::Apart; numbers.len() * numbers.len()], numbers }
    }

    /// The number of the node at a place.
    fn number(&self, place: usize) -> usize {
        self.numbers.get(place).copied().unwrap_or_default()
    }

    /// Sets one end's state.
    pub fn see(&mut self, from: usize, to: usize, state: LinkState) {
        let nodes = self.numbers.len();
        for place in [from * nodes + to, to * nodes + from] {
            if let Some(known) = self.states.get_mut(place) {
                *known = state.max(*known);
            }
        }
    }

    /// The state between two nodes.
    pub fn between(&self, (from, to): (usize, usize)) -> LinkState {
        self.states.get(from * self.numbers.len() + to).copied().unwrap_or(LinkState::Apart)
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
    /// The rows and columns that were drawn last.
    shown: (Range<usize>, Range<usize>),
    has_colours: bool,
}

/// Columns before the first cell, and those of each cell with its gap.
const MARGIN: usize = 10;
const PITCH: usize = 5;
/// Lines before the first row of cells.
const HEADING: usize = 1;

impl Matrix {
    /// Of so many nodes, the link between the first two chosen. There is none with fewer than two.
    pub fn new(nodes: usize, has_colours: bool) -> Option<Self> {
        (nodes >= 2).then_some(Self { nodes, chosen: (0, 1), shown: (0..nodes, 0..nodes), has_colours })
    }

    /// The same with another number of nodes; the chosen link stays if it still is one.
    pub fn resized(self, nodes: usize) -> Option<Self> {
        let chosen = self.chosen;
        let is_there = chosen.0.max(chosen.1) < nodes;
        Self::new(nodes, self.has_colours).map(|new| Self { chosen: if is_there { chosen } else { new.chosen }, ..new })
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
        let (row, cell) = (self.shown.0.start + row, self.shown.1.start + cell);
        if row >= self.shown.0.end || cell >= self.shown.1.end || row == cell || within >= 3 {
            return None;
        }
        self.chosen = (row, cell);
        self.key(Key::Toggle, links)
    }

    /// The matrix in lines of at most `width` columns and with at most `rows` nodes: a part around the chosen cell if there are
    /// more. The chosen cell is reversed.
    pub fn lines(&mut self, links: &Links, width: usize, rows: usize) -> Vec<String> {
        let columns = (width.saturating_sub(MARGIN) + PITCH - 3) / PITCH;
        self.shown = (window(self.nodes, rows, self.chosen.0), window(self.nodes, columns, self.chosen.1));
        let mut heading = format!("{:MARGIN$}", "  links");
        for node in self.shown.1.clone() {
            heading += &format!("{:^3}  ", links.number(node));
        }
        let mut lines = vec![heading.trim_end().to_owned()];
        for row in self.shown.0.clone() {
            let mut line = format!("{:MARGIN$}", format!("  node-{}", links.number(row)));
            for column in self.shown.1.clone() {
                line += &match (row == column, links.between((row, column)).cell()) {
                    (true, _) => "     ".to_owned(),
                    (false, (cell, _)) if (row, column) == self.chosen => format!("\x1b[7m{cell}\x1b[0m  "),
                    (false, (cell, colour)) if self.has_colours => format!("\x1b[{colour}m{cell}\x1b[0m  "),
                    (false, (cell, _)) => format!("{cell}  "),
                };
            }
            lines.push(line.trim_end().to_owned());
        }
        lines
    }

    /// Names the chosen link.
    pub fn caption(&self, links: &Links) -> String {
        let (row, column) = self.chosen;
        format!("  node-{} — node-{}: {}", links.number(row), links.number(column), links.between(self.chosen).name())
    }
}

/// A part of so many entries, at most `room` long, around one of them.
pub fn window(entries: usize, room: usize, around: usize) -> Range<usize> {
    let room = room.clamp(1, entries.max(1));
    let start = around.saturating_sub(room / 2).min(entries.saturating_sub(room));
    start..(start + room).min(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        let mut links = Links::new(vec![1, 2, 3]);
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
        let mut matrix = Matrix::new(3, true).unwrap();
        let lines: Vec<String> = matrix.lines(&links, 80, 9).iter().map(|line| plain(line)).collect();
        assert_eq!(lines[0], "  links    1    2    3");
        assert_eq!(lines[1], "  node-1       ─╳─  ~~~");
        assert_eq!(lines[3], "  node-3  ~~~   · ");
        assert_eq!(matrix.caption(&links), "  node-1 — node-2: cut");
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
        let mut matrix = Matrix::new(3, true).unwrap();
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
        assert_eq!(Matrix::new(1, true), None);
    }

    #[test]
    fn nodes_keep_their_numbers_when_one_between_them_is_gone() {
        let links = Links::new(vec![1, 3]);
        let mut matrix = Matrix::new(2, false).unwrap();
        assert_eq!(matrix.lines(&links, 80, 9)[0], "  links    1    3");
        assert_eq!(matrix.caption(&links), "  node-1 — node-3: not connected");
    }

    #[test]
    fn a_part_is_shown_where_there_is_no_room_for_all() {
        let links = Links::new((1..=20).collect());
        let mut matrix = Matrix::new(20, false).unwrap();
        // Both step over the diagonal once.
        for key in [Key::Down, Key::Right] {
            for _ in 0..10 {
                matrix.key(key, &links);
            }
        }
        assert_eq!(matrix.chosen(), (11, 12));
        let lines = matrix.lines(&links, 33, 4);
        assert_eq!(lines[0], "  links   11   12   13   14   15", "{lines:?}");
        for width in 14..80 {
            let widest = matrix.lines(&links, width, 4).iter().map(|line| plain(line).chars().count()).max();
            assert!(widest <= Some(width), "{width}: {widest:?}");
        }
        assert!(matrix.lines(&links, 80, 4).len() == 5);
        // The cell at the left of the first row that is shown.
        matrix.lines(&links, 33, 4);
        let (rows, columns) = matrix.shown.clone();
        matrix.click(MARGIN, HEADING, &links);
        assert_eq!(matrix.chosen(), (rows.start, columns.start));
        // Without colours, only the chosen cell is marked.
        assert_eq!(matrix.lines(&links, 80, 20).concat().matches("\x1b[").count(), 2);
        assert_eq!(matrix.resized(5).unwrap().chosen(), (0, 1));
    }
}
