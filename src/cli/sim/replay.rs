//! `cairn sim replay`.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use super::progress_bar;
use crate::cli::Common;
use crate::primitives::amount::counted;
use crate::record::{Ending, Reader, Replay, State, replay};

pub(super) const EXAMPLES: &str = "\
Examples:
  cairn node --record incident.rec        # until the node fails or is killed
  cairn sim replay incident.rec

The record is self-contained: it holds the genesis file, the settings and the store that the node began with. It replays on any \
machine with the same version of cairn. Exit code 1 if the record is damaged, or if the replay differs from it; the error then \
names the first input after which it does.";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file written by `cairn node --record`
    file: PathBuf,
}

pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let name = || args.file.display().to_string();
    let file = File::open(&args.file).with_context(name)?;
    let bar = progress_bar(file.metadata().with_context(name)?.len(), "bytes replayed");
    let began = Instant::now();
    let record = Reader::new(BufReader::new(file)).with_context(name)?;
    let replayed = replay(record, &|offset| bar.set_position(offset));
    bar.finish_and_clear();
    let (replayed, took) = (replayed.with_context(name)?, began.elapsed().as_secs_f64());
    common.print(|| describe(&replayed, took), || as_json(&replayed, took))
}

fn ending(replay: &Replay) -> &'static str {
    match replay.ending {
        Ending::Stopped => "the node was stopped cleanly",
        Ending::Open => "after a whole entry, without an end mark: the node was killed, or is still running",
        Ending::Cut => "within an entry, which is left out: the node was killed, or is still running",
    }
}

/// Seconds of the node's time from the first input to the last.
fn seconds(replay: &Replay) -> f64 {
    replay.last.mono.saturating_since(replay.start.now.mono).as_secs_f64()
}

fn describe(replay: &Replay, took: f64) -> String {
    let Replay { start, stored, inputs, commands, checkpoints, state, .. } = replay;
    let State { height, tip, mempool, peers, .. } = state;
    let (covered, all) = (seconds(replay), (inputs + commands) as f64);
    let mut lines = vec![
        format!("recorded by    cairn {}, node {}", start.program, start.config.id),
        format!("initial store  {}", counted(*stored, "key")),
        format!("replayed       {}, {}, {covered:.1} s", counted(*inputs, "input"), counted(*commands, "command")),
        format!("in             {took:.2} s: {:.0} a second, {:.1} times as fast", all / took, covered / took),
        format!("matches        the record at {}, and in every output", counted(*checkpoints, "checkpoint")),
        format!("ends           {}", ending(replay)),
        format!("tip            {height} {tip}"),
        format!("mempool        {}", counted(*mempool, "transaction")),
        format!("peers          {peers}"),
        format!("bans           {}", replay.bans.len()),
    ];
    for (subnet, ban) in &replay.bans {
        lines.push(format!("  {subnet}  until {}: {}", ban.until, ban.reason));
    }
    lines.join("\n")
}

fn as_json(replay: &Replay, took: f64) -> Value {
    let Replay { start, stored, inputs, commands, checkpoints, state, mempool, bans, .. } = replay;
    let bans = bans.iter().map(|(subnet, ban)| {
        json!({
            "address": subnet.to_string(),
            "ban_created": ban.created,
            "banned_until": ban.until,
            "ban_reason": ban.reason,
        })
    });
    json!({
        "program": start.program,
        "nodeid": start.config.id.to_string(),
        "stored": stored,
        "inputs": inputs,
        "commands": commands,
        "checkpoints": checkpoints,
        "began": start.now.unix,
        "covered": seconds(replay),
        "took": took,
        "ending": match replay.ending {
            Ending::Stopped => "stopped",
            Ending::Open => "open",
            Ending::Cut => "cut",
        },
        "height": state.height,
        "tip": state.tip.to_string(),
        "mempool": mempool,
        "peers": state.peers,
        "bans": bans.collect::<Vec<_>>(),
    })
}
