//! A wallet's secret as a WebAssembly module: exported functions over bytes, without glue that a tool generates.
//!
//! It is a module of its own, apart from the light client's (`crates/web`), so that the memory which has the secret is not that
//! in which bytes of strangers are read; and the page drops it, with all that is in it, when the wallet is locked.
//!
//! The page puts an input's bytes where [`room`] says, and calls a function: 1, with the answer at [`output`], or 0.

// An exported name is an attribute that the language counts as unsafe; there is no unsafe code here.
#![allow(unsafe_code)]

mod secret;

use std::cell::RefCell;

use secret::Secret;
use zeroize::Zeroizing;

/// What lies in the module's memory.
struct Module {
    input: Zeroizing<Vec<u8>>,
    output: Zeroizing<Vec<u8>>,
    secret: Option<Secret>,
}

thread_local! {
    static MODULE: RefCell<Module> = RefCell::new(Module {
        input: Zeroizing::default(),
        output: Zeroizing::default(),
        secret: None,
    });
}

/// Where the next input's `length` bytes are to be written. Valid until the next call.
#[unsafe(no_mangle)]
pub extern "C" fn room(length: u32) -> *mut u8 {
    MODULE.with_borrow_mut(|module| {
        module.input = vec![0; length as usize].into();
        module.input.as_mut_ptr()
    })
}

/// Where the answer's bytes are. Valid until the next call.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    MODULE.with_borrow(|module| module.output.as_ptr())
}

/// How many bytes there are.
#[unsafe(no_mangle)]
pub extern "C" fn output_length() -> u32 {
    MODULE.with_borrow(|module| module.output.len() as u32)
}

/// Runs `act` on the secret and the input, which is wiped.
fn answer(act: impl FnOnce(&mut Option<Secret>, &[u8]) -> Option<Vec<u8>>) -> u32 {
    MODULE.with_borrow_mut(|module| {
        let answer = act(&mut module.secret, &module.input);
        module.input = Zeroizing::default();
        let given = answer.is_some();
        module.output = answer.unwrap_or_default().into();
        given.into()
    })
}

/// The input, 16 or 32 bytes, as BIP-39's words: the index of each in the list, two bytes, little-endian.
#[unsafe(no_mangle)]
pub extern "C" fn word_indices() -> u32 {
    answer(|_, entropy| secret::indices(entropy))
}

/// The bytes of such indices; 0 if their number or the checksum is wrong.
#[unsafe(no_mangle)]
pub extern "C" fn word_bytes() -> u32 {
    answer(|_, indices| secret::entropy(indices))
}

/// Encrypts a secret under a passphrase as in a wallet's file. The input is a salt of 16 random bytes, a nonce of 12, the
/// secret with its length before it in four bytes, and the passphrase. The output is Argon2's memory in KiB, passes and lanes,
/// four bytes each, and the encrypted bytes.
#[unsafe(no_mangle)]
pub extern "C" fn seal() -> u32 {
    answer(|_, input| secret::seal(input))
}

/// The secret of encrypted bytes; 0 if the passphrase is another. The input is memory, passes and lanes, the salt, the nonce,
/// the encrypted bytes with their length before them in four bytes, and the passphrase.
#[unsafe(no_mangle)]
pub extern "C" fn unseal() -> u32 {
    answer(|_, input| secret::unseal(input))
}

/// Keeps the secret of the input, a backup's words in lower case with one space between them: its first `count` public keys, 32
/// bytes each.
#[unsafe(no_mangle)]
pub extern "C" fn unlock(count: u32) -> u32 {
    answer(|secret, words| secret.insert(Secret::new(words, count)?).keys().into())
}

/// Signs a payment from coins of those keys. The input is the genesis block's hash, then a transaction without signatures and
/// the outputs that it spends, in the order of its inputs, encoded as a pair. The output is the signed transaction. 0 if a coin is
/// not of those keys, or there is no secret.
#[unsafe(no_mangle)]
pub extern "C" fn sign() -> u32 {
    answer(|secret, input| secret.as_ref()?.sign(input))
}
