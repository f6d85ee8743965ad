//! Sentences for errors of the API server.

use std::time::SystemTime;

use tower::timeout::error::Elapsed;
use tower_http::timeout::TimeoutError;

use super::client::LONGEST_SILENCE;
use crate::model::{plain::plain, unknown::sentence};

/// Formats an error with all its causes in one line, made safe because the API server chooses the
/// text.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    // Its Display prints the answer with Rust's names and braces.
    if let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() {
        return plain(&refused(status.code, &status.message)).into_owned();
    }
    if is_silence(error) {
        return format!("no answer for {} s", LONGEST_SILENCE.as_secs());
    }
    let text = without_source_files(&sentence(error));
    let of_another = ["unable to get local issuer certificate", "self-signed certificate"];
    if of_another.iter().any(|words| text.contains(words)) {
        return "its certificate is not from the certificate authority in the kubeconfig"
            .to_owned();
    }
    // The words of kube and hyper for the parts of their code.
    let text = [
        "ServiceError: ",
        "HyperError: ",
        "client error (Connect): ",
        "client error (SendRequest): ",
    ]
    .iter()
    .fold(text, |text, word| text.replace(word, ""));
    plain(&text).into_owned()
}

/// Returns true if the API server did not answer within [`LONGEST_SILENCE`], or paused as long.
pub(super) fn is_silence(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.is::<Elapsed>() || error.is::<TimeoutError>())
}

/// Describes a refusal of the API server as a sentence: `User "x" cannot list resource "pods"`
/// becomes `refused: x may not list pods`.
pub fn refused(code: u16, message: &str) -> String {
    let words = || {
        let (_, rest) = message.split_once("User \"")?;
        let (user, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once('"')?;
        let why = rest.split_once(": ").map_or(String::new(), |(_, why)| format!(": {why}"));
        Some(format!("refused: {user} may not {verb} {resource}{why} ({code})"))
    };
    let message = if message.is_empty() { "without a reason" } else { message };
    match code {
        401 => format!("refused: it rejects the node's credentials: {message} (401)"),
        403 => words().unwrap_or_else(|| format!("refused: {message} (403)")),
        _ => format!("{message} ({code})"),
    }
}

/// Reports a wrong clock on this node if the certificate is not valid yet.
pub fn wrong_clock(text: &str, begins: Option<SystemTime>, now: SystemTime) -> Option<String> {
    let late = begins.is_some_and(|begins| now < begins);
    if !late && !text.contains("not yet valid") {
        return None;
    }
    let shown = jiff::Timestamp::try_from(now)
        .map_or_else(|e| e.to_string(), |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    Some(format!(
        "this node's clock is wrong: it shows {shown}, when a certificate is not yet valid"
    ))
}

/// Removes the places in OpenSSL's own source: `…:../ssl/statem/statem_clnt.c:1889:…`.
fn without_source_files(text: &str) -> String {
    let mut parts = text.split(':').peekable();
    let mut kept = Vec::new();
    while let Some(part) = parts.next() {
        let is_line = |next: &&str| !next.is_empty() && next.bytes().all(|b| b.is_ascii_digit());
        let is_source = [".c", ".h", ".rs"].iter().any(|suffix| part.ends_with(suffix));
        if is_source && !part.contains(' ') && parts.next_if(is_line).is_some() {
            continue;
        }
        kept.push(part);
    }
    kept.join(":")
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
