//! The board on a terminal: drawn whole on the alternate screen, with keys and the mouse.

use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{
    DisableMouseCapture, EnableMouseCapture, Event, KeyCode, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use tokio::sync::mpsc;

use super::board::{self, Row, fitting, title};
use super::links::{Action, Key, Links, Matrix, window};

/// Interval of checks that the screen still exists.
const POLL: Duration = Duration::from_millis(100);
/// The last line, as much of it as fits.
const HINTS: [&str; 5] = ["  ? help and commands", "q quit", "space or click: next fault", "c cut", "s slow  h heal"];
/// What the keys do, on the page of help.
const KEYS: &str = "\
Keys:

  ?               this page, and back to the network
  arrows          choose a link
  space, click    cut it, slow it, heal it in turn
  c, s, h         cut, slow or heal it
  q, Ctrl-C       stop the network

A link is ─── whole, ~~~ slow, ─╳─ cut, or · not there. Text can be selected with the mouse on this page.";
/// Lines of the board besides the rows of table and matrix.
const FRAME: usize = 8;
/// A terminal that does not say how large it is.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// Whether the terminal is in screen mode and must be restored. A process has one terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What a pressed key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The network to stop.
    Quit,
    /// A key for the matrix.
    Key(Key),
    /// The page of help, or back.
    Help,
    /// A click at a column and line of the terminal, from 0.
    Click(usize, usize),
    /// The terminal has another size.
    Redraw,
}

/// The terminal, taken until this value is dropped, or the process panics.
pub struct Screen {
    matrix: Option<Matrix>,
    /// How many nodes the matrix is for.
    nodes: usize,
    has_colours: bool,
    /// Commands to try.
    introduction: String,
    is_help: bool,
    /// The line on which the matrix begins.
    matrix_line: usize,
    /// What was typed or clicked. Closed when the terminal is gone.
    pub inputs: mpsc::Receiver<Input>,
}

impl Screen {
    /// Takes the terminal. The page of help shows `introduction`.
    ///
    /// # Errors
    /// If it is no suitable terminal.
    pub fn take(introduction: &str) -> io::Result<Self> {
        restore_on_panic();
        crossterm::terminal::enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let (sender, inputs) = mpsc::channel(64);
        let (introduction, has_colours) = (introduction.trim_end().to_owned(), crate::cli::console::colours());
        let screen = Self { matrix: None, nodes: 0, has_colours, introduction, is_help: false, matrix_line: 0, inputs };
        // From here on, dropping it restores the terminal.
        crossterm::execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture, crossterm::cursor::Hide)?;
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || listen(&sender))?;
        Ok(screen)
    }

    /// Draws everything: the table above, the matrix below; or the page of help.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn draw(&mut self, rows: &[Row], running: Duration, links: &Links) -> io::Result<()> {
        if self.nodes != rows.len() {
            self.nodes = rows.len();
            self.matrix = match self.matrix.take() {
                Some(matrix) => matrix.resized(self.nodes),
                None => Matrix::new(self.nodes, self.has_colours),
            };
        }
        let (width, height) = match crossterm::terminal::size() {
            Ok((0, _) | (_, 0)) | Err(_) => USUAL_SIZE,
            Ok(size) => size,
        };
        let size = (usize::from(width), usize::from(height));
        // On the page of help, the terminal breaks long lines itself: so a command that is copied stays one line.
        let (lines, wrap) = match self.is_help {
            true => (self.help(size), "h"),
            false => (self.board(rows, running, links, size), "l"),
        };
        let mut drawn = format!("\x1b[?7{wrap}\x1b[H");
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                drawn.push_str("\r\n");
            }
            drawn.push_str(line);
            drawn.push_str("\x1b[K");
        }
        drawn.push_str("\x1b[J\x1b[?7h");
        let mut out = io::stdout().lock();
        out.write_all(drawn.as_bytes())?;
        out.flush()
    }

    /// The page of help, as many of its lines from the end as fit.
    fn help(&self, (width, height): (usize, usize)) -> Vec<String> {
        let mut lines: Vec<String> = self.introduction.lines().map(str::to_owned).collect();
        // Without a terminal's help a short screen would lose the keys.
        let is_tall = taken_up(&lines, width) + taken_up(&[KEYS.to_owned()], width) < height;
        if is_tall {
            lines.push(String::new());
            lines.extend(KEYS.lines().map(str::to_owned));
        } else {
            lines.retain(|line| !line.is_empty());
            lines.push(fitting(&HINTS.map(str::to_owned), width));
        }
        while taken_up(&lines, width) > height && lines.len() > 1 {
            lines.remove(0);
        }
        lines
    }

    fn board(
        &mut self,
        rows: &[Row],
        running: Duration,
        links: &Links,
        (width, height): (usize, usize),
    ) -> Vec<String> {
        let hints = fitting(&HINTS.map(str::to_owned), width);
        let mut lines = vec![title(rows, running, width), String::new()];
        let chosen = self.matrix.as_ref().map_or(0, |matrix| matrix.chosen().0);
        // Half of the room for each, if both do not fit; without a matrix where there is room for one only.
        let room = height.saturating_sub(FRAME);
        let part = if 2 * rows.len() <= room { rows.len() } else { room / 2 };
        match &mut self.matrix {
            Some(matrix) if part > 0 => {
                lines.extend(board::table(&rows[window(rows.len(), part, chosen)], width));
                lines.push(String::new());
                self.matrix_line = lines.len();
                lines.extend(matrix.lines(links, width, part));
                lines.extend([String::new(), matrix.caption(links), String::new()]);
            }
            _ => {
                lines.extend(board::table(&rows[window(rows.len(), height.saturating_sub(4), chosen)], width));
                self.matrix_line = usize::MAX;
            }
        }
        lines.truncate(height.saturating_sub(1));
        lines.push(hints);
        // The commands to try, where they fit whole.
        let introduction: Vec<String> = self.introduction.lines().map(str::to_owned).collect();
        let is_narrow = introduction.iter().all(|line| line.chars().count() <= width);
        if is_narrow && introduction.len() + 1 + lines.len() <= height {
            self.matrix_line = self.matrix_line.saturating_add(introduction.len() + 1);
            lines.splice(0..0, introduction.into_iter().chain([String::new()]));
        }
        lines
    }

    /// Handles an input; returns the link and the action on it.
    pub fn take_input(&mut self, input: Input, links: &Links) -> Option<((usize, usize), Action)> {
        if input == Input::Help {
            self.is_help = !self.is_help;
            // Captured, the mouse could not select text. A terminal that is gone is noticed when it is drawn on.
            let _ = match self.is_help {
                true => crossterm::execute!(io::stdout(), DisableMouseCapture),
                false => crossterm::execute!(io::stdout(), EnableMouseCapture),
            };
        }
        if self.is_help {
            return None;
        }
        let line = self.matrix_line;
        let matrix = self.matrix.as_mut()?;
        let action = match input {
            Input::Key(key) => matrix.key(key, links),
            Input::Click(column, row) => matrix.click(column, row.checked_sub(line)?, links),
            Input::Quit | Input::Redraw | Input::Help => None,
        }?;
        Some((matrix.chosen(), action))
    }
}

