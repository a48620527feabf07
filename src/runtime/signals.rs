//! Signals that stop the node, or a command.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;

/// Completes at the first SIGINT (Ctrl-C) or, on Unix, SIGTERM or SIGHUP: a terminal that is closed ends a node in order.
/// A SIGHUP that the parent had this process ignore, as `nohup` does, goes on being ignored.
///
/// # Errors
/// If the operating system refuses to deliver signals to this process.
pub async fn interrupted() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = if hangups_are_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        let hung_up = async {
            match &mut hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
            _ = hung_up => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// From now on the signals of [`interrupted`] do not end this process. The first sets the flag, for work that looks at it
/// and undoes what it has begun; the second ends the process.
///
/// # Errors
/// If there is no thread to wait for signals on, or the operating system refuses to deliver them.
pub fn interrupt_flag() -> std::io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let flag = Arc::<AtomicBool>::default();
    let (set, (caught, are_caught)) = (flag.clone(), mpsc::channel::<std::io::Result<()>>());
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let mut signal = pin!(interrupted());
            // Signals are caught once it has been polled.
            let polled = poll_fn(|context| Poll::Ready(signal.as_mut().poll(context))).await;
            let is_pending = polled.is_pending();
            // Fails if the caller is gone.
            let _ = caught.send(if let Poll::Ready(came) = polled { came } else { Ok(()) });
            if !is_pending || signal.await.is_ok() {
                set.store(true, Ordering::SeqCst);
                if interrupted().await.is_ok() {
                    std::process::exit(130);
                }
            }
        });
    })?;
    // The thread sends once before it ends.
    are_caught.recv().unwrap_or(Ok(()))?;
    Ok(flag)
}

/// Whether this process was started with SIGHUP ignored. Asked once, since a handler replaces what it was started with.
/// Where there is no /proc, that cannot be told without unsafe code, and SIGHUP ends the node.
#[cfg(unix)]
fn hangups_are_ignored() -> bool {
    static IGNORED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *IGNORED.get_or_init(|| std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangups(&status)))
}

/// Whether `status`, as Linux writes it, says so: a mask in hex, whose lowest bit is signal 1, SIGHUP.
#[cfg(unix)]
fn ignores_hangups(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_hangups_are_read_from_the_mask() {
        let status = |mask: &str| format!("Name:\tcairn\nSigBlk:\t0000000000000000\nSigIgn:\t{mask}\nSigCgt:\t01\n");
        assert!(ignores_hangups(&status("0000000000001001")));
        assert!(!ignores_hangups(&status("0000000000001000")));
        assert!(!ignores_hangups(""));
    }
}
