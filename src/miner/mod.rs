//! Mining: block templates ([`template`]), the nonce search ([`kernel`]), its threads ([`worker`]) and hash rates
//! ([`rate`]).

pub mod kernel;
pub mod rate;
pub mod template;
pub mod worker;
