//! Runs a recorded node again.

use std::fmt::{self, Write};
use std::io::Read;
use std::sync::Arc;

use super::entry::{Entry, Start};
use super::reader::Next;
use super::state::{self, Digest, State};
use super::{Reader, RecordError};
use crate::chain::Chain;
use crate::consensus::params::Params;
use crate::mempool::Mempool;
use crate::p2p::message::Kind;
use crate::p2p::{Ban, Command, Input, Node, Now, Protocol, Subnet};
use crate::primitives::hash::Txid;
use crate::storage::{Batch, MemoryStore, Store};

/// How a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The node stopped in order.
    Stopped,
    /// After a whole entry: the node was killed, or is still at work.
    Open,
    /// Within an entry, which is left out.
    Cut,
}

/// The result of a replay that matches its record.
#[derive(Debug, Clone)]
pub struct Replay {
    /// What the node began with.
    pub start: Start,
    /// Keys that its store held.
    pub stored: u64,
    /// Inputs replayed.
    pub inputs: u64,
    /// Commands replayed.
    pub commands: u64,
    /// Checkpoints that agreed, the end included.
    pub checkpoints: u64,
    /// How the record ends.
    pub ending: Ending,
    /// The time of the last input or command.
    pub last: Now,
    /// The node's state then.
    pub state: State,
    /// The mempool, in the order in which transactions came.
    pub mempool: Vec<Txid>,
    /// Bans in force, in the order of subnets.
    pub bans: Vec<(Subnet, Ban)>,
}

/// Runs the node of a record and compares its outputs with the record. `progress` is called with the bytes read from
/// time to time.
///
/// # Errors
/// [`RecordError`]; [`RecordError::Diverged`] if the node did something else.
pub fn replay<R: Read>(mut record: Reader<R>, progress: &dyn Fn(u64)) -> Result<Replay, RecordError> {
    let start = match record.next_entry()? {
        Next::Entry(_, Entry::Start(start)) => *start,
        Next::Entry(offset, entry) => return Err(entry.out_of_order(offset)),
        Next::End { .. } => return Err(RecordError::TooShort { offset: record.offset() }),
    };
    let params = Arc::new(Params::from_json(&start.genesis)?);
    let store = Arc::new(MemoryStore::new());
    let (mut stored, mut next) = (0, record.next_entry()?);
    while let Next::Entry(_, Entry::Stored(pairs)) = next {
        stored += pairs.len() as u64;
        let mut batch = Batch::default();
        pairs.into_iter().for_each(|(key, value)| batch.put(key, value));
        store.commit(batch)?;
        progress(record.offset());
        next = record.next_entry()?;
    }
    if matches!(next, Next::End { .. }) {
        return Err(RecordError::TooShort { offset: record.offset() });
    }
    let mut chain = Chain::open(Arc::clone(&params), store)?;
    chain.await_states()?;
    let mempool = Mempool::new(params, start.limits.clone());
    let node = Node::new(chain, mempool, start.config.clone(), start.now)?;
    let mut run = Run { node, digest: Digest::default(), done: None, inputs: 0, commands: 0, checkpoints: 0 };
    run.follow();
    let mut last = start.now;
    let ending = loop {
        let (offset, entry) = match next {
            Next::Entry(offset, entry) => (offset, entry),
            Next::End { cut } => break if cut { Ending::Cut } else { Ending::Open },
        };
        match entry {
            Entry::Input { now, digest, input } => {
                run.compare(digest)?;
                run.inputs += 1;
                run.input(now, input, offset);
                last = now;
            }
            Entry::Command { now, digest, command } => {
                run.compare(digest)?;
                run.commands += 1;
                run.command(now, command, offset);
                last = now;
            }
            Entry::Checkpoint(digest, state) => run.check(last, digest, &state)?,
            Entry::End(digest, state) => {
                run.check(last, digest, &state)?;
                break Ending::Stopped;
            }
            entry @ (Entry::Start(_) | Entry::Stored(_)) => return Err(entry.out_of_order(offset)),
        }
        if (run.inputs + run.commands).is_multiple_of(1_024) {
            progress(record.offset());
        }
        next = record.next_entry()?;
    };
    let Run { node, inputs, commands, checkpoints, .. } = run;
    Ok(Replay {
        start,
        stored,
        inputs,
        commands,
        checkpoints,
        ending,
        last,
        state: State::of(&node, last),
        mempool: node.mempool().txids(),
        bans: node.bans(last),
    })
}

struct Run {
    node: Node,
    digest: Digest,
    /// Where the last entry starts, and what it was.
    done: Option<(u64, What)>,
    inputs: u64,
    commands: u64,
    checkpoints: u64,
}

/// A short description of an input, in case the replay diverges after it.
enum What {
    Input(&'static str),
    Message(&'static str, u64),
    Command(String),
}

/// A command's name: its text up to what it holds, which may be a block and is not written out.
fn name(command: &Command) -> String {
    struct Name(String);
    impl Write for Name {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = text.find('(');
            self.0.push_str(&text[..end.unwrap_or(text.len())]);
            if end.is_some() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut name = Name(String::new());
    // The error is how it ends.
    let _ = write!(name, "{command:?}");
    name.0
}

impl Run {
    fn input(&mut self, now: Now, input: Input, offset: u64) {
        let what = match &input {
            Input::Received { peer, message, .. } => What::Message(message.kind().name(), peer.0),
            Input::Transactions { peer, .. } => What::Message(Kind::Transaction.name(), peer.0),
            Input::Connected { .. } => What::Input("connected"),
            Input::ConnectFailed { .. } => What::Input("connect failed"),
            Input::Malformed { .. } => What::Input("malformed"),
            Input::Flushed { .. } => What::Input("flushed"),
            Input::Disconnected { .. } => What::Input("disconnected"),
            Input::Delayed { .. } => What::Input("delayed"),
            Input::Tick => What::Input("tick"),
            Input::Stop => What::Input("stop"),
        };
        self.done = Some((offset, what));
        self.node.handle(now, input);
        self.follow();
    }

    fn command(&mut self, now: Now, command: Command, offset: u64) {
        self.done = Some((offset, What::Command(name(&command))));
        self.node.command(now, command);
        self.follow();
    }

    fn follow(&mut self) {
        self.digest = state::digest(self.digest, &self.node, self.node.outputs());
        self.node.drain();
    }

    fn compare(&self, recorded: Digest) -> Result<(), RecordError> {
        if self.digest == recorded {
            return Ok(());
        }
        let (digest, recorded) = (hex::encode(self.digest), hex::encode(recorded));
        Err(self.diverged(format!("recorded: outputs {recorded}; replayed: outputs {digest}")))
    }

    fn check(&mut self, now: Now, digest: Digest, state: &State) -> Result<(), RecordError> {
        self.compare(digest)?;
        if let Some(difference) = state.difference(&State::of(&self.node, now)) {
            return Err(self.diverged(difference));
        }
        self.checkpoints += 1;
        Ok(())
    }

    fn diverged(&self, difference: String) -> RecordError {
        let (offset, what) = match &self.done {
            Some((offset, What::Input(name))) => (*offset, (*name).to_owned()),
            Some((offset, What::Message(kind, peer))) => (*offset, format!("{kind} from peer {peer}")),
            Some((offset, What::Command(name))) => (*offset, format!("command {name}")),
            None => (0, "the start".to_owned()),
        };
        RecordError::Diverged { input: self.inputs + self.commands, offset, what, difference }
    }
}
