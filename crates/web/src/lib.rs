//! The light client as a WebAssembly module: exported functions over bytes, without glue that a tool generates.
//!
//! The page has the sockets and the clocks. It puts an input's bytes where [`room`] says, calls the input's function, and
//! then takes outputs with [`next_output`] until there are none. Times are milliseconds of a clock that never goes back,
//! and seconds since 1970.
//!
//! An output is its kind in the upper 32 bits of a number and its argument in the lower, with bytes at [`output`]:
//!
//! | kind | argument | bytes | to do |
//! |---|---|---|---|
//! | 0 | | | nothing: that was the last |
//! | 1 | | address | dial it; then [`opened`] or [`dial_failed`] |
//! | 2 | connection | bytes | write them to the connection |
//! | 3 | connection | | close the connection; it has no input any more |
//! | 4 | height | headers | keep them in place of all kept above that height |
//! | 5 | milliseconds | | call [`tick`] after so long; replaces the call before |
//! | 6 | | text | show it on the page |
//! | 7 | height | bytes | keep them in place of all that was kept; the headers above that height come next, to stand after them |
//! | 8 | step | page's id in hex, a line feed, a description | a step of a call with another page: 0, describe this side; 1, take the offer with this description, and describe this side; 2, take the answer with this description; 3, it has come to nothing. A description goes back with [`signal`] |
//! | 9 | connection | a message's kind and payload, or nothing | what a peer says about content; nothing: it offers some. Answers go back with [`send`] |
//! | 10 | | address, a line feed, text | the peer at the address lied, as the text says: show it, and do not dial that peer again |
//!
//! No state is left half changed by an error, but a trap may leave one: the page then drops the instance.

// An exported name is an attribute that the language counts as unsafe; there is no unsafe code here.
#![allow(unsafe_code)]

mod purse;
mod session;

use std::cell::RefCell;

use cairn::light::Call;
use session::{Output, Session, Times};

/// What lies in the module's memory.
struct Module {
    input: Vec<u8>,
    output: Vec<u8>,
    session: Option<Session>,
}

thread_local! {
    static MODULE: RefCell<Module> =
        const { RefCell::new(Module { input: Vec::new(), output: Vec::new(), session: None }) };
}

/// Runs `act` with the client, the input's bytes and the times; nothing without a client.
fn with(mono_ms: f64, unix_secs: f64, act: impl FnOnce(&mut Session, Times, &[u8])) {
    MODULE.with_borrow_mut(|Module { input, session, .. }| {
        if let Some(session) = session {
            act(session, Times { mono_ms: mono_ms as u64, unix_secs: unix_secs as u64 }, input);
        }
    });
}

/// Where the next input's `length` bytes are to be written. Valid until the next call of it.
#[unsafe(no_mangle)]
pub extern "C" fn room(length: u32) -> *mut u8 {
    MODULE.with_borrow_mut(|module| {
        module.input.clear();
        module.input.resize(length as usize, 0);
        module.input.as_mut_ptr()
    })
}

/// Where the bytes of the last output are. Valid until the next call of [`next_output`], or of a function that has an output.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    MODULE.with_borrow(|module| module.output.as_ptr())
}

/// How many bytes there are.
#[unsafe(no_mangle)]
pub extern "C" fn output_length() -> u32 {
    MODULE.with_borrow(|module| module.output.len() as u32)
}

/// Starts a client in place of any other: 1 with the genesis block's hash, a space and this page's id as output, or 0
/// with an error's text. The input is 32 secret random bytes, then genesis.json. Peers are given with [`peer`], and dialled at the first [`tick`].
#[unsafe(no_mangle)]
pub extern "C" fn start() -> u32 {
    MODULE.with_borrow_mut(|module| {
        module.session = None;
        match Session::new(&module.input) {
            Ok(session) => {
                module.output = session.names().into_bytes();
                module.session = Some(session);
                1
            }
            Err(error) => {
                module.output = error.to_string().into_bytes();
                0
            }
        }
    })
}

/// Before the first [`tick`]: takes what was kept. The bytes of output 7 come first, if there are any, in a call of their own; then
/// headers, each call's behind those given before.
#[unsafe(no_mangle)]
pub extern "C" fn load() {
    with(0.0, 0.0, |session, _, kept| session.load(kept));
}

