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

use super::links::{Action, Key, Links, Matrix};

/// Interval of checks that the screen still exists.
const POLL: Duration = Duration::from_millis(100);
/// The text of the last line.
const HELP: &str = "  click a link, or arrows and space: cut, slow, heal in turn   c cut   s slow   h heal   q quit";

/// Whether the terminal is in screen mode and must be restored. A process has one terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What a pressed key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The network to stop.
    Quit,
    /// A key for the matrix.
    Key(Key),
    /// A click at a column and line of the terminal, from 0.
    Click(usize, usize),
    /// The terminal has another size.
    Redraw,
}

/// The terminal, taken until this value is dropped, or the process panics.
pub struct Screen {
    matrix: Option<Matrix>,
    /// The line on which the matrix begins.
    matrix_line: usize,
    /// What was typed or clicked. Closed when the terminal is gone.
    pub inputs: mpsc::Receiver<Input>,
}

impl Screen {
    /// Takes the terminal for a network of so many nodes.
    ///
    /// # Errors
    /// If it is no suitable terminal.
    pub fn take(nodes: usize) -> io::Result<Self> {
        restore_on_panic();
        crossterm::terminal::enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let (sender, inputs) = mpsc::channel(64);
        let screen = Self { matrix: Matrix::new(nodes), matrix_line: 0, inputs };
        // From here on, dropping it restores the terminal.
        crossterm::execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture, crossterm::cursor::Hide)?;
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || listen(&sender))?;
        Ok(screen)
    }

    /// Draws everything: `text` above, the matrix below.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn draw(&mut self, text: &[String], links: &Links) -> io::Result<()> {
        let mut lines = text.to_vec();
        lines.push(String::new());
        self.matrix_line = lines.len();
        if let Some(matrix) = &self.matrix {
            lines.extend(matrix.lines(links));
            lines.extend([String::new(), HELP.to_owned()]);
        } else {
            lines.push("  q quit".to_owned());
        }
        let height = match crossterm::terminal::size() {
            // Some terminals do not know.
            Ok((_, 0)) | Err(_) => lines.len(),
            Ok((_, rows)) => usize::from(rows),
        };
        // If there is not enough room, the matrix is kept and the introduction cut.
        let skipped = lines.len().saturating_sub(height);
        self.matrix_line = self.matrix_line.saturating_sub(skipped);
        // Without automatic wrapping a line is a line on a narrow terminal too.
        let mut drawn = "\x1b[?7l\x1b[H".to_owned();
        for (number, line) in lines.iter().skip(skipped).enumerate() {
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

    /// Handles an input; returns the link and the action on it.
    pub fn take_input(&mut self, input: Input, links: &Links) -> Option<((usize, usize), Action)> {
        let line = self.matrix_line;
        let matrix = self.matrix.as_mut()?;
        let action = match input {
            Input::Key(key) => matrix.key(key, links),
            Input::Click(column, row) => matrix.click(column, row.checked_sub(line)?, links),
            Input::Quit | Input::Redraw => None,
        }?;
        Some((matrix.chosen(), action))
    }
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
        assert_eq!(typed('x'), None);
        let mouse =
            |kind| meaning(&Event::Mouse(MouseEvent { kind, column: 7, row: 9, modifiers: KeyModifiers::NONE }));
        assert_eq!(mouse(MouseEventKind::Down(MouseButton::Left)), Some(Input::Click(7, 9)));
        assert_eq!(mouse(MouseEventKind::Moved), None);
    }
}
