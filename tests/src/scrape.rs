//! A page of `/metrics`, to be asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::tapline::Tapline;

/// One scrape.
#[derive(Debug)]
pub struct Scrape {
    samples: Vec<Sample>,
    /// Names and kinds as the page declares them.
    pub families: BTreeMap<String, String>,
    pub text: String,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Tapline {
    /// `GET /metrics`.
    pub async fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Scrape::read(answer.body.as_str().expect("a page is text"))
    }
}

impl Scrape {
    /// Reads OpenMetrics text as far as Tapline writes it.
    pub fn read(text: &str) -> Self {
        let mut samples = Vec::new();
        let mut families = BTreeMap::new();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').expect("a type has a name");
                families.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                samples.push(sample(line));
            }
        }
        assert!(text.ends_with("# EOF\n"), "the page breaks off:\n{text}");
        Self { samples, families, text: text.to_owned() }
    }

    /// The sum of all samples with this name and these labels, whatever other labels they have.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(n, v)| sample.labels.get(*n).is_some_and(|is| is == v))
        };
        // Sums of counts of a test are far below what a float holds exactly.
        self.samples.iter().filter(fits).map(|sample| sample.value).sum::<f64>() as u64
    }

    /// Values of a label.
    pub fn values_of(&self, label: &str) -> BTreeSet<&str> {
        self.samples.iter().filter_map(|s| s.labels.get(label)).map(String::as_str).collect()
    }
}

fn sample(line: &str) -> Sample {
    let (left, value) = line.rsplit_once(' ').expect("a sample has a value");
    let (name, rest) = left.split_once('{').unwrap_or((left, ""));
    let labels = rest.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (name, value) = label.split_once('=').expect("a label has a value");
        (name.to_owned(), value.trim_matches('"').to_owned())
    });
    let value = value.parse().unwrap_or_else(|e| panic!("`{line}`: {e}"));
    Sample { name: name.to_owned(), labels: labels.collect(), value }
}
