//! `tapline dead-letters`: what was set aside, and what becomes of it.

mod act;

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};

use super::remote::{RemoteError, Target, finish, say};
use super::table;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List dead letters, the newest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Show all that is known of one: bytes, properties, module, reason, answer, next step
    Show {
        /// Its number in the list
        id: u64,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Send dead letters on their way again: messages through today's pipeline, deliveries to
    /// their sink
    Replay {
        #[command(flatten)]
        which: act::Which,
        /// Let publications to devices go, too; it is written down who did
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Throw dead letters away; it is written down who did
    Discard {
        #[command(flatten)]
        which: act::Which,
        #[command(flatten)]
        target: Target,
    },
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only of this pipeline
    #[arg(long, value_name = "PIPELINE")]
    pipeline: Option<String>,
    /// Only of this stage or sink
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Only with this code, `trap` say
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Only of this device
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Only since a time (`2026-02-12T19:40:18Z`) or for so long (`2h`)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

impl Filter {
    fn given(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("pipeline", &self.pipeline),
            ("stage", &self.stage),
            ("code", &self.code),
            ("device", &self.device),
            ("since", &self.since),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// The address of a page of the list.
    fn page(&self, limit: usize, cursor: Option<u64>) -> String {
        let mut query = reqwest::Url::parse("http://tapline/api/v1/dead-letters")
            .expect("it is written as an address");
        query.query_pairs_mut().extend_pairs(self.given());
        query.query_pairs_mut().append_pair("limit", &limit.to_string());
        if let Some(cursor) = cursor {
            query.query_pairs_mut().append_pair("cursor", &cursor.to_string());
        }
        format!("{}?{}", query.path(), query.query().unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Page {
    dead_letters: Vec<Value>,
    next: Option<u64>,
    count: u64,
}

/// Letters that one request asks for.
const PAGE: usize = 1_000;

pub(super) fn dead_letters(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List { filter, limit, json, target } => {
            finish(list(target, filter, *limit, *json))
        }
        Command::Show { id, json, target } => finish(show(target, *id, *json)),
        Command::Replay { which, force, target } => {
            act::act(target, which, act::Deed::Replay { force: *force })
        }
        Command::Discard { which, target } => act::act(target, which, act::Deed::Discard),
    }
}

fn list(
    target: &Target,
    filter: &Filter,
    limit: usize,
    json: bool,
) -> Result<ExitCode, RemoteError> {
    let remote = target.connect()?;
    let (mut left, mut cursor, mut rows) = (limit.max(1), None, Vec::new());
    let count = loop {
        let page: Page = remote.get(&filter.page(left.min(PAGE), cursor))?;
        left = left.saturating_sub(page.dead_letters.len());
        for letter in page.dead_letters {
            if !json {
                rows.push(row(&letter));
            } else if say(&letter.to_string()).is_break() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        cursor = page.next;
        if left == 0 || cursor.is_none() {
            break page.count;
        }
    };
    if !json {
        let shown = rows.len() as u64;
        let headers = ["id", "at", "pipeline", "stage", "code", "device", "tries", "detail"];
        table::print(&headers, rows).map_err(RemoteError::Output)?;
        if count == 0 {
            eprintln!("no dead letters");
        } else if shown < count {
            eprintln!("{shown} of {count}; more with --limit");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Characters of a reason that fit into a table.
const DETAIL: usize = 80;

fn row(letter: &Value) -> Vec<String> {
    let text = |name: &str| match &letter[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let detail = text("detail").replace(['\n', '\r', '\t'], " ");
    let detail = match detail.char_indices().nth(DETAIL) {
        Some((end, _)) => format!("{}…", &detail[..end]),
        None => detail,
    };
    let columns = ["id", "at", "pipeline", "stage", "code", "device", "attempts"];
    columns.into_iter().map(text).chain([detail]).collect()
}

fn show(target: &Target, id: u64, json: bool) -> Result<ExitCode, RemoteError> {
    let letter: Value = target.connect()?.get(&format!("/api/v1/dead-letters/{id}"))?;
    let mut text = String::new();
    if json {
        text = letter.to_string();
    } else {
        lines(&letter, 0, &mut text);
    }
    let _reader_may_go = say(text.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// One line a field, tables indented below their name.
fn lines(value: &Value, indent: usize, text: &mut String) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let pad = " ".repeat(indent);
        let name = name.replace('_', " ");
        match value {
            Value::Null => {}
            Value::Object(inner) if inner.is_empty() => {}
            Value::Object(_) => {
                text.push_str(&format!("{pad}{name}:\n"));
                lines(value, indent + 2, text);
            }
            Value::String(value) => text.push_str(&format!("{pad}{name}: {value}\n")),
            value => text.push_str(&format!("{pad}{name}: {value}\n")),
        }
    }
}

/// The body of a request that chooses by filter.
fn matching(filter: &Filter) -> Value {
    let given = filter.given().into_iter();
    Value::Object(given.map(|(name, value)| (name.to_owned(), json!(value))).collect())
}
