//! What a status says of the delivery that was sent.

use tapline_sdk::prelude::*;

/// The outcome of one request; `path` is where it went, for the reasons.
pub(crate) fn outcome(
    path: &str,
    same_for_all: bool,
    count: usize,
    response: &Response,
) -> Outcome {
    let text = response.text();
    let words = if text.trim().is_empty() { "no words".to_owned() } else { text };
    let rejection = |status: u16| {
        Rejection::new(format!("http-{status}"), format!("`{path}` answered {status}: {words}"))
    };
    match response.status {
        200..=299 => Outcome::Verdicts(vec![Verdict::Delivered; count]),
        408 | 425 | 429 | 502 | 503 | 504 => Outcome::Retry(retry_after(response)),
        status @ 300..=399 => {
            let to = response.header("location").unwrap_or("nowhere");
            let remedy = "write the address it leads to as the endpoint's URL";
            Outcome::Pause(format!("`{path}` answered {status} and leads to `{to}`: {remedy}"))
        }
        status @ (401 | 403 | 407) => {
            let remedy = "correct the credentials of the endpoint";
            Outcome::Pause(format!("`{path}` answered {status} ({words}): {remedy}"))
        }
        // An address that is made of the delivery may be wrong for it alone.
        status @ (404 | 405 | 410) if same_for_all => {
            let remedy = "check the endpoint's URL, `path` and `method`";
            Outcome::Pause(format!("`{path}` answered {status} ({words}): {remedy}"))
        }
        // A fault over there: ten times, then it is set aside.
        500..=599 => Outcome::Verdicts(vec![Verdict::Retry(0); count]),
        status => Outcome::Split(rejection(status)),
    }
}

/// Milliseconds that the other side asks for; 0 where it says nothing, or a date.
fn retry_after(response: &Response) -> u32 {
    let seconds = response.header("retry-after").and_then(|text| text.trim().parse::<u32>().ok());
    seconds.unwrap_or(0).saturating_mul(1000)
}
