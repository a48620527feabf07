//! Making blocks: the search for a nonce ([`kernel`]), and how fast it goes ([`rate`]).

pub mod kernel;
pub mod rate;
