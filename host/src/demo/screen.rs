//! The one screen of the demo: machines left, Odoo's records right, what happens below.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, Wrap};

use super::script::KEYS;
use super::told::Tone;
use super::view::{MachineView, RecordView, View};

/// Below this columns would be cut off.
const LEAST: (u16, u16) = (78, 22);

/// Width of the records with all their columns.
const RECORDS: u16 = 46;
/// The least and the greatest width of the machines.
const LEFT: (u16, u16) = (30, 70);

/// Draws a picture.
pub(super) fn draw(frame: &mut Frame, view: &View) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let (width, height) = LEAST;
        let words = format!(
            "This terminal has {} x {} characters; the demo needs {width} x {height}.\n\
             Enlarge it, or run `tapline demo --plain`. q quits.",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), area);
        return;
    }
    let machines = view.machines.len() as u16;
    let [title, top, sums, told, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(machines * 2 + 2),
        Constraint::Length(5),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    // The records' columns have their widths, bars take any.
    let left = area.width.saturating_sub(RECORDS).clamp(LEFT.0, LEFT.1);
    let [left, right] =
        Layout::horizontal([Constraint::Length(left), Constraint::Min(0)]).areas(top);
    frame.render_widget(title_line(view), title);
    draw_machines(frame, left, &view.machines);
    draw_records(frame, right, view);
    frame.render_widget(counters(view), sums);
    draw_told(frame, told, view);
    frame.render_widget(keys_line(), keys);
}

fn title_line(view: &View) -> Line<'static> {
    let status = if view.is_ready { "" } else { "  Tapline is starting …" };
    Line::from(vec![
        Span::from(" Tapline demo ").bold().reversed(),
        Span::from(format!("  {}", clock(view.at))),
        Span::from("  five machines → MQTT → Tapline → Odoo"),
        Span::from(status).yellow(),
    ])
}

fn draw_machines(frame: &mut Frame, area: Rect, machines: &[MachineView]) {
    let block = Block::bordered().title(" Machines ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let mut text = Vec::new();
    for machine in machines {
        text.extend(machine_lines(machine, inner.width));
    }
    frame.render_widget(Paragraph::new(text), inner);
}

/// Name, power bar and power; state and session clock.
fn machine_lines(machine: &MachineView, width: u16) -> [Line<'static>; 2] {
    let width = usize::from(width);
    let style = state_style(&machine.state);
    let name = Span::from(format!("{:<12} ", machine.name)).bold();
    let state = Span::styled(format!("{:<8}", machine.state), style);
    let session =
        Span::from(machine.clock.map_or("  --:--".to_owned(), |d| format!("{:>7}", clock(d))));
    let watts = format!("{:>6.0} W", machine.watts);
    let room = width.saturating_sub(13 + 1 + 8);
    let model_room = width.saturating_sub(13 + 8 + 7);
    let model: String = machine.model.chars().take(model_room.saturating_sub(1)).collect();
    // Half a name helps nobody.
    let model = if model.len() == machine.model.len() { model } else { String::new() };
    [
        Line::from(vec![name, bar(machine, room).style(style), watts.into()]),
        Line::from(vec![
            Span::from(" ".repeat(13)),
            Span::from(format!("{model:<model_room$}")).dim(),
            state,
            session,
        ]),
    ]
}

fn bar(machine: &MachineView, room: usize) -> Span<'static> {
    let share = (machine.watts / machine.scale_w).clamp(0.0, 1.0);
    let full = (share * room as f64).round() as usize;
    Span::from(format!("{}{} ", "█".repeat(full), "·".repeat(room - full)))
}

fn state_style(state: &str) -> Style {
    match state {
        "working" => Style::new().fg(Color::Green),
        "standby" => Style::new().fg(Color::Yellow),
        "starting" | "stopping" => Style::new().fg(Color::Cyan),
        _ => Style::new().fg(Color::DarkGray),
    }
}

fn draw_records(frame: &mut Frame, area: Rect, view: &View) {
    let title = match view.odoo_is_there {
        true => Line::from(format!(" Odoo: {} session(s) ", view.records.len())),
        false => Line::from(" Odoo is away ").red().bold(),
    };
    let block = Block::bordered().title(title);
    let widths = [
        Constraint::Min(12),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Length(7),
    ];
    let header = Row::new(["machine", "state", "started", "took", "energy"]).dim();
    let table = Table::new(view.records.iter().map(record_row), widths).header(header).block(block);
    frame.render_widget(table, area);
}

fn record_row(record: &RecordView) -> Row<'static> {
    let style = match record.state.as_str() {
        "done" => Style::new(),
        state => state_style(state),
    };
    Row::new([
        record.machine.clone(),
        record.state.clone(),
        record.started.clone(),
        record.duration.map(clock).unwrap_or_default(),
        record.energy_wh.map(|wh| format!("{wh:.1} Wh")).unwrap_or_default(),
    ])
    .style(style)
}

