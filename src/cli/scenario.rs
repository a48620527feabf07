//! Running a scenario from a file: what `cairn sim run` and `cairn testnet run` have in common.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::{Common, UsageError, print_line};
use crate::primitives::amount::counted;
use crate::sim::scenario::{self, LogLine, MAX_FILE_BYTES, Report, Scenario, World};

/// Options of both commands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scenario, a TOML file
    file: PathBuf,
    /// Seed of all that is drawn, in place of the file's
    #[arg(long, env = "CAIRN_SCENARIO_SEED", value_name = "NUMBER")]
    seed: Option<u64>,
}

/// A scenario that was read, and its seed.
pub struct Prepared {
    /// The scenario.
    pub scenario: Scenario,
    /// The seed to run it with.
    pub seed: u64,
}

/// Reads the file, and says on stdout what will be run.
///
/// # Errors
/// If it cannot be read; [`UsageError`], with the line, if it is no scenario.
pub fn prepare(args: &Args, common: &Common) -> anyhow::Result<Prepared> {
    let path = args.file.display();
    let mut text = String::new();
    let file = File::open(&args.file).with_context(|| format!("cannot read {path}"))?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read {path}"))?;
    ensure!(text.len() as u64 <= MAX_FILE_BYTES, "{path} has more than {}", counted(MAX_FILE_BYTES, "byte"));
    let scenario = Scenario::parse(&text).map_err(|error| UsageError(format!("{path}: {error}")))?;
    let seed = args.seed.unwrap_or(scenario.seed);
    if !common.json() {
        let Scenario { title, about, .. } = &scenario;
        let nodes = counted(scenario.names().len(), "node");
        print_line(&format!("{title}: {nodes}, seed {seed}\n\n{}\n", about.trim_end()))?;
    }
    Ok(Prepared { scenario, seed })
}

/// Runs it in a world, prints what happens as it does, and then the result. `extra` is added to the object of `--json`.
///
/// # Errors
/// If the world fails, stdout cannot be written to, or a check does not hold.
pub fn play<W: World>(
    prepared: &Prepared,
    world: &mut W,
    common: &Common,
    extra: impl FnOnce(&W) -> Option<(&'static str, Value)>,
) -> anyhow::Result<()> {
    let Prepared { scenario, seed } = prepared;
    let started = Instant::now();
    let mut written = Ok(());
    let mut tell = |line: &LogLine| {
        if !common.json() && written.is_ok() {
            let LogLine { at, kind, text } = line;
            written = print_line(&format!("{:>9}  {kind:<5}  {text}", format!("{:.2} s", at.0.as_secs_f64())));
        }
    };
    let report = scenario::run(scenario, *seed, world, &mut tell)?;
    written?;
    let Report { blocks, payments, checks, .. } = &report;
    let failed = checks.iter().filter(|check| !check.holds).count();
    let text = || {
        format!(
            "\n{} and {} in {:.1} s; {}",
            counted(*blocks, "block"),
            counted(*payments, "payment"),
            started.elapsed().as_secs_f64(),
            match (checks.len(), failed) {
                (1, 0) => "the check holds".to_owned(),
                (all, 0) => format!("all {all} checks hold"),
                (all, failed) => format!("{failed} of {} fail", counted(all, "check")),
            }
        )
    };
    common.print(text, || {
        let mut object = json!(report);
        if let (Some((name, value)), Some(members)) = (extra(world), object.as_object_mut()) {
            members.insert(name.to_owned(), value);
        }
        object
    })?;
    if failed > 0 {
        let lines: Vec<String> =
            checks.iter().filter(|check| !check.holds).map(|check| check.line.to_string()).collect();
        bail!(
            "{} not hold: line {}",
            if failed == 1 { "1 check does".to_owned() } else { format!("{failed} checks do") },
            lines.join(", ")
        );
    }
    Ok(())
}
