//! Signals that stop the node.

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
