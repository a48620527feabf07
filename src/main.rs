//! The `cairn` command. Everything it does is in the library's [`cairn::cli`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn::cli::main()
}
