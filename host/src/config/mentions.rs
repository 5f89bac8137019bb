//! Files that a site's texts name beside themselves: secrets, certificates, schemas. Whoever
//! watches for changes looks at these too, also at one that is not there yet.

use std::collections::BTreeSet;
use std::path::PathBuf;

use toml::{Table, Value};

use super::load::Texts;

/// Keys whose value is the path of a file, in tapline.toml and in pipelines.
const IN_SITE: [&str; 4] = ["file", "ca", "cert", "key"];
const IN_PIPELINES: [&str; 1] = ["schema"];

impl Texts {
    /// The files that the texts name. A text that cannot be parsed names none.
    pub fn mentions(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        if let Some(mut site) = self.site.as_deref().and_then(|text| text.parse::<Table>().ok()) {
            // What is written there while it runs is no input.
            site.remove("log");
            collect(&Value::Table(site), &IN_SITE, &mut found);
        }
        for pipeline in self.pipelines.iter().filter_map(|text| text.text.parse().ok()) {
            collect(&Value::Table(pipeline), &IN_PIPELINES, &mut found);
        }
        let dir = self.dir.clone().unwrap_or_default();
        found.into_iter().map(|file| dir.join(file)).collect()
    }
}

fn collect(value: &Value, keys: &[&str], found: &mut BTreeSet<String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                match value {
                    Value::String(path) if keys.contains(&name.as_str()) => {
                        found.insert(path.clone());
                    }
                    value => collect(value, keys, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, keys, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load::Text;
    use super::*;

    #[test]
    fn files_beside_the_texts_are_found_by_the_keys_that_name_them() {
        let site = r#"
            [broker.main]
            ca = "certs/ca.pem"
            password = { file = "/run/secrets/mqtt" }
            [http]
            tls = { cert = "certs/http.pem", key = "certs/http.key" }
            [log]
            file = "tapline.log"
        "#;
        let pipeline = "[[validate]]\nschema = \"pipelines/workshop.schema.json\"";
        let text = |text: &str| Text { file: "pipelines/workshop.toml".into(), text: text.into() };
        let texts = Texts {
            dir: Some("/site".into()),
            site: Some(site.into()),
            pipelines: vec![text(pipeline), text("[[broken")],
            ..Texts::default()
        };
        let expected = [
            "/run/secrets/mqtt",
            "/site/certs/ca.pem",
            "/site/certs/http.key",
            "/site/certs/http.pem",
            "/site/pipelines/workshop.schema.json",
        ];
        assert!(texts.mentions().iter().map(|p| p.as_path()).eq(expected.map(Path::new)));
    }
}