/// The lines of a terminal of this width that some lines take up when it breaks them.
fn taken_up(lines: &[String], width: usize) -> usize {
    lines
        .iter()
        .flat_map(|text| text.lines().map(str::to_owned).chain(text.is_empty().then(String::new)))
        .map(|line| line.chars().count().div_ceil(width.max(1)).max(1))
        .sum()
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal. Errors are ignored.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = crossterm::execute!(out, DisableMouseCapture, LeaveAlternateScreen, crossterm::cursor::Show);
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

/// Restores the terminal before a panic's message, which would otherwise vanish with the screen.
fn restore_on_panic() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            usual(panic);
        }));
    });
}

/// Forwards input events until the screen is gone.
fn listen(inputs: &mpsc::Sender<Input>) {
    while !inputs.is_closed() {
        let event = match crossterm::event::poll(POLL) {
            Ok(false) => continue,
            Ok(true) => crossterm::event::read(),
            Err(error) => Err(error),
        };
        // Without a terminal there is no more input.
        let Ok(event) = event else { return };
        if let Some(input) = meaning(&event)
            && inputs.blocking_send(input).is_err()
        {
            return;
        }
    }
}

fn meaning(event: &Event) -> Option<Input> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            Some(match key.code {
                KeyCode::Char('c' | 'd') if control => Input::Quit,
                KeyCode::Char('q') => Input::Quit,
                KeyCode::Char('?') => Input::Help,
                KeyCode::Left => Input::Key(Key::Left),
                KeyCode::Right => Input::Key(Key::Right),
                KeyCode::Up => Input::Key(Key::Up),
                KeyCode::Down => Input::Key(Key::Down),
                KeyCode::Char(' ') | KeyCode::Enter => Input::Key(Key::Toggle),
                KeyCode::Char('c') => Input::Key(Key::Do(Action::Cut)),
                KeyCode::Char('s') => Input::Key(Key::Do(Action::Slow)),
                KeyCode::Char('h') => Input::Key(Key::Do(Action::Heal)),
                _ => return None,
            })
        }
        Event::Mouse(mouse) if mouse.kind == MouseEventKind::Down(MouseButton::Left) => {
            Some(Input::Click(usize::from(mouse.column), usize::from(mouse.row)))
        }
        Event::Resize(..) => Some(Input::Redraw),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyEvent, MouseEvent};

    use super::*;

    #[test]
    fn keys_and_clicks_have_their_meanings() {
        let key = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        let typed = |letter| key(KeyCode::Char(letter), KeyModifiers::NONE);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Input::Quit));
        assert_eq!(typed('q'), Some(Input::Quit));
        assert_eq!(typed('c'), Some(Input::Key(Key::Do(Action::Cut))));
        assert_eq!(typed('s'), Some(Input::Key(Key::Do(Action::Slow))));
        assert_eq!(typed('h'), Some(Input::Key(Key::Do(Action::Heal))));
        assert_eq!(typed(' '), Some(Input::Key(Key::Toggle)));
        assert_eq!(typed('?'), Some(Input::Help));
        assert_eq!(typed('x'), None);
        let mouse =
            |kind| meaning(&Event::Mouse(MouseEvent { kind, column: 7, row: 9, modifiers: KeyModifiers::NONE }));
        assert_eq!(mouse(MouseEventKind::Down(MouseButton::Left)), Some(Input::Click(7, 9)));
        assert_eq!(mouse(MouseEventKind::Moved), None);
    }
}
