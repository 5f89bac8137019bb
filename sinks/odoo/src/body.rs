//! What the body of an answer is, judged by the body itself: Odoo's controllers label JSON
//! as HTML, and an empty answer too.

use serde_json::Value;
use tapline_sdk::prelude::*;

/// The body of an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Body {
    Empty,
    Json(Value),
    /// JSON was promised or begun, and is not there as a whole.
    Broken,
    /// A web page, by its title or beginning.
    Page(String),
    /// Something else, by its beginning.
    Text(String),
}

impl Body {
    pub(crate) fn read(response: &Response) -> Self {
        let kind = response.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let text = String::from_utf8_lossy(&response.body);
        let text = text.trim_start_matches('\u{feff}').trim();
        let json = kind.contains("json");
        if text.is_empty() {
            // 204 promises nothing, whatever its headers say.
            return if json && response.status != 204 { Self::Broken } else { Self::Empty };
        }
        if let Ok(value) = serde_json::from_str(text) {
            return Self::Json(value);
        }
        if text.starts_with('<') {
            return Self::Page(title(text).unwrap_or_else(|| excerpt(text)));
        }
        if json || text.starts_with(['{', '[']) {
            return Self::Broken;
        }
        if kind.contains("html") { Self::Page(excerpt(text)) } else { Self::Text(excerpt(text)) }
    }
}

/// The beginning of a text on one line, short enough for a log line or a table.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|character| !character.is_control()).take(LONGEST));
        if line.chars().count() > LONGEST {
            return line.chars().take(LONGEST).chain(['…']).collect();
        }
    }
    line
}

fn title(page: &str) -> Option<String> {
    // Bytes of ASCII keep their places in lower case, so the positions hold.
    let lower = page.to_ascii_lowercase();
    let from = lower.find("<title")?;
    let from = from + lower[from..].find('>')? + 1;
    let to = from + lower[from..].find("</title")?;
    let title = excerpt(&page[from..to]);
    (!title.is_empty()).then_some(title)
}
