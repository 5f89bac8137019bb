//! Changes to a pipeline file's text that Tapline makes on a person's word: a shadow takes its
//! stage's place, or goes. Everything else stays as it is written, comments too.

use toml_edit::{DocumentMut, Item, TableLike, TomlError, value};

/// Why a text is not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("it is not what this program can change")]
    Syntax(#[from] TomlError),
    #[error("it has no [[{table}]] `{stage}` with a shadow")]
    NoShadow { table: &'static str, stage: String },
}

/// What is to become of a shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowEdit<'a> {
    /// This module, its own, takes the place of the live one.
    Promote(&'a str),
    Drop,
}

/// The text with the shadow of a stage promoted or dropped; `table` is `validate`, `parse` or
/// `detect`.
///
/// # Errors
/// If there is no such stage, or the text cannot be read.
pub fn edit_shadow(
    text: &str,
    table: &'static str,
    stage: &str,
    edit: ShadowEdit<'_>,
) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse()?;
    let none = || EditError::NoShadow { table, stage: stage.to_owned() };
    let written = document.get_mut(table).and_then(|list| find(list, stage)).ok_or_else(none)?;
    if !written.contains_key("shadow") {
        return Err(none());
    }
    if let ShadowEdit::Promote(module) = edit {
        let before = written.get("module").and_then(Item::as_str).ok_or_else(none)?.to_owned();
        set(written, "module", module);
        // Left out, it means the module's name: devices are to stay with this stage.
        if table == "parse" && !written.contains_key("parser_types") {
            let types: toml_edit::Array = [before].into_iter().collect();
            written.insert("parser_types", value(types));
        }
    }
    remove(written, "shadow");
    Ok(document.to_string())
}

/// The stage of this name, however its list is written.
fn find<'d>(list: &'d mut Item, stage: &str) -> Option<&'d mut dyn TableLike> {
    let is_it = |table: &dyn TableLike| table.get("name").and_then(Item::as_str) == Some(stage);
    match list {
        Item::ArrayOfTables(tables) => {
            let table = tables.iter_mut().find(|table| is_it(*table))?;
            Some(table)
        }
        Item::Value(toml_edit::Value::Array(tables)) => {
            let mut tables = tables.iter_mut().filter_map(toml_edit::Value::as_inline_table_mut);
            let table = tables.find(|table| is_it(*table))?;
            Some(table)
        }
        _ => None,
    }
}

/// Another value in the place of one, with what stands around it.
fn set(table: &mut dyn TableLike, key: &str, text: &str) {
    if let Some(old) = table.get_mut(key).and_then(Item::as_value_mut) {
        let around = old.decor().clone();
        *old = text.into();
        *old.decor_mut() = around;
    }
}

/// Removes a key, but not the comments above it: they may speak of more.
fn remove(table: &mut dyn TableLike, key: &str) {
    let keys: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
    let above = |table: &dyn TableLike, key: &str| {
        let prefix = table.key(key).and_then(|key| key.leaf_decor().prefix().cloned());
        prefix.and_then(|prefix| prefix.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let comments = above(table, key);
    let next = keys.iter().skip_while(|other| *other != key).nth(1);
    let is_value = |key: &&String| table.get(key).is_some_and(Item::is_value);
    let heir = next.filter(is_value).map_or("module", String::as_str).to_owned();
    if comments.contains('#') {
        let both = format!("{comments}{}", above(table, &heir));
        if let Some(mut heir) = table.key_mut(&heir) {
            heir.leaf_decor_mut().set_prefix(both);
        }
    }
    table.remove(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# hall 3\nformat = 1\n\n[[parse]]\nname   = \"meters\"  # all of them\n\
        module = \"meter\"    # since May\n# on trial\nshadow = \"meter-next.wasm\"\n\
        topics = [ \"a/#\",\n  \"b/#\" ]\n\n[parse.settings]\nx = 1\n\n[[parse]]\n\
        name = \"other\"\nmodule = \"meter\"\n";

    #[test]
    fn a_dropped_shadow_leaves_everything_else_as_it_was() {
        let text = edit_shadow(FILE, "parse", "meters", ShadowEdit::Drop).unwrap();
        assert_eq!(text, FILE.replace("shadow = \"meter-next.wasm\"\n", ""));
    }

    #[test]
    fn a_promoted_shadow_takes_the_modules_place_and_keeps_its_devices() {
        let edit = ShadowEdit::Promote("meter-next");
        let text = edit_shadow(FILE, "parse", "meters", edit).unwrap();
        let expected = FILE
            .replace("shadow = \"meter-next.wasm\"\n", "")
            .replace("\"meter\"    #", "\"meter-next\"    #")
            .replace("  \"b/#\" ]\n", "  \"b/#\" ]\nparser_types = [\"meter\"]\n");
        assert_eq!(text, expected);
        let written = FILE.replace("topics =", "parser_types = []\ntopics =");
        let text = edit_shadow(&written, "parse", "meters", edit).unwrap();
        assert_eq!(text.matches("parser_types").count(), 1);
    }

    #[test]
    fn stages_in_one_line_are_changed_too() {
        let text = "validate = [{ name = \"a\", module = \"m\", shadow = \"n\" }]\n";
        let text = edit_shadow(text, "validate", "a", ShadowEdit::Promote("n")).unwrap();
        assert_eq!(text, "validate = [{ name = \"a\", module = \"n\"}]\n");
    }

    #[test]
    fn a_stage_without_a_shadow_is_named() {
        let wrong = edit_shadow(FILE, "parse", "other", ShadowEdit::Drop).unwrap_err();
        assert_eq!(wrong.to_string(), "it has no [[parse]] `other` with a shadow");
        assert!(edit_shadow("a = ", "parse", "other", ShadowEdit::Drop).is_err());
    }
}
