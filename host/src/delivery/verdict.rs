//! What an answer means for the deliveries of an exchange: the module's word, and the floor
//! below it.
//!
//! Invariant: the host only ever turns success into retry. A status other than 2xx, a
//! redirect and a web page are never success, whatever the module says.

use std::collections::HashSet;
use std::time::Duration;

use serde::de::IgnoredAny;

use super::http::excerpt;
use crate::message::Rejection;
use crate::module::sink::{Outcome, Response, Verdict};

/// The longest wait that the other side can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What became of one delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Judged {
    Delivered {
        duplicate: bool,
    },
    /// For good.
    Refused(Rejection),
    /// The answer blames this delivery without saying for good: one of its ten tries.
    Tried(String),
    /// Not now; says nothing about the delivery.
    Later {
        error: String,
        at_least: Duration,
    },
}

/// What became of an exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// One per delivery; `None`: it stands behind another one of its key.
    Each(Vec<Option<Judged>>),
    /// One of several is to blame: send halves.
    Halves,
    /// Nothing took effect, and the sink as a whole has to wait.
    Again {
        error: String,
        at_least: Duration,
    },
    /// Nobody knows what took effect.
    Unknown(String),
    Pause(String),
}

/// Judges the exchange of the deliveries with these `keys`, in order.
pub(super) fn judge(outcome: Outcome, response: &Response, keys: &[&str]) -> Judgement {
    let status = response.status;
    let asked = retry_after(response);
    match outcome {
        Outcome::Pause(reason) => Judgement::Pause(reason),
        Outcome::Prepared => {
            Judgement::Unknown("the module took an exchange for a preparation".into())
        }
        Outcome::Split(rejection) if keys.len() == 1 => {
            Judgement::Each(vec![Some(Judged::Refused(rejection))])
        }
        Outcome::Split(_) => Judgement::Halves,
        Outcome::Retry(ms) => {
            let verdicts = vec![Verdict::Retry(ms); keys.len()];
            each(verdicts, response, keys, asked)
        }
        Outcome::Verdicts(verdicts) if verdicts.len() == keys.len() => {
            each(verdicts, response, keys, asked)
        }
        Outcome::Verdicts(verdicts) => Judgement::Unknown(format!(
            "the module gave {} verdicts for {} deliveries (status {status})",
            verdicts.len(),
            keys.len()
        )),
    }
}

/// The answer in a few words.
pub(super) fn summary(response: &Response) -> String {
    let body = excerpt(&response.body);
    if body.is_empty() {
        format!("status {}", response.status)
    } else {
        format!("status {}: {body}", response.status)
    }
}

/// Claims that an answer may count as success at all.
pub(super) fn may_be_success(response: &Response) -> bool {
    (200..300).contains(&response.status) && !is_page(response)
}

fn each(verdicts: Vec<Verdict>, response: &Response, keys: &[&str], asked: Duration) -> Judgement {
    let lowered: Vec<Verdict> =
        verdicts
            .into_iter()
            .map(|verdict| {
                if falls_below_the_floor(&verdict, response) { Verdict::Retry(0) } else { verdict }
            })
            .collect();
    let error = summary(response);
    let longest = lowered.iter().filter_map(wait).max().unwrap_or_default().max(asked);
    let at_least = longest.min(LONGEST_WAIT);
    let nobody_singled_out = lowered.iter().all(|verdict| matches!(verdict, Verdict::Retry(_)));
    if nobody_singled_out {
        return match (blames_an_event(response) && at_least.is_zero(), keys.len()) {
            (true, 1) => Judgement::Each(vec![Some(Judged::Tried(error))]),
            (true, _) => Judgement::Halves,
            (false, _) => Judgement::Again { error, at_least },
        };
    }
    let mut waiting = HashSet::new();
    let judged = lowered.into_iter().zip(keys).map(|(verdict, key)| match verdict {
        Verdict::Delivered => Some(Judged::Delivered { duplicate: false }),
        Verdict::Duplicate => Some(Judged::Delivered { duplicate: true }),
        Verdict::Rejected(rejection) => Some(Judged::Refused(rejection)),
        // Where the other side keeps to the order, only the first of a key is to blame.
        Verdict::Retry(_) if !waiting.insert(*key) => None,
        Verdict::Retry(0) if asked.is_zero() && blames_an_event(response) => {
            Some(Judged::Tried(error.clone()))
        }
        Verdict::Retry(ms) => {
            let at_least = asked.max(Duration::from_millis(ms.into())).min(LONGEST_WAIT);
            Some(Judged::Later { error: error.clone(), at_least })
        }
    });
    Judgement::Each(judged.collect())
}

fn wait(verdict: &Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Retry(ms) => Some(Duration::from_millis((*ms).into())),
        _ => None,
    }
}

/// `Duplicate` does not say that this request succeeded but that an earlier one did, so it
/// may come with an error that names the violated id; never with a page, a redirect or a
/// status that says that nobody looked.
fn falls_below_the_floor(verdict: &Verdict, response: &Response) -> bool {
    match verdict {
        Verdict::Delivered => !may_be_success(response),
        Verdict::Duplicate => {
            let told = matches!(response.status, 409 | 422 | 500) && !response.body.is_empty();
            !may_be_success(response) && (!told || is_page(response))
        }
        Verdict::Retry(_) | Verdict::Rejected(_) => false,
    }
}

/// Claims that an answer is about what was sent rather than about the other side's state:
/// an error of its own that it has no name for, or a success with something wrong in it.
fn blames_an_event(response: &Response) -> bool {
    let status = response.status;
    let unknown_error = (500..600).contains(&status) && !matches!(status, 502..=504);
    unknown_error || !is_page(response) && (200..300).contains(&status)
}