/// Before the first [`tick`]: adds the input, an address, to the peers; 1, or 0 if it is none.
#[unsafe(no_mangle)]
pub extern "C" fn peer() -> u32 {
    let mut taken = false;
    with(0.0, 0.0, |session, _, address| taken = session.add_peer(address));
    taken.into()
}

/// The first begins; later ones answer output 5.
#[unsafe(no_mangle)]
pub extern "C" fn tick(mono_ms: f64, unix_secs: f64) {
    with(mono_ms, unix_secs, |session, times, _| session.tick(times));
}

/// The dial to the input, an address, succeeded: the connection's number, which is never used again; 0 without a client. After
/// the address of a WebRTC port come a space and the SHA-256 of the page's own certificate, in hex. The address of a call is
/// `page/` and the other page's id in hex; after it come the hashes of both certificates, this page's first.
#[unsafe(no_mangle)]
pub extern "C" fn opened(mono_ms: f64, unix_secs: f64) -> u32 {
    let mut number = 0;
    with(mono_ms, unix_secs, |session, times, address| number = session.opened(times, address));
    number
}

/// This side of a call, for another page. The input is the page's id in hex, a line feed, and the description.
#[unsafe(no_mangle)]
pub extern "C" fn signal(mono_ms: f64, unix_secs: f64) {
    with(mono_ms, unix_secs, |session, times, input| session.signal(times, input));
}

/// The input is a page's id in hex: it is called before others, as soon as a node names some.
#[unsafe(no_mangle)]
pub extern "C" fn seek() {
    with(0.0, 0.0, |session, _, id| session.seek(id));
}

/// The dial to the input, an address, failed.
#[unsafe(no_mangle)]
pub extern "C" fn dial_failed(mono_ms: f64, unix_secs: f64) {
    with(mono_ms, unix_secs, |session, times, address| session.dial_failed(times, address));
}

/// The input came from a connection.
#[unsafe(no_mangle)]
pub extern "C" fn received(connection: u32, mono_ms: f64, unix_secs: f64) {
    with(mono_ms, unix_secs, |session, times, bytes| session.received(times, connection, bytes));
}

/// Sends the input, a message about content with its length and kind, to a connection.
#[unsafe(no_mangle)]
pub extern "C" fn send(connection: u32, mono_ms: f64, unix_secs: f64) {
    with(mono_ms, unix_secs, |session, _, frame| session.send(connection, frame));
}

/// A peer broke the rules of the exchange of content. The input says how, as the module that handles content puts it.
#[unsafe(no_mangle)]
pub extern "C" fn penalise(connection: u32, mono_ms: f64, unix_secs: f64) {
    with(mono_ms, unix_secs, |session, times, hash| session.penalise(times, connection, hash));
}

/// Looks for nodes that provide the content of the input, a key of 32 bytes, and dials them; without input, leaves those again.
#[unsafe(no_mangle)]
pub extern "C" fn find(mono_ms: f64, unix_secs: f64) {
    with(mono_ms, unix_secs, |session, times, key| session.find(times, key));
}

/// The other side closed a connection, or it broke.
#[unsafe(no_mangle)]
pub extern "C" fn closed(connection: u32, mono_ms: f64, unix_secs: f64) {
    with(mono_ms, unix_secs, |session, times, _| session.closed(times, connection));
}

/// The next output, as the table above has it.
#[unsafe(no_mangle)]
pub extern "C" fn next_output() -> u64 {
    MODULE.with_borrow_mut(|Module { output, session, .. }| {
        output.clear();
        let Some(next) = session.as_mut().and_then(Session::next_output) else { return 0 };
        let (kind, argument, bytes) = match next {
            Output::Dial(address) => (1, 0, address.to_string().into_bytes()),
            Output::Write(connection, bytes) => (2, connection, bytes),
            Output::Close(connection) => (3, connection, Vec::new()),
            Output::Keep(above, headers) => (4, above, headers),
            Output::Begin(above, bytes) => (7, above, bytes),
            Output::WakeIn(millis) => (5, millis, Vec::new()),
            Output::Tell(text) => (6, 0, text.into_bytes()),
            Output::Call(page, call) => {
                let (step, description) = match call {
                    Call::Make => (0, Vec::new()),
                    Call::Take(description) => (1, description),
                    Call::Complete(description) => (2, description),
                    Call::End => (3, Vec::new()),
                };
                (8, step, [format!("{page}\n").into_bytes(), description].concat())
            }
            Output::Content(connection, bytes) => (9, connection, bytes),
            Output::Lied(address, lie) => (10, 0, format!("{address}\n{lie}").into_bytes()),
        };
        *output = bytes;
        kind << 32 | u64::from(argument)
    })
}

