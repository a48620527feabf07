//! What this process takes of the machine, as Linux counts it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::primitives::time::UnixTime;

/// A process' share of the machine.
#[derive(Debug, Clone, Copy)]
pub struct ProcessUsage {
    /// Processor time of all threads, the kernel's work for them included.
    pub cpu: Duration,
    /// Bytes of memory that it holds.
    pub resident_bytes: u64,
    /// Bytes of addresses that it has reserved.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Most file descriptors that it may open; `None` without a limit.
    pub max_descriptors: Option<u64>,
    /// Threads that run or wait.
    pub threads: u64,
    /// When it started, by the machine's clock.
    pub started: UnixTime,
}

/// Reads the usage of this process.
///
/// # Errors
/// Where there is no `/proc` as Linux has it.
pub fn usage() -> io::Result<ProcessUsage> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field, the program's name, may hold spaces and brackets; proc_pid_stat(5) counts fields from 1.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| number_of(fields.get(number - 3).copied());
    let machine = std::fs::read_to_string("/proc/stat")?;
    let booted = number_of(machine.lines().find_map(|line| line.strip_prefix("btime ")))?;
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    Ok(ProcessUsage {
        cpu: Duration::try_from(cpu).unwrap_or_default(),
        resident_bytes: field(24)? * page_size() as u64,
        virtual_bytes: field(23)?,
        descriptors: std::fs::read_dir("/proc/self/fd")?.count() as u64,
        max_descriptors: getrlimit(Resource::Nofile).current,
        threads: field(20)?,
        started: UnixTime::from_secs(booted + field(22)? / clock_ticks_per_second()),
    })
}

/// How often each thread of this process has waited since it began, by the threads' names: as often it was woken, which costs
/// microseconds, and tens of them where the processor slept.
///
/// # Errors
/// As [`usage`].
pub fn waits() -> io::Result<BTreeMap<String, u64>> {
    let mut waits = BTreeMap::new();
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread may end meanwhile.
        let Ok(status) = std::fs::read_to_string(thread?.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let name = field("Name:").unwrap_or_default().to_owned();
        *waits.entry(name).or_default() += number_of(field("voluntary_ctxt_switches:"))?;
    }
    Ok(waits)
}

fn number_of(text: Option<&str>) -> io::Result<u64> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::runtime::unix_now;

    #[test]
    fn this_process_is_measured() {
        let before = usage().unwrap();
        let held = vec![1u8; 32 << 20];
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let after = usage().unwrap();
        assert!(after.cpu > before.cpu && after.threads >= 1);
        assert!(after.resident_bytes >= held.len() as u64 && after.virtual_bytes > after.resident_bytes, "{after:?}");
        assert!(after.descriptors >= 4 && after.max_descriptors.is_none_or(|most| after.descriptors <= most));
        assert!(after.started <= unix_now() && unix_now().saturating_since(after.started).as_secs() < 86_400);
        drop(file);
    }

    #[test]
    fn the_waits_of_a_thread_are_counted() {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<u64>(0);
        let waiting = std::thread::Builder::new().name("waits".to_owned());
        let waiting = waiting.spawn(move || (0..20).zip(receiver).count()).unwrap();
        let count = || waits().unwrap().get("waits").copied().unwrap_or(0);
        let before = count();
        (0..10).for_each(|n| sender.send(n).unwrap());
        // The eleventh is taken when the thread has waited for it.
        while count() == before {
            std::thread::yield_now();
        }
        drop(sender);
        assert_eq!(waiting.join().unwrap(), 10);
    }
}
