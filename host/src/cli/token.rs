//! `tapline token`: a fresh token of the API, and the lines that let it in.

use std::process::ExitCode;

use sha2::{Digest, Sha256};

use super::remote::say;
use crate::config::site::Role;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What its user is called in the log and in `tapline config log`
    #[arg(value_parser = name)]
    name: String,
    /// What its user may do
    #[arg(long, value_delimiter = ',', default_value = "read")]
    roles: Vec<Role>,
    /// The day from which it is refused, such as 2027-02-01; without, it is good for ever
    #[arg(long, value_name = "DAY", value_parser = day)]
    expires: Option<String>,
}

fn day(text: &str) -> Result<String, String> {
    match crate::config::push::parse_time(&format!("{text}T00:00:00Z")) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write a day such as 2027-02-01".to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.len() <= 64 && text.chars().all(fine) {
        Ok(text.to_owned())
    } else {
        Err("a name has letters, digits, `-` and `_`".to_owned())
    }
}

/// The token goes to stdout and is kept nowhere; the site file gets its hash.
pub(super) fn token(args: &Args) -> ExitCode {
    // Two random UUIDs are 244 bits from the system's generator.
    let random = || uuid::Uuid::new_v4().simple().to_string();
    let token = format!("tl_{}{}", random(), random());
    let digest = Sha256::digest(token.as_bytes());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let roles: Vec<_> = args.roles.iter().map(|role| format!("\"{role}\"")).collect();
    // Nobody reads it any more: then it is of no use, and that is that.
    let _read = say(&token);
    eprintln!("\nPut this into tapline.toml; the token is shown once and kept nowhere:\n");
    eprintln!("[http.tokens.{}]\nsha256 = \"{hash}\"\nroles  = [{}]", args.name, roles.join(", "));
    if let Some(day) = &args.expires {
        eprintln!("expires = \"{day}\"");
    }
    ExitCode::SUCCESS
}