/// Asks for all coins of the input, an address, in place of what was asked for before; 1, or 0 if it is none of this network.
#[unsafe(no_mangle)]
pub extern "C" fn own(mono_ms: f64, unix_secs: f64) -> u32 {
    let mut taken = false;
    with(mono_ms, unix_secs, |session, times, address| taken = session.own(times, address));
    taken.into()
}

/// Puts what is known at [`output`], as lines of text: `tip HEIGHT HASH TIME WORK` of the best chain's last block, with its
/// time in seconds since 1970 and the chain's work in hex; then `peer ADDRESS STATUS` for each peer that was to be asked; then,
/// once coins are proven, `balance SUM COINS EDGE BLOCK TIP` for those that [`own`] asked for: the height of the edge that they
/// are proven as of, that of the first block that commits to them or `-` if they are those of genesis, and that of the last block
/// up to which they have been followed; and `wallet SUM IMMATURE USED COINS EDGE BLOCK TIP` for the wallet's: what can be spent
/// and what was mined too lately, and how many keys there are up to the last that was paid; then for each payment that the page
/// has sent `payment TXID` with `offered`, `taken PEERS`, `refused PEERS`, `mined HEIGHT` or `proven HEIGHT CONFIRMATIONS`.
#[unsafe(no_mangle)]
pub extern "C" fn status() {
    MODULE.with_borrow_mut(|Module { output, session, .. }| {
        *output = session.as_ref().map(Session::status).unwrap_or_default().into_bytes();
    });
}

/// Runs `act` with the client, and makes its answer the output: 1, or 0 if there is none.
fn answer<T: Into<Vec<u8>>>(times: (f64, f64), act: impl FnOnce(&mut Session, Times, &[u8]) -> Option<T>) -> u32 {
    let mut answer = None;
    with(times.0, times.1, |session, times, input| answer = act(session, times, input).map(Into::into));
    let given = answer.is_some();
    MODULE.with_borrow_mut(|module| module.output = answer.unwrap_or_default());
    given.into()
}

/// Makes the input, public keys of 32 bytes, the wallet's, in place of others, and asks for their coins: 1 with the address of the
/// last as output, or 0 if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn watch(mono_ms: f64, unix_secs: f64) -> u32 {
    answer((mono_ms, unix_secs), |session, times, keys| session.watch(times, keys))
}

/// What a payment from the wallet's coins would be: 1, or 0 with an error's text. The input is `ADDRESS AMOUNT RATE`: coins, and grains
/// a byte. The output is a line `FEE CHANGE BYTES`, then the transaction without signatures and the outputs that it spends.
#[unsafe(no_mangle)]
pub extern "C" fn draft() -> u32 {
    let mut done = false;
    answer((0.0, 0.0), |session, _, order| {
        let drafted = session.draft(order);
        done = drafted.is_ok();
        Some(drafted.unwrap_or_else(String::into_bytes))
    });
    done.into()
}

/// Hands the input, a signed transaction, to the peers, and follows it: 1 with its id, or 0 if it is none. With `old` 1 it was sent
/// before, and peers are asked whether a block has it.
#[unsafe(no_mangle)]
pub extern "C" fn pay(old: u32, mono_ms: f64, unix_secs: f64) -> u32 {
    answer((mono_ms, unix_secs), |session, times, bytes| session.pay(times, bytes, old != 0))
}

/// What proves that the payment with the input's id is in the chain, as lines: `block HEIGHT HASH`, its `header`, the payment's
/// `place` in the block, the `transaction`, and each `sibling` of its Merkle branch, lowest first; all bytes in hex. 0 if it is
/// not proven.
#[unsafe(no_mangle)]
pub extern "C" fn proof() -> u32 {
    answer((0.0, 0.0), |session, _, txid| session.proof(txid))
}

/// The height of the best chain known.
#[unsafe(no_mangle)]
pub extern "C" fn height() -> u32 {
    MODULE.with_borrow(|module| module.session.as_ref().map_or(0, Session::height))
}

/// 1 if every peer has sent all its headers or is gone, and at least one has sent them.
#[unsafe(no_mangle)]
pub extern "C" fn is_synced() -> u32 {
    MODULE.with_borrow(|module| module.session.as_ref().is_some_and(Session::is_synced).into())
}
