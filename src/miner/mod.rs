//! Making blocks: what to put into one ([`template`]), the search for its nonce ([`kernel`]), the threads that do it
//! ([`worker`]), and how fast they are ([`rate`]).

pub mod kernel;
pub mod rate;
pub mod template;
pub mod worker;
