//! `cargo bench`: what `cairn bench` measures, built as for a release.
//!
//! `cargo bench -- hash merkle` chooses benchmarks by name. Without a name, those run that take some seconds each.

#![forbid(unsafe_code)]

use std::process::ExitCode;

const QUICK: [&str; 6] = ["hash", "merkle", "functions", "transport", "store", "receipts"];

fn main() -> ExitCode {
    // Cargo gives this argument to benchmarks that it runs, and only then.
    let (flags, named): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg == "--bench");
    if flags.is_empty() {
        return ExitCode::SUCCESS;
    }
    let names = if named.is_empty() { QUICK.map(str::to_owned).to_vec() } else { named };
    for name in names {
        println!("\n# {name}");
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_cairn")).args(["bench", &name]).status();
        if !status.is_ok_and(|status| status.success()) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
