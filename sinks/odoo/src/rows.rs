//! Deliveries to records, as `load()` takes them: names of fields, and rows of texts.

use tapline_sdk::Template;
use tapline_sdk::prelude::*;
use tapline_sdk::time::parse_rfc3339;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::productivity::Productivity;
use crate::settings::{Preset, Settings};

/// The fields of one record, the external id (`id`) first.
pub(crate) type Row = Vec<(String, String)>;

/// How deliveries become records.
#[derive(Debug)]
pub(crate) enum Mapping {
    Fields { external_id: Template, fields: Vec<(String, Template)> },
    Productivity(Productivity),
}

impl Mapping {
    /// The model that is written, and how.
    ///
    /// # Errors
    /// What does not fit together, in words for a person.
    pub(crate) fn new(settings: &Settings) -> Result<(String, Self), String> {
        let named = |name: &str, text: &str| {
            Template::parse(text).map_err(|error| format!("`{name}`: {error}"))
        };
        if settings.preset == Some(Preset::Productivity) {
            if settings.model.is_some() || settings.external_id.is_some() {
                return Err("`preset` sets `model` and `external_id` itself".into());
            }
            if !settings.fields.is_empty() {
                return Err("`preset` sets `fields` itself".into());
            }
            let workcenter = settings.workcenter.as_deref().unwrap_or("{labels.workcenter}");
            let workcenter = named("workcenter", workcenter)?;
            let productivity = Productivity::new(workcenter, settings.losses.clone());
            return Ok((Productivity::MODEL.to_owned(), Self::Productivity(productivity)));
        }
        if settings.workcenter.is_some() {
            return Err("`workcenter` is for `preset = \"productivity\"`".into());
        }
        let Some(model) = &settings.model else {
            return Err("`model` is missing: the model whose records are written, \
                        `maintenance.request` say, or `preset = \"productivity\"`"
                .into());
        };
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '_';
        if model.is_empty() || !model.chars().all(fine) {
            return Err(format!(
                "`model` is `{model}`; a model's name has small letters, digits, `.` and `_`"
            ));
        }
        if settings.fields.is_empty() {
            return Err("`fields` is missing: what the records hold, \
                        `{ name = \"{device}: {kind}\" }` say"
                .into());
        }
        if settings.fields.contains_key("id") {
            return Err("`fields.id` is the external id: set `external_id`".into());
        }
        let external_id = settings.external_id.as_deref().unwrap_or("tapline.{id}");
        let fields = settings.fields.iter().map(|(name, text)| {
            named(&format!("fields.{name}"), text).map(|template| (name.clone(), template))
        });
        let fields = fields.collect::<Result<_, _>>()?;
        Ok((
            model.clone(),
            Self::Fields { external_id: named("external_id", external_id)?, fields },
        ))
    }

    /// The records of a delivery, never none.
    pub(crate) fn rows(&self, delivery: &Delivery) -> Result<Vec<Row>, Rejection> {
        let (template, fields) = match self {
            Self::Productivity(productivity) => return productivity.rows(delivery),
            Self::Fields { external_id, fields } => (external_id, fields),
        };
        let id = template.fill(delivery).map_err(|missing| {
            Rejection::new("no-external-id", format!("`{}`: {missing}", template.text()))
        })?;
        let mut row = vec![("id".to_owned(), external_id(&id))];
        row.extend(fields.iter().filter_map(|(name, template)| {
            Some((name.clone(), value(template.fill(delivery).ok()?)))
        }));
        if row.len() == 1 {
            let why = "the delivery has nothing for any of the sink's `fields`";
            return Err(Rejection::new("no-fields", why));
        }
        Ok(vec![row])
    }
}

/// An external id that Odoo takes: a module's name, one dot, a name.
pub(crate) fn external_id(text: &str) -> String {
    let (module, name) = text.split_once('.').unwrap_or(("tapline", text));
    let clean = |text: &str| -> String {
        let fine = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        text.chars().map(fine).collect()
    };
    format!("{}.{}", clean(module), clean(name))
}

/// A time becomes what Odoo calls one; everything else stays.
fn value(text: String) -> String {
    parse_rfc3339(&text).map_or(text, datetime)
}

/// `2026-02-12 19:40:18`, in UTC and without parts of a second.
pub(crate) fn datetime(at: Timestamp) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    i64::try_from(at / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|at| at.format(format).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_external_ids_that_odoo_takes() {
        for (text, id) in [
            ("iot.press", "iot.press"),
            ("press", "tapline.press"),
            ("iot.hall 7.press/2", "iot.hall_7_press_2"),
            ("ä.ö", "_._"),
        ] {
            assert_eq!(external_id(text), id);
        }
    }

    #[test]
    fn writes_times_as_odoo_reads_them() {
        assert_eq!(value("2026-02-12T19:40:18.999Z".into()), "2026-02-12 19:40:18");
        assert_eq!(value("2026-02-12T20:40:18+01:00".into()), "2026-02-12 19:40:18");
        assert_eq!(value("since 2026".into()), "since 2026");
        assert_eq!(datetime(u64::MAX), "");
    }
}
