//! Content in a browser page as a WebAssembly module: exported functions over bytes, without glue that a tool
//! generates.
//!
//! It is a module of its own, apart from the light client's (`crates/web`), which the page loads when content is asked
//! for, by the person or by a peer. It has no connections: what peers say about content comes from the light client
//! through the page, and what is to be sent goes back in the same way.
//!
//! The page puts an input's bytes where [`room`] says, calls the input's function, and then takes outputs with
//! [`next_output`] until there are none. A connection is known by the number that the light client gave it. Times are
//! milliseconds of a clock that never goes back.
//!
//! An output is its kind in the upper 32 bits of a number and its argument in the lower, with bytes at [`output`]:
//!
//! | kind | argument | bytes | to do |
//! |---|---|---|---|
//! | 0 | | | nothing: that was the last |
//! | 1 | connection | a message with length and kind | send it |
//! | 2 | connection | a fault | have the light client penalise the peer; of the first kind, 0, it sent a false block |
//! | 3 | | bytes | append them to the file |
//! | 4 | | | call [`tick`] as soon as nothing else is to be done |
//! | 5 | 1, 2, or 0 | nothing, or text | the file is whole; the list is; or there is none, and that is why |
//! | 6 | | CID, a line feed, size, a line feed, name | it is a directory: append the entry to the list |
//! | 7 | | key | no peer has what is needed next: have the light client look for nodes that provide the content of this key |
//!
//! A trap may leave the state half changed: the page then drops the instance.

// An exported name is an attribute that the language counts as unsafe; there is no unsafe code here.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::fmt::Display;

use cairn::ipld::read::Entry;
use cairn::light::library::{Library, Output, Whole};
use cairn::p2p::PeerId;
use cairn::p2p::content_message::ContentMessage;
use cairn::p2p::kad::NodeId;
use cairn::primitives::codec;
use cairn::primitives::time::MonoTime;

/// What lies in the module's memory.
#[derive(Default)]
struct Module {
    input: Vec<u8>,
    output: Vec<u8>,
    library: Library,
}

thread_local! {
    static MODULE: RefCell<Module> = RefCell::default();
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

/// Where the bytes of the last output are. Valid until the next call of a function that has one.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    MODULE.with_borrow(|module| module.output.as_ptr())
}

/// How many bytes there are.
#[unsafe(no_mangle)]
pub extern "C" fn output_length() -> u32 {
    MODULE.with_borrow(|module| module.output.len() as u32)
}

/// Runs `act` with the library, the input's bytes and the time.
fn with<T>(mono_ms: f64, act: impl FnOnce(&mut Library, MonoTime, &[u8]) -> T) -> T {
    MODULE.with_borrow_mut(|Module { input, library, .. }| act(library, MonoTime::from_millis(mono_ms as u64), input))
}

/// Makes a result the output: 1 with a text, or 0 with an error's.
fn answer(result: Result<impl Display, impl Display>) -> u32 {
    let (text, is_fine) = match result {
        Ok(text) => (text.to_string(), 1),
        Err(error) => (error.to_string(), 0),
    };
    MODULE.with_borrow_mut(|module| module.output = text.into_bytes());
    is_fine
}

fn peer(connection: u32) -> PeerId {
    PeerId(connection.into())
}

/// The light client said something about content: the input is a message's kind and payload, or nothing if the peer
/// offers content.
#[unsafe(no_mangle)]
pub extern "C" fn received(connection: u32, mono_ms: f64) {
    with(mono_ms, |library, now, input| match input {
        [] => library.offers(now, peer(connection)),
        // The light client has decoded it before.
        [kind, payload @ ..] => {
            if let Some(message) = ContentMessage::decode(*kind, payload) {
                library.received(now, peer(connection), message);
            }
        }
    });
}

/// A connection has ended.
#[unsafe(no_mangle)]
pub extern "C" fn gone(connection: u32, mono_ms: f64) {
    with(mono_ms, |library, now, _| library.gone(now, peer(connection)));
}

/// Fetches the file that the input, a CID and perhaps a path, names, or lists the directory: 1, or 0 with an error's text.
#[unsafe(no_mangle)]
pub extern "C" fn fetch(mono_ms: f64) -> u32 {
    answer(with(mono_ms, |library, now, text| {
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        library.fetch(now, text).map(|()| "").map_err(|error| error.to_string())
    }))
}

