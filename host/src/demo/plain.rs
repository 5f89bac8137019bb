//! The demo without a terminal: a line for each thing that happens.

use std::io::Write;
use std::time::Duration;

use super::show::Face;
use super::told::Told;
use super::view::View;

/// Lines on stdout.
#[derive(Default)]
pub(super) struct Plain {
    records: usize,
    events: u64,
    is_begun: bool,
    next_sum: Duration,
}

/// Between two lines with the counters.
const SUM: Duration = Duration::from_secs(10);

impl Face for Plain {
    fn tell(&mut self, told: &Told) {
        say(told.at, &told.kind, &told.text);
    }

    fn show(&mut self, view: &View) -> std::io::Result<()> {
        if !self.is_begun {
            self.is_begun = true;
            let names: Vec<_> =
                view.machines.iter().map(|m| format!("{} ({})", m.name, m.model)).collect();
            say(view.at, "machines", &names.join(", "));
            say(view.at, "odoo", "listens, with no records yet");
        }
        if view.records.len() > self.records {
            let new = view.records.len() - self.records;
            for record in view.records.iter().take(new).rev() {
                let words = format!("{}: session since {} UTC", record.machine, record.started);
                say(view.at, "odoo_record", &words);
            }
            self.records = view.records.len();
        }
        if view.arrivals.delivered > self.events {
            self.events = view.arrivals.delivered;
            say(view.at, "odoo_has", &format!("{} event(s)", self.events));
        }
        if view.is_ready && view.at >= self.next_sum {
            self.next_sum = view.at + SUM;
            let (m, standing) = (view.standing.messages, &view.standing);
            let words = format!(
                "received {}, committed {}, filtered {}, dead-lettered {}, duplicates {}; \
                 waiting {}, delivered {}, lost {}, twice {}",
                m.received,
                m.committed,
                m.filtered,
                m.dead_lettered,
                m.duplicates,
                standing.waiting,
                view.arrivals.delivered,
                view.arrivals.gaps,
                view.arrivals.twice
            );
            say(view.at, "counters", &words);
        }
        Ok(())
    }
}

fn say(at: Duration, kind: &str, text: &str) {
    // A reader that closed the pipe has seen enough; the exit code still tells.
    let _ = writeln!(std::io::stdout(), "{:6.1} s  {kind:<18} {text}", at.as_secs_f64());
}
