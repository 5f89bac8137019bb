//! The program `tapline`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match tapline::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
