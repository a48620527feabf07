//! Lines for stderr, a log file, or stdout while nodes run, written by a separate thread. A missing reader, a full disk
//! or a full pipe loses lines, but never ends, blocks or slows the program.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may wait to be written: about 8,000 lines of log. Lines beyond that are lost, and counted.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// How long the end of the program waits for lines to be written: a slow reader gets them, and a stuck one does not
/// block the exit.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Between attempts to write to a pipe that is full and does not block.
const RETRY: Duration = Duration::from_millis(20);

/// A destination of lines, with the thread that writes them. Clones share it.
#[derive(Debug, Clone)]
pub struct Console(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A line waits, or all are written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<u8>,
    is_writing: bool,
    /// Lines that had no room or could not be written since the loss was last reported.
    lost: u64,
}

static STDERR: OnceLock<Console> = OnceLock::new();

/// The process's stderr.
pub fn stderr() -> &'static Console {
    STDERR.get_or_init(|| Console::new(io::stderr()))
}

/// Prints a note for the user on stderr.
pub fn note(text: impl std::fmt::Display) {
    stderr().line(text);
}

/// Prints warnings about a result on stderr.
pub fn warn(warnings: &[String]) {
    warnings.iter().for_each(|text| note(format_args!("warning: {text}")));
}

/// Whether to write colours to stderr, as <https://no-color.org> and <https://bixense.com/clicolors> have it: clap and indicatif
/// decide by themselves, in the same way.
pub fn colours() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    let refused = set("CLICOLOR").is_some_and(|value| value == "0") || set("TERM").is_some_and(|value| value == "dumb");
    !refused && io::stderr().is_terminal()
}

impl Console {
    /// A console that writes to `out`. If there is no thread to write on, every line is lost.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        let console = Self(Arc::default());
        let shared = console.0.clone();
        // The thread ends with the process, since a blocking write cannot be cancelled.
        let _ = std::thread::Builder::new().name("console".to_owned()).spawn(move || shared.write_lines(out));
        console
    }

    /// Queues a line, which is lost if the queue is full.
    pub fn line(&self, text: impl std::fmt::Display) {
        self.push(format!("{text}\n").as_bytes());
    }

    fn push(&self, lines: &[u8]) {
        let mut queue = self.0.queue();
        if queue.waiting.len() + lines.len() > MAX_WAITING_BYTES {
            queue.lost += 1;
            return;
        }
        queue.waiting.extend_from_slice(lines);
        drop(queue);
        self.0.changed.notify_all();
    }

    /// Waits until all lines are written, but not long: for the end of the program.
    pub fn drain(&self) {
        let end = Instant::now() + LAST_LINES;
        let mut queue = self.0.queue();
        while queue.is_writing || !queue.waiting.is_empty() {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return };
            queue = self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// One event of the log is one call of `write_all`.
impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    // No code runs under the lock that could panic and leave half a line.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lines(&self, mut out: impl Write) {
        let mut queue = self.queue();
        loop {
            if queue.waiting.is_empty() {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let lines = std::mem::take(&mut queue.waiting);
            queue.is_writing = true;
            drop(queue);
            let unwritten = write_all(&mut out, &lines);
            let lost = {
                let mut queue = self.queue();
                queue.lost += unwritten;
                if unwritten == 0 { std::mem::take(&mut queue.lost) } else { 0 }
            };
            if lost > 0 {
                tracing::warn!(lost, "lines were lost: they could not be written");
            }
            queue = self.queue();
            queue.is_writing = false;
            self.changed.notify_all();
        }
    }
}

/// Writes all, waiting for a pipe that is full for the moment. Answers how many lines could not be written.
fn write_all(out: &mut impl Write, lines: &[u8]) -> u64 {
    let mut rest = lines;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Ok(_) | Err(_) => return rest.iter().filter(|byte| **byte == b'\n').count().max(1) as u64,
        }
    }
    // A failure loses nothing: stderr and files are unbuffered here.
    let _ = out.flush();
    0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Hands on what is written, when it is asked for.
    struct Slow(mpsc::SyncSender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_bounded_memory() {
        let (sender, written) = mpsc::sync_channel(0);
        let console = Console::new(Slow(sender));
        let line = "x".repeat(999);
        for _ in 0..5_000 {
            console.line(&line);
        }
        let (waiting, lost) = {
            let queue = console.0.queue();
            (queue.waiting.len(), queue.lost)
        };
        assert!(waiting <= MAX_WAITING_BYTES, "{waiting} bytes wait");
        assert!(lost >= 5_000 - 2 * MAX_WAITING_BYTES as u64 / 1_000, "{lost} lines lost");
        // What was not lost arrives once it is read.
        let read = Arc::<AtomicU64>::default();
        let sum = read.clone();
        std::thread::spawn(move || {
            for bytes in written {
                sum.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            }
        });
        let all = (5_000 - lost) * 1_000;
        let end = Instant::now() + Duration::from_secs(60);
        while read.load(Ordering::SeqCst) < all {
            assert!(Instant::now() < end, "{} of {all} bytes arrived", read.load(Ordering::SeqCst));
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_reader_that_is_gone_or_a_full_disk_is_no_error() {
        let (sender, written) = mpsc::sync_channel(0);
        drop(written);
        let console = Console::new(Slow(sender));
        console.line("unread");
        console.drain();
        assert_eq!(console.0.queue().lost, 1);
    }

    #[test]
    fn a_full_pipe_that_does_not_block_gets_the_line_later() {
        struct Full(u32, mpsc::Sender<Vec<u8>>);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                if self.0 < 4 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let part = &bytes[..bytes.len().min(2)];
                self.1.send(part.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
                Ok(part.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, written) = mpsc::channel();
        let console = Console::new(Full(0, sender));
        console.line("whole");
        console.drain();
        assert_eq!(written.try_iter().flatten().collect::<Vec<_>>(), b"whole\n");
        assert_eq!(console.0.queue().lost, 0);
    }
}
