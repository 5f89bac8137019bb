//! Tables for people; programs read `--json`.

use comfy_table::{ContentArrangement, Table};
use std::io::Write;

/// Prints an aligned table without frames. Nothing at all without rows.
///
/// # Errors
/// If stdout is gone.
pub(super) fn print(headers: &[&str], rows: Vec<Vec<String>>) -> std::io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(std::io::stdout(), "{}", text(headers, rows))
}

/// The same as a text; empty without rows.
pub(super) fn text(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().map(|header| header.to_uppercase()));
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|cell| plain(&cell))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Without what would command a terminal: modules and devices have a say in many texts.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_columns_and_leaves_no_blanks_at_the_ends_of_lines() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let table = text(&["sink", "waiting"], vec![row("odoo", "12"), row("a-long-name", "0")]);
        assert_eq!(table, "SINK         WAITING\nodoo         12\na-long-name  0");
    }
}
