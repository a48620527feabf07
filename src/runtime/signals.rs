//! The operator's wish to stop.

/// Completes at the first SIGINT (Ctrl-C) or, on Unix, SIGTERM.
///
/// # Errors
/// If the operating system refuses to deliver signals to this process.
pub async fn interrupted() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
