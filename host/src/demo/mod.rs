//! `tapline demo`: the main job at work, with nothing but this program.
//!
//! An embedded broker, five simulated machines and the stand-in for Odoo live in this process;
//! Tapline itself runs as a second one, with the shipped pipeline and modules, so that it can
//! be killed. Neighbours: `broker`, `simulate` and `stand_in` below, `cli` above. Invariant:
//! the demo touches nothing but loopback and a temporary directory of its own.

mod clock;
mod floor;
mod machines;
mod meter;
mod plain;
mod program;
mod screen;
mod script;
mod show;
mod site;
mod stage;
mod tally;
mod terminal;
mod told;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;

use clock::Clock;
use plain::Plain;
use stage::Stage;
use tally::Account;
use terminal::Screen;
use told::Teller;

/// How long the demo lasts without a terminal: its first round, with time to start before.
const WITHOUT_TERMINAL: Duration = Duration::from_secs(68);

/// What `tapline demo` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print plain lines instead of the screen, as without a terminal
    #[arg(long)]
    plain: bool,
    /// End after this time, such as 90s; default: never on the screen, 68s without one
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

/// Runs the demo. Exit code 0 only if nothing was lost, nothing came twice and every sum is
/// right.
///
/// # Errors
/// If a part of it cannot be started, or the terminal not be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let clock = Arc::new(Clock::start());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the async runtime does not start")?;
    let has_screen =
        !args.plain && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let done = runtime.block_on(async {
        let (teller, told) = Teller::new(clock.clone());
        let stage = Arc::new(Stage::set(clock, teller).await.context("the demo does not start")?);
        let played = if has_screen {
            let mut screen = Screen::take().context("the terminal cannot be used")?;
            let wishes = terminal::wishes()?;
            show::play(&stage, &mut screen, told, wishes, args.duration).await
            // The terminal is given back here, before anything else is printed.
        } else {
            let until = args.duration.unwrap_or(WITHOUT_TERMINAL);
            let (_nobody, wishes) = mpsc::channel(1);
            show::play(&stage, &mut Plain::default(), told, wishes, Some(until)).await
        };
        end(&stage, played).await
    });
    // A broker and an HTTP server of ours may still serve; they end with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Gives account, or says what went wrong and where to look.
async fn end(stage: &Stage, played: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let account = match played {
        Ok(()) => stage.close().await,
        Err(error) => Err(error),
    };
    match &account {
        Ok(account) if account.is_right() => println!("{}", ending(account)),
        Ok(account) => eprintln!("{}\nThis is not as it must be.", ending(account)),
        Err(_) => {}
    }
    if account.as_ref().is_ok_and(Account::is_right) {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("database and log are kept in {}", stage.keep().display());
    account.map(|_| ExitCode::FAILURE)
}

/// The account, and what to do next.
fn ending(account: &Account) -> String {
    let mut text = String::from("\nThe account:\n");
    for line in account.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(
        "\nNext:\n  \
         tapline init site         # writes a commented site of your own\n  \
         tapline check site        # says all that is wrong with it, and where\n  \
         tapline run --site site   # what you saw, with your broker and your Odoo",
    );
    text
}
