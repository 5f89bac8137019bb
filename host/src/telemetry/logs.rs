//! Log lines: text for people, or one flat JSON object a line with S3's field names.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::clock;
use super::recent::Recent;
use crate::config::site::{Log, LogFormat};

/// Why logs cannot be written as configured.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log file `{}` cannot be opened: set another with LOG_FILE", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    #[error("log level `{0}` is none: use error, warn, info, debug or trace")]
    Level(String),
}

/// Starts the log of the process. A second call changes nothing.
///
/// # Errors
/// If the level is none, or the file cannot be opened.
pub fn start(log: &Log) -> Result<(), LogError> {
    let filter = filter(&log.level)?;
    let (writer, colour) = match &log.file {
        Some(path) => {
            let file = open(path).map_err(|e| LogError::File(path.clone(), e))?;
            (BoxMakeWriter::new(Mutex::new(file)), false)
        }
        None => (BoxMakeWriter::new(stderr), stderr().is_terminal()),
    };
    let writer = writer.and(|| Recent);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match log.format {
        LogFormat::Json => builder.event_format(JsonLine).try_init(),
        LogFormat::Text => builder.with_ansi(colour).with_target(false).try_init(),
    };
    // Tests start several in one process; the first one's log serves all.
    drop(started);
    Ok(())
}

fn open(path: &PathBuf) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let level = level.trim().to_ascii_lowercase();
    let level = if level == "warning" { "warn".to_owned() } else { level };
    let plain = ["error", "warn", "info", "debug", "trace", "off"].contains(&level.as_str());
    // A plain level is meant for Tapline: libraries speak only where something is wrong.
    let text = match level.as_str() {
        "debug" | "trace" | "info" => format!("warn,tapline={level}"),
        _ if plain => level.clone(),
        _ => level.clone(),
    };
    EnvFilter::try_new(text).map_err(|_| LogError::Level(level))
}

/// `{"timestamp": …, "level": "info", "event": "config_received", …}`
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        line.insert("timestamp".into(), clock::now().rfc3339().into());
        line.insert("level".into(), event.metadata().level().as_str().to_lowercase().into());
        event.record(&mut Fields(&mut line));
        if !line.contains_key("event") {
            line.insert("event".into(), name_of(event, &line));
        }
        // Lines of libraries that log in another way bring their source's place along.
        if let Some(target) = line.remove("log.target") {
            line.insert("event".into(), target);
            line.retain(|name, _| !name.starts_with("log."));
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// What an event without a name of its own is called: its message where that is one word, as
/// `sink_paused`, else the place that spoke.
fn name_of(event: &Event<'_>, line: &Map<String, Value>) -> Value {
    let is_word =
        |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let message = line.get("message").and_then(Value::as_str).filter(is_word);
    message.unwrap_or(event.metadata().target()).into()
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let text = super::words(value);
        self.put(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_has_the_names_that_s3_searches_for() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(JsonLine)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                event = "mqtt_message_received",
                device_id = "d1",
                power_w = 125.5,
                "message"
            );
        });
        let line: Value = serde_json::from_slice(&sink.0.lock().unwrap()).unwrap();
        assert_eq!(line["event"], "mqtt_message_received");
        assert_eq!(line["level"], "info");
        assert_eq!(line["power_w"], 125.5);
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn an_event_is_called_by_its_message_where_that_is_one_word() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(JsonLine)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("sink_paused");
            tracing::info!(target: "library", "a sentence");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines[0]["event"], "sink_paused");
        assert_eq!(lines[1]["event"], "library");
    }

    #[test]
    fn levels_are_those_of_s3() {
        for level in ["INFO", "debug", "Warning", "error", "tapline=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert!(filter("tapline=loud").is_err());
    }
}