/// Ends the fetch.
#[unsafe(no_mangle)]
pub extern "C" fn stop() {
    with(0.0, |library, _, _| library.stop());
}

/// Goes on: to be called after output 4, and each second of a fetch.
#[unsafe(no_mangle)]
pub extern "C" fn tick(mono_ms: f64) {
    with(mono_ms, |library, now, _| library.tick(now));
}

/// Where the fetch stands, as lines: bytes that are here and bytes of the file, or `-` if that is not known; then for
/// each peer that sent blocks for the last fetch its connection and their bytes.
#[unsafe(no_mangle)]
pub extern "C" fn progress() {
    MODULE.with_borrow_mut(|Module { output, library, .. }| {
        let (read, size) = library.progress();
        let size = size.map_or("-".to_owned(), |size| size.to_string());
        let given = library.given().iter().map(|(PeerId(peer), bytes)| format!("\n{peer} {bytes}"));
        *output = given.fold(format!("{read} {size}"), |lines, line| lines + &line).into_bytes();
    });
}

/// The next answer to a peer's wants: 1 with a message to send, with length and kind. 0 if it has none for now.
#[unsafe(no_mangle)]
pub extern "C" fn serve(connection: u32, mono_ms: f64) -> u32 {
    let message = with(mono_ms, |library, now, _| library.answer(now, peer(connection)));
    let is_some = message.is_some();
    MODULE.with_borrow_mut(|module| {
        module.output = message.map(|message| message.frame().to_bytes()).unwrap_or_default()
    });
    is_some.into()
}

/// Whether a peer waits for an answer.
#[unsafe(no_mangle)]
pub extern "C" fn owes() -> u32 {
    with(0.0, |library, _, _| library.owes().into())
}

/// Begins to share a file.
#[unsafe(no_mangle)]
pub extern "C" fn share() {
    with(0.0, |library, _, _| library.share());
}

/// Takes the input, the file's next bytes: 1, or 0 with an error's text, after which nothing of it is kept.
#[unsafe(no_mangle)]
pub extern "C" fn write() -> u32 {
    answer(with(0.0, |library, _, bytes| library.write(bytes)).map(|()| ""))
}

/// Ends the file: 1 with its CID, or 0 with an error's text.
#[unsafe(no_mangle)]
pub extern "C" fn finish() -> u32 {
    answer(with(0.0, |library, _, _| library.finish()))
}

/// Forgets a file that was begun and not finished.
#[unsafe(no_mangle)]
pub extern "C" fn give_up() {
    with(0.0, |library, _, _| library.give_up());
}

/// Shares the file with the input, its CID, no longer.
#[unsafe(no_mangle)]
pub extern "C" fn unshare() {
    with(0.0, |library, _, text| {
        if let Some(root) = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
            library.unshare(&root);
        }
    });
}

/// Shares nothing any more.
#[unsafe(no_mangle)]
pub extern "C" fn clear() {
    with(0.0, |library, _, _| library.clear());
}

/// The next output, as the table above has it.
#[unsafe(no_mangle)]
pub extern "C" fn next_output() -> u64 {
    MODULE.with_borrow_mut(|Module { output, library, .. }| {
        output.clear();
        let Some(next) = library.next_output() else { return 0 };
        let (kind, argument, bytes) = match next {
            Output::Send(PeerId(connection), message) => (1, connection, message.frame().to_bytes()),
            Output::Penalise(PeerId(connection), fault) => (2, connection, codec::encode(&fault)),
            Output::Piece(bytes) => (3, 0, bytes),
            Output::Again => (4, 0, Vec::new()),
            Output::Seek(NodeId(key)) => (7, 0, key.to_vec()),
            Output::Entry(Entry { name, cid, dag_size }) => {
                (6, 0, [format!("{cid}\n{dag_size}\n").as_bytes(), &name].concat())
            }
            Output::Ended(Ok(Whole::File)) => (5, 1, Vec::new()),
            Output::Ended(Ok(Whole::Directory)) => (5, 2, Vec::new()),
            Output::Ended(Err(error)) => (5, 0, error.to_string().into_bytes()),
        };
        *output = bytes;
        kind << 32 | argument
    })
}
