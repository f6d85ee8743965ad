//! Lists and watches the pods of one node, object by object as they arrive: memory holds the
//! longest of them at a time, not all.

use std::{collections::VecDeque, error::Error as _, io};

use http_body_util::BodyExt;
use hyper::{
    Request, Response,
    body::Bytes,
    header::{ACCEPT_ENCODING, HeaderValue},
};
use kube::{
    Client,
    api::{ListParams, WatchParams},
    client::Body,
    core::Request as Api,
};

use super::{
    decode::{self, LONGEST_OBJECT, OddPod, PodEvent},
    errors::{chain, is_silence, refused},
    json::{Lines, NoList, Part, Splitter},
};
use crate::model::{plain::plain, pod::Pod};

/// Upper bound of a refusal's text, in bytes.
const LONGEST_REFUSAL: usize = 64 << 10;
/// Bytes that a watch adds around an object.
const AROUND: usize = 1 << 10;

/// The reason why a list or a watch ended early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("{}", refused(*code, message))]
    Refused { code: u16, message: String },
    #[error("{0}")]
    Broken(String),
    #[error(transparent)]
    NoList(#[from] NoList),
    #[error("the watch sent something that is not an event: {0}")]
    NoEvent(String),
}

impl From<kube::Error> for StreamError {
    fn from(error: kube::Error) -> Self {
        Self::Broken(chain(&error))
    }
}

fn selector(node_name: &str) -> String {
    format!("spec.nodeName={node_name}")
}

/// Asks for this node's pods only, because the API server refuses others; from its watch cache
/// (`resourceVersion=0`).
fn list_request(node_name: &str) -> kube::Result<Request<Vec<u8>>> {
    let parameters = ListParams::default().fields(&selector(node_name)).match_any();
    Api::new("/api/v1/pods").list(&parameters).map_err(kube::Error::BuildRequest)
}

/// Asks for this node's pods only, with bookmarks, for this many seconds.
fn watch_request(node_name: &str, version: &str, seconds: u32) -> kube::Result<Request<Vec<u8>>> {
    let parameters = WatchParams::default().fields(&selector(node_name)).timeout(seconds);
    Api::new("/api/v1/pods").watch(&parameters, version).map_err(kube::Error::BuildRequest)
}

/// Sends a request, and returns once the server grants it.
async fn granted(client: &Client, request: Request<Vec<u8>>) -> Result<Body, StreamError> {
    let mut request = request.map(Body::from);
    // The agent reads the stream as it arrives, without decompression.
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let response = client.send(request).await?;
    if response.status().is_success() {
        return Ok(response.into_body());
    }
    Err(refusal(response).await)
}

async fn refusal(response: Response<Body>) -> StreamError {
    let code = response.status().as_u16();
    let mut body = response.into_body();
    let mut text = Vec::new();
    // An unreadable rest of it is not needed.
    while text.len() < LONGEST_REFUSAL
        && let Ok(Some(data)) = data(&mut body).await
    {
        text.extend_from_slice(&data);
    }
    let (_, message) = decode::status(&text);
    StreamError::Refused { code, message }
}

/// Returns the next data; `None` at the end.
async fn data(body: &mut Body) -> Result<Option<Bytes>, kube::Error> {
    loop {
        match body.frame().await.transpose()? {
            // Trailers carry no data.
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            None => return Ok(None),
        }
    }
}

/// A list that is arriving.
#[derive(Debug)]
pub struct PodList {
    body: Body,
    /// `None` at the end of the list.
    splitter: Option<Splitter>,
    arrived: VecDeque<Result<Pod, OddPod>>,
    version: String,
    kept: Vec<String>,
}

impl PodList {
    /// Returns once the API server grants the list.
    ///
    /// `kept`: keys of annotations to keep in addition to the known ones.
    pub async fn begin(
        client: &Client,
        node_name: &str,
        kept: &[String],
    ) -> Result<Self, StreamError> {
        let body = granted(client, list_request(node_name)?).await?;
        let splitter = Some(Splitter::new(LONGEST_OBJECT));
        let (arrived, version, kept) = (VecDeque::new(), String::new(), kept.to_vec());
        Ok(Self { body, splitter, arrived, version, kept })
    }

