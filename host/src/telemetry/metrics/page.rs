//! One page of `/metrics`: samples by metric, written as OpenMetrics text.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Snapshot;
use super::table::{Kind, METRICS, Metric};

/// What one scrape answers. Metrics without a sample are named all the same, so that a page
/// tells everything that there can be.
#[derive(Debug, Default)]
pub struct Page {
    /// By stem.
    samples: HashMap<&'static str, Vec<Sample>>,
}

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Level(f64),
    Distribution(Snapshot),
}

impl Page {
    /// The content type of [`Page::text`].
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// A counter's value; `labels` are values in the order of the table.
    pub fn count(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        debug_assert_eq!(metric.kind, Kind::Counter);
        self.put(metric, labels, Value::Count(value));
    }

    /// A gauge's value.
    #[allow(clippy::cast_precision_loss)] // what Prometheus reads is a float anyway
    pub fn level(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        self.real(metric, labels, value as f64);
    }

    /// A gauge's value that is no whole number.
    pub fn real(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(metric.kind, Kind::Gauge);
        self.put(metric, labels, Value::Level(value));
    }

    /// 1 or 0.
    pub fn flag(&mut self, metric: &Metric, labels: &[&str], value: bool) {
        self.level(metric, labels, u64::from(value));
    }

    pub fn distribution(&mut self, metric: &Metric, labels: &[&str], value: Snapshot) {
        debug_assert_eq!(metric.kind, Kind::Histogram);
        self.put(metric, labels, Value::Distribution(value));
    }

    fn put(&mut self, metric: &Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name());
        let labels = metric.labels.iter().zip(labels).map(|(n, v)| (*n, (*v).to_owned()));
        self.samples
            .entry(metric.stem)
            .or_default()
            .push(Sample { labels: labels.collect(), value });
    }

    /// The page in the form that Prometheus reads.
    ///
    /// # Errors
    /// If the encoder refuses; a text takes everything that a page can hold.
    pub fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("tapline");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in METRICS {
            let unit = metric.unit.map(|unit| Unit::Other(unit.to_owned()));
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let help = format!("{}.", metric.help);
            let mut family = encoder.encode_descriptor(metric.stem, &help, unit.as_ref(), kind)?;
            for sample in self.samples.get(metric.stem).into_iter().flatten() {
                if sample.labels.is_empty() {
                    sample.value.write(&mut family)?;
                } else {
                    let labels = sample.labels.as_slice();
                    sample.value.write(&mut family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Value {
    fn write(&self, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Count(value) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
            Self::Level(value) => encoder.encode_gauge(value),
            Self::Distribution(seen) => encoder.encode_histogram::<NoLabelSet>(
                seen.sum(),
                seen.count(),
                &seen.buckets(),
                None,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Histogram, table};
    use super::*;

    #[test]
    fn a_page_is_open_metrics_text() {
        let mut page = Page::default();
        page.count(&table::RECEIVED, &["workshop"], 7);
        page.real(&table::UPTIME, &[], 1.5);
        let sizes = Histogram::of_sizes();
        sizes.size(3);
        page.distribution(&table::BATCH_MESSAGES, &["workshop"], sizes.snapshot());
        let text = page.text().unwrap();
        for line in [
            "# TYPE tapline_pipeline_received counter",
            "tapline_pipeline_received_total{pipeline=\"workshop\"} 7",
            "# UNIT tapline_uptime_seconds seconds",
            "tapline_uptime_seconds 1.5",
            "tapline_pipeline_batch_messages_bucket{le=\"4.0\",pipeline=\"workshop\"} 1",
            "tapline_pipeline_batch_messages_bucket{le=\"+Inf\",pipeline=\"workshop\"} 1",
            "# TYPE tapline_pipeline_dead_lettered counter",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let mut page = Page::default();
        page.count(&table::RECEIVED, &["a\"} 9\n# \\"], 1);
        let text = page.text().unwrap();
        let line = r##"tapline_pipeline_received_total{pipeline="a\"} 9\n# \\"} 1"##;
        assert!(text.lines().any(|l| l == line), "{text}");
    }

    #[test]
    fn a_page_names_every_metric_of_the_table() {
        let text = Page::default().text().unwrap();
        for metric in METRICS {
            let name = metric.name();
            let name = name.strip_suffix("_total").unwrap_or(&name);
            assert!(text.contains(&format!("# TYPE {name} {}\n", metric.kind.name())), "{name}");
        }
    }
}