fn counters(view: &View) -> Paragraph<'static> {
    let (m, standing, arrivals) = (view.standing.messages, &view.standing, view.arrivals);
    let status = |is_good, good: &str, bad: &str| match is_good {
        true => Span::from(good.to_owned()).green(),
        false => Span::from(bad.to_owned()).red().bold(),
    };
    let wrong = |n: u64| {
        let words = Span::from(n.to_string());
        if n == 0 { words.green() } else { words.red().bold() }
    };
    let tapline = match (standing.is_running, standing.is_connected) {
        (true, true) => Span::from("runs").green(),
        (true, false) => Span::from("runs without the broker").yellow(),
        (false, _) => Span::from("does not answer").red().bold(),
    };
    let title = Line::from(vec![
        Span::from(" Tapline "),
        tapline,
        Span::from(format!(" (killed {}×) ── broker ", standing.restarts)),
        status(view.broker_is_up, "up", "away"),
        Span::from(" ── Odoo "),
        status(view.odoo_is_there, "up", "away"),
        Span::from(" "),
    ]);
    let waiting = Span::from(standing.waiting.to_string());
    let mut outcome = vec![
        Span::from("to Odoo: waiting "),
        if standing.waiting > 0 { waiting.yellow().bold() } else { waiting },
        Span::from(format!("  delivered {}  lost ", arrivals.delivered)),
        wrong(arrivals.gaps),
        Span::from("  twice "),
        wrong(arrivals.twice),
    ];
    if let Some(trouble) = &standing.trouble {
        outcome.push(Span::from(format!("  ({trouble})")).dim());
    }
    let last = view.last_dead.as_deref().map(|last| format!(": {last}")).unwrap_or_default();
    Paragraph::new(vec![
        Line::from(format!(
            "received {} = committed {} + filtered {} + dead-lettered {} + duplicates {}",
            m.received, m.committed, m.filtered, m.dead_lettered, m.duplicates
        )),
        Line::from(outcome),
        Line::from(format!("dead letters {}{last}", standing.dead_letters)),
    ])
    .block(Block::bordered().title(title))
}

fn draw_told(frame: &mut Frame, area: Rect, view: &View) {
    let block = Block::bordered().title(" What happens ");
    let inner = block.inner(area);
    let skip = view.told.len().saturating_sub(usize::from(inner.height));
    let lines: Vec<Line> = view
        .told
        .iter()
        .skip(skip)
        .map(|told| {
            let kind = Span::from(format!("{:<16} ", told.kind));
            Line::from(vec![
                Span::from(format!("{:>5} ", clock(told.at))).dim(),
                match told.tone {
                    Tone::Plain => kind,
                    Tone::Good => kind.green(),
                    Tone::Bad => kind.red(),
                },
                Span::from(told.text.clone()),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn keys_line() -> Line<'static> {
    let mut spans = vec![Span::from(" ")];
    for (key, what, _) in KEYS {
        spans.push(Span::from(format!("{key} ")).bold());
        spans.push(Span::from(format!("{what}  ")).dim());
    }
    Line::from(spans)
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::demo::stage::Standing;
    use crate::demo::tally::{Arrivals, Messages};
    use crate::demo::told::Told;

    fn view() -> View {
        let machine = |name, watts, state: &str, seconds: Option<u64>| MachineView {
            name,
            model: "Shelly PM Mini",
            watts,
            scale_w: 1000.0,
            state: state.to_owned(),
            clock: seconds.map(Duration::from_secs),
        };
        View {
            at: Duration::from_secs(25),
            is_ready: true,
            machines: vec![
                machine("CNC mill", 640.0, "working", Some(83)),
                machine("Laser cutter", 3.0, "idle", None),
                machine("Compressor", 365.0, "standby", Some(9)),
                machine("Band saw", 20.0, "starting", None),
                machine("Kiln", 2400.0, "working", Some(4000)),
            ],
            records: vec![RecordView {
                machine: "Laser cutter".into(),
                state: "done".into(),
                started: "10:00:01".into(),
                duration: Some(Duration::from_secs(9)),
                energy_wh: Some(3.55),
            }],
            arrivals: Arrivals { delivered: 3, gaps: 0, twice: 0 },
            standing: Standing {
                messages: Messages {
                    received: 120,
                    committed: 100,
                    filtered: 19,
                    dead_lettered: 1,
                    duplicates: 0,
                },
                waiting: 4,
                dead_letters: 1,
                is_running: true,
                is_connected: true,
                ..Standing::default()
            },
            broker_is_up: true,
            odoo_is_there: false,
            last_dead: Some("Band saw not-json".into()),
            told: (0..30)
                .map(|n| Told {
                    at: Duration::from_secs(n),
                    kind: "session_started".into(),
                    text: format!("line {n}"),
                    tone: Tone::Good,
                    session: None,
                    state: None,
                })
                .collect(),
        }
    }

    fn text(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &view())).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_is_there_on_usual_terminals() {
        for (width, height) in [(78, 22), (80, 24), (100, 30), (200, 60)] {
            let text = text(width, height);
            for wanted in [
                "CNC mill",
                "Laser cutter",
                "Compressor",
                "Band saw",
                "Kiln",
                "640 W",
                "working",
                "1:23",
                "66:40",
                "Odoo is away",
                "10:00:01",
                "0:09",
                "3.5",
                "waiting 4",
                "lost 0",
                "twice 0",
                "received 120",
                "dead letters 1: Band saw not-json",
                "line 29",
                "duplicates 0",
                "█",
                "Wh",
                "quit",
                "0:25",
            ] {
                assert!(text.contains(wanted), "{wanted} at {width}x{height}:\n{text}");
            }
        }
    }

    #[test]
    fn a_tiny_terminal_says_so() {
        for (width, height) in [(40, 10), (77, 24), (80, 21), (1, 1)] {
            let text = text(width, height);
            assert!(width < 20 || text.contains("This terminal"), "{text}");
        }
    }

    #[test]
    fn a_bar_is_as_long_as_the_power_is_high() {
        let full = |watts| {
            let machine = MachineView { watts, ..view().machines[0].clone() };
            bar(&machine, 10).content.chars().filter(|c| *c == '█').count()
        };
        assert_eq!([-5.0, 0.0, 500.0, 1000.0, 9000.0].map(full), [0, 0, 5, 10, 10]);
    }
}