/// Claims that an answer is a web page. The body tells: Odoo labels answers of its plain
/// routes as HTML, JSON and empty ones too.
fn is_page(response: &Response) -> bool {
    let body = response.body.trim_ascii();
    if body.is_empty() {
        return false;
    }
    let said = response.headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("content-type")
            && value.to_ascii_lowercase().contains("text/html")
    });
    body.starts_with(b"<") || said && serde_json::from_slice::<IgnoredAny>(body).is_err()
}

/// Seconds of `Retry-After`; dates are not read, our clock may be wrong.
fn retry_after(response: &Response) -> Duration {
    response
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs)
        .min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response {
        let kind = if body.starts_with('<') { "text/html; charset=utf-8" } else { "text/plain" };
        let headers = vec![("Content-Type".into(), kind.into())];
        Response { status, headers, body: body.as_bytes().to_vec() }
    }

    fn one(judged: Judged) -> Judgement {
        Judgement::Each(vec![Some(judged)])
    }

    fn again(error: &str, ms: u64) -> Judgement {
        Judgement::Again { error: error.into(), at_least: Duration::from_millis(ms) }
    }

    #[test]
    fn a_module_can_call_nothing_a_success_but_a_success() {
        let delivered = || Outcome::Verdicts(vec![Verdict::Delivered]);
        let duplicate = || Outcome::Verdicts(vec![Verdict::Duplicate]);
        let yes = |duplicate| one(Judged::Delivered { duplicate });
        let cases = [
            (delivered(), answer(200, "{}"), yes(false)),
            (delivered(), answer(204, ""), yes(false)),
            (delivered(), answer(302, ""), again("status 302", 0)),
            (delivered(), answer(200, "<html>x"), again("status 200: <html>x", 0)),
            (delivered(), answer(401, "no"), again("status 401: no", 0)),
            (delivered(), answer(503, ""), again("status 503", 0)),
            (delivered(), answer(500, "{}"), one(Judged::Tried("status 500: {}".into()))),
            (duplicate(), answer(200, "{}"), yes(true)),
            (duplicate(), answer(500, "UniqueViolation"), yes(true)),
            (duplicate(), answer(500, ""), one(Judged::Tried("status 500".into()))),
            (duplicate(), answer(500, "<html>"), one(Judged::Tried("status 500: <html>".into()))),
            (duplicate(), answer(302, "there"), again("status 302: there", 0)),
        ];
        for (outcome, response, expected) in cases {
            assert_eq!(judge(outcome, &response, &["a"]), expected, "{response:?}");
        }
    }

    #[test]
    fn refusals_stand_as_the_module_says_them() {
        let no = Rejection::new("no", "no such machine");
        let refused = one(Judged::Refused(no.clone()));
        for outcome in
            [Outcome::Split(no.clone()), Outcome::Verdicts(vec![Verdict::Rejected(no.clone())])]
        {
            assert_eq!(judge(outcome, &answer(422, "{}"), &["a"]), refused);
        }
        let split = judge(Outcome::Split(no), &answer(422, "{}"), &["a", "b"]);
        assert_eq!(split, Judgement::Halves);
        let pause = judge(Outcome::Pause("key".into()), &answer(401, ""), &["a", "b"]);
        assert_eq!(pause, Judgement::Pause("key".into()));
    }

    #[test]
    fn only_an_answer_about_one_delivery_counts_as_a_try() {
        let busy = answer(503, "");
        assert_eq!(judge(Outcome::Retry(0), &busy, &["a"]), again("status 503", 0));
        assert_eq!(judge(Outcome::Retry(70), &answer(500, ""), &["a"]), again("status 500", 70));
        let alone = one(Judged::Tried("status 500".into()));
        assert_eq!(judge(Outcome::Retry(0), &answer(500, ""), &["a"]), alone);
        assert_eq!(judge(Outcome::Retry(0), &answer(500, ""), &["a", "b"]), Judgement::Halves);
        let mut later = answer(429, "");
        later.headers.push(("retry-after".into(), "7".into()));
        assert_eq!(judge(Outcome::Retry(9), &later, &["a", "b"]), again("status 429", 7_000));
        later.headers.push(("x".into(), "y".into()));
        later.headers[1].1 = "999999".into();
        assert_eq!(judge(Outcome::Retry(0), &later, &["a"]), again("status 429", 3_600_000));
    }

    #[test]
    fn of_a_key_only_the_first_that_failed_is_to_blame() {
        let verdicts =
            vec![Verdict::Delivered, Verdict::Retry(0), Verdict::Retry(0), Verdict::Retry(5)];
        let judged = judge(Outcome::Verdicts(verdicts), &answer(200, ""), &["a", "b", "b", "c"]);
        let later =
            Judged::Later { error: "status 200".into(), at_least: Duration::from_millis(5) };
        let tried = Judged::Tried("status 200".into());
        let delivered = Judged::Delivered { duplicate: false };
        let expected = vec![Some(delivered), Some(tried), None, Some(later)];
        assert_eq!(judged, Judgement::Each(expected));
    }

    #[test]
    fn verdicts_that_do_not_line_up_say_nothing() {
        let short = judge(Outcome::Verdicts(vec![]), &answer(200, ""), &["a"]);
        assert!(matches!(short, Judgement::Unknown(_)));
        let odd = judge(Outcome::Prepared, &answer(200, ""), &["a"]);
        assert!(matches!(odd, Judgement::Unknown(_)));
    }
}
