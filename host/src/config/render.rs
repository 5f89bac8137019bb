//! Problems as text for people: rustc's layout, with or without colour.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::problem::Problem;

/// How much a problem weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// For whom the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A file, a pipe, a test.
    Plain,
    /// A terminal that shows colours.
    Colour,
}

/// All problems, one after the other, each with file, line, caret and remedy.
pub fn render(problems: &[Problem], severity: Severity, look: Look) -> String {
    let renderer = match look {
        Look::Plain => Renderer::plain(),
        Look::Colour => Renderer::styled(),
    };
    let mut text = String::new();
    for problem in problems {
        text.push_str(&renderer.render(&[group(problem, severity)]));
        text.push_str("\n\n");
    }
    text
}

/// What `tapline check` says: warnings, problems, and a line that counts both.
pub fn report(problems: &[Problem], warnings: &[Problem], look: Look) -> String {
    let mut text = render(warnings, Severity::Warning, look);
    text.push_str(&render(problems, Severity::Error, look));
    let count = |number: usize, noun: &str| match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    };
    match (problems.len(), warnings.len()) {
        (0, 0) => text.push_str("fine\n"),
        (0, warnings) => text.push_str(&format!("fine, with {}\n", count(warnings, "warning"))),
        (problems, 0) => text.push_str(&format!("{}\n", count(problems, "problem"))),
        (problems, warnings) => {
            let (problems, warnings) = (count(problems, "problem"), count(warnings, "warning"));
            text.push_str(&format!("{problems}, {warnings}\n"));
        }
    }
    text
}

fn group(problem: &Problem, severity: Severity) -> Group<'_> {
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let group = Group::with_title(level.primary_title(problem.what.as_str()));
    let group = match (&problem.place, &problem.origin) {
        (Some(place), _) if place.text.is_empty() => {
            let path = match &*place.path {
                "" => place.file.to_string(),
                path => format!("{}: {path}", place.file),
            };
            group.element(Origin::path(path))
        }
        (Some(place), _) => group.element(
            Snippet::source(&*place.text)
                .path(&*place.file)
                .annotation(AnnotationKind::Primary.span(place.span.clone())),
        ),
        (None, Some(origin)) => group.element(Origin::path(origin.display().to_string())),
        (None, None) => group,
    };
    group.element(Level::HELP.message(problem.remedy.as_str()))
}