    /// Returns the next pod; `None` only at the end of a complete list.
    pub async fn next(&mut self) -> Result<Option<Result<Pod, OddPod>>, StreamError> {
        loop {
            if let Some(pod) = self.arrived.pop_front() {
                return Ok(Some(pod));
            }
            let Some(splitter) = &mut self.splitter else { return Ok(None) };
            match data(&mut self.body).await? {
                Some(data) => splitter.push(&data, |part| {
                    self.arrived.push_back(match part {
                        Part::Whole(json) => decode::pod(json, &self.kept),
                        Part::Beginning(json) => Err(decode::too_long(json)),
                    });
                })?,
                None => {
                    let frame = self.splitter.take().map_or(Ok(Vec::new()), Splitter::end)?;
                    self.version = decode::list_version(&frame).map_err(NoList)?;
                }
            }
        }
    }

    /// Returns the version from which to watch, after all was read.
    pub fn version(self) -> String {
        self.version
    }
}

/// A granted watch.
#[derive(Debug)]
pub struct PodWatch {
    body: Body,
    lines: Lines,
    arrived: VecDeque<Result<(PodEvent, Option<String>), StreamError>>,
    kept: Vec<String>,
}

impl PodWatch {
    /// Returns once the API server grants the watch.
    pub async fn begin(
        client: &Client,
        node_name: &str,
        kept: &[String],
        version: &str,
        seconds: u32,
    ) -> Result<Self, StreamError> {
        let body = granted(client, watch_request(node_name, version, seconds)?).await?;
        let lines = Lines::new(LONGEST_OBJECT + AROUND);
        Ok(Self { body, lines, arrived: VecDeque::new(), kept: kept.to_vec() })
    }

    /// Returns the next event, and the version after it; `None` if the watch has ended, and can
    /// continue from the last version.
    pub async fn next(&mut self) -> Result<Option<(PodEvent, Option<String>)>, StreamError> {
        loop {
            if let Some(event) = self.arrived.pop_front() {
                return event.map(Some);
            }
            match data(&mut self.body).await {
                Ok(Some(data)) => self.lines.push(&data, |part| {
                    self.arrived.push_back(match part {
                        Part::Whole(line) => {
                            decode::event(line, &self.kept).ok_or_else(|| no_event(line))
                        }
                        Part::Beginning(line) => {
                            decode::long_event(line).ok_or_else(|| no_event(line))
                        }
                    });
                }),
                Ok(None) => return Ok(None),
                Err(error) if is_usual_end(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A refusal may arrive as a separate line.
fn no_event(line: &[u8]) -> StreamError {
    const SHOWN: usize = 100;
    match decode::status(line) {
        (0, _) => {
            let text = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]);
            StreamError::NoEvent(plain(&text).into_owned())
        }
        (code, message) => StreamError::Refused { code, message },
    }
}

/// Returns true for the end of a watch that a server, or a proxy, closes, or that was silent for
/// too long.
fn is_usual_end(error: &kube::Error) -> bool {
    if is_silence(error) {
        return true;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::UnexpectedEof)
            || error.to_string().contains("unexpected EOF during chunk")
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_from_the_watch_cache_and_are_of_one_node() {
        let list = list_request("node-a").unwrap();
        let uri = list.uri().to_string();
        assert_eq!(
            uri,
            "/api/v1/pods?&fieldSelector=spec.nodeName%3Dnode-a&resourceVersion=0&resourceVersionMatch=NotOlderThan"
        );
        let watch = watch_request("node-a", "7", 222).unwrap();
        let uri = watch.uri().to_string();
        for part in [
            "/api/v1/pods?",
            "watch=true",
            "timeoutSeconds=222",
            "fieldSelector=spec.nodeName%3Dnode-a",
            "allowWatchBookmarks=true",
            "resourceVersion=7",
        ] {
            assert!(uri.contains(part), "{uri}");
        }
    }
}
