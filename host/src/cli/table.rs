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

fn text(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().map(|header| header.to_uppercase()));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
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
