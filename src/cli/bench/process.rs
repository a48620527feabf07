//! A node in a process of its own, whose memory can be measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::time::sleep;

use super::node::{self, Caller};

/// How often a starting node is asked, and for how long.
const POLL: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(300);

/// A node in a process of its own.
pub(super) struct Process {
    child: Child,
    /// Of its RPC server.
    address: SocketAddr,
}

impl Process {
    /// Starts it, and returns when it has answered.
    pub(super) async fn start(dir: &Path) -> anyhow::Result<(Self, Caller)> {
        Self::start_with(dir, &["--listen", "127.0.0.1:0"]).await
    }

    /// The same with these options of `cairn node`.
    pub(super) async fn start_with(dir: &Path, options: &[&str]) -> anyhow::Result<(Self, Caller)> {
        // A free port, which another program might take before the node does.
        let address = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let child = Command::new(std::env::current_exe()?)
            .args(["node", "--rpc", &address.to_string(), "--data-dir"])
            .arg(dir)
            .args(["--rpc-user", node::USER, "--rpc-password", node::USER, "--log", "error"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut process = Self { child, address };
        let start = Instant::now();
        loop {
            if let Ok(mut caller) = process.caller().await
                && caller.send(&node::call("getblockcount", &[])).await.is_ok()
            {
                return Ok((process, caller));
            }
            if let Some(status) = process.child.try_wait()? {
                anyhow::bail!("the node ended with {status}");
            }
            ensure!(start.elapsed() < PATIENCE, "the node does not answer");
            sleep(POLL).await;
        }
    }

    /// Bytes of memory that it holds.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// The most that it has held.
    pub(super) fn peak_bytes(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    /// A new connection to its RPC server, which closes idle ones.
    pub(super) async fn caller(&self) -> anyhow::Result<Caller> {
        Caller::connect(self.address).await
    }

    /// Processor time that it has taken, its system calls included.
    #[cfg(feature = "webrtc")]
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Fields 14 and 15 of proc_pid_stat(5); the second, the program's name, may hold spaces.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.map(|field| field.parse().unwrap_or(0)).sum();
        Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
    }

    /// A line of proc_pid_status(5), in bytes.
    fn status(&self, name: &'static str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB")?.trim().parse().ok());
        kilobytes.map(|kilobytes: u64| kilobytes << 10).context(name)
    }

    pub(super) async fn stop(mut self, caller: &mut Caller) -> anyhow::Result<()> {
        caller.send(&node::call("stop", &[])).await?;
        tokio::task::spawn_blocking(move || self.child.wait()).await??;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, unless the benchmark failed.
        let _ = self.child.kill();
    }
}
