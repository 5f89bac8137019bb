//! The guides: all are found, what they point at is there, and what those for authors tell to type
//! gives what they show.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tapline::quantity;
use tapline_tests::{Setup, Tapline, project, typed_in};

use super::author::edit;

fn guides() -> PathBuf {
    project().join("docs/guides")
}

fn guide(name: &str) -> String {
    std::fs::read_to_string(guides().join(name)).expect("the guide is there")
}

/// Targets of Markdown links.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn every_guide_stands_in_the_index() {
    let index = guide("README.md");
    let linked: BTreeSet<_> = links(&index).collect();
    let files = std::fs::read_dir(guides()).expect("there are guides").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let missing: Vec<_> =
        names.filter(|name| name != "README.md" && !linked.contains(&**name)).collect();
    assert!(missing.is_empty(), "nobody finds {missing:?}");
}

/// The anchors of a document, as its readers' programs make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut code = false;
    let headings = text.lines().filter(move |line| {
        code ^= line.trim_start().starts_with("```");
        !code && line.starts_with('#')
    });
    let slug = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn links_into_documents_lead_to_headings_that_are_there() {
    let mut documents = vec![project().join("README.md"), project().join("wit/README.md")];
    for folder in ["docs", "docs/guides", "docs/decisions"] {
        let files = std::fs::read_dir(project().join(folder)).expect("it is there").flatten();
        documents.extend(files.map(|file| file.path()).filter(|path| is_document(path)));
    }
    let mut missing = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("it can be read");
        for (file, anchor) in links(&text).filter_map(|link| link.split_once('#')) {
            if file.contains("://") {
                continue;
            }
            let target = match file {
                "" => document.clone(),
                file => document.parent().expect("it lies in a folder").join(file),
            };
            let target = std::fs::read_to_string(&target).unwrap_or_default();
            if !anchors(&target).contains(anchor) {
                missing.push(format!("{}: {file}#{anchor}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "md")
}

#[test]
fn the_page_of_quantities_is_the_table() {
    let page = guide("quantities.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| number"));
    let rows: Vec<_> = rows.collect();
    let expected: Vec<_> = quantity::all()
        .iter()
        .map(|entry| {
            let quantity::Entry { number, name, unit, kind, meaning } = entry;
            let kind = format!("{kind:?}").to_lowercase();
            format!("| {number} | `{name}` | {unit} | {kind} | {meaning} |")
        })
        .collect();
    assert_eq!(rows, expected);
}

/// What a command of a guide prints, and how it ends.
async fn printed(tapline: &Tapline, script: &str) -> (Option<i32>, String) {
    let output = tapline.shell(script).output().await.expect("there is a shell");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("it prints text"))
}

/// What a guide shows behind a command: the block without a language that comes next. Lines that
/// are cut short are left out.
fn shown(guide: &str, command: &str) -> Vec<String> {
    let behind = guide.split_once(command).expect("the guide has the command").1;
    let block = behind.split("\n```\n").nth(1).unwrap_or_default();
    let lines = block.lines().filter(|line| !line.trim().is_empty() && !line.contains('…'));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn holds(text: &str, lines: &[String]) {
    assert!(!lines.is_empty());
    for line in lines {
        assert!(text.contains(line.trim_end()), "`{line}` is not in\n{text}");
    }
}

#[tokio::test]
async fn what_the_guides_for_authors_tell_to_type_gives_what_they_show() {
    let tapline = Setup::new().port(1883).site("tapline.toml", "format = 1\n").prepare();
    for block in &typed_in("write-a-parser.md")[..4] {
        tapline.types(block).await;
    }

    let text = guide("settings.md");
    let [inspect, check] = typed_in("settings.md").try_into().expect("two commands");
    let (code, said) = printed(&tapline, &inspect).await;
    assert_eq!(code, Some(0), "{said}");
    holds(&said, &shown(&text, &inspect));
    let pipeline = tapline.dir().join("site/pipelines/plant.toml");
    let settings =
        text.lines().find(|line| line.starts_with("settings = {")).expect("there is one");
    let module = "module = \"my-meter\"\ntopics = [\"plant/+\"]\n";
    edit(&pipeline, &[(module, &format!("{module}{settings}\n"))]);
    let (code, said) = printed(&tapline, &check).await;
    assert_eq!(code, Some(1), "{said}");
    holds(&said, &shown(&text, &check));
    edit(&pipeline, &[(settings, "")]);

    let text = guide("debug-a-module.md");
    let [test, explain] = typed_in("debug-a-module.md").try_into().expect("two commands");
    tapline.types(&test).await;
    let (code, said) = printed(&tapline, &explain).await;
    assert_eq!(code, Some(1), "{said}");
    holds(&said, &shown(&text, &explain));
    assert!(said.contains("invalid type: string \"much\", expected f64 at line 1 column 15"));

    for name in ["compatibility.md", "module-performance.md"] {
        let [inspect] = typed_in(name).try_into().expect("one command");
        let (code, said) = printed(&tapline, &inspect).await;
        assert_eq!(code, Some(0), "{said}");
        if name == "compatibility.md" {
            holds(&said, &shown(&guide(name), &inspect));
        }
    }

    // A panic comes with its words and its place in the author's source.
    let folder = tapline.dir().join("my-meter");
    let panics = "assert!(voltage.is_none_or(|volts| volts < 1000.0), \
                  \"no meter measures {voltage:?} V\");\n        let reading =";
    edit(&folder.join("src/lib.rs"), &[("let reading =", panics)]);
    let samples = folder.join("samples/my-meter.jsonl");
    let before = std::fs::read_to_string(&samples).expect("there are samples");
    let sample = r#"{"topic":"plant/saw","payload":"{\"voltage\":23000}","expect":[]}"#;
    std::fs::write(&samples, format!("{before}{sample}\n")).expect("scratch is writable");
    let (code, said) = printed(&tapline, &test).await;
    assert_eq!(code, Some(1), "{said}");
    for words in [
        "FAILED  samples/my-meter.jsonl:2: the module failed: panicked at src/lib.rs:",
        "no meter measures Some(23000.0) V",
        "1 of 2 samples passed",
    ] {
        assert!(said.contains(words), "{words} is not in\n{said}");
    }
}
