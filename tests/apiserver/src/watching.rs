//! Watch: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>,
//! with bookmarks (KEP-956) and streaming lists (KEP-3157).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep_until};

use crate::app::App;
use crate::body::Body;
use crate::faults::{Fault, Garbage};
use crate::read::{View, check_fields, invalid_options};
use crate::request::RequestInfo;
use crate::stats::Entry;
use crate::status::{ApiError, ApiResult};
use crate::store::{Change, Subscription};

/// kube-apiserver's --min-request-timeout; a watch without timeoutSeconds lasts once to twice that.
const MIN_TIMEOUT: Duration = Duration::from_secs(1800);

/// The first events of a watch.
enum Start {
    /// Existing objects as ADDED; then, if requested, the bookmark that ends them.
    Objects {
        objects: Vec<Arc<Value>>,
        end: bool,
    },
    Changes,
    /// An ERROR event, after which the stream ends.
    Error(ApiError),
}

struct Watch {
    app: Arc<App>,
    info: RequestInfo,
    view: View,
    out: mpsc::Sender<io::Result<Bytes>>,
    stats: Arc<Entry>,
    fault: Fault,
    sent: u64,
}

/// The client is gone, or the stream must end.
struct Ended;

/// Opens a watch: rejects an invalid request immediately, and streams the rest.
pub(crate) fn watch(
    app: &Arc<App>,
    info: &RequestInfo,
    view: View,
    stats: Arc<Entry>,
    fault: Fault,
) -> ApiResult<Body> {
    check_fields(info)?;
    let initial = info.query.flag("sendInitialEvents");
    match (initial, info.query.get("resourceVersionMatch")) {
        (None, "") | (Some(_), "NotOlderThan") => {}
        (None, _) => {
            return invalid_options(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents \
                 is provided",
            );
        }
        (Some(_), _) => {
            return invalid_options(
                "resourceVersionMatch",
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to \
                 NotOlderThan",
            );
        }
    }
    let rv = info.query.number("resourceVersion")?.unwrap_or(0);
    let timeout = match info.query.number("timeoutSeconds")?.unwrap_or(0) {
        0 => MIN_TIMEOUT,
        seconds => Duration::from_secs(seconds),
    };
    let mut store = app.store.lock();
    let plural = info.resource.plural;
    let from_now = initial == Some(true) || rv == 0;
    let since = if from_now { store.rv() } else { rv };
    let (start, subscription) = match store.subscribe(plural, info.node(), since) {
        Err(too_old) => {
            let message = format!("too old resource version: {rv} ({})", too_old.oldest);
            (Start::Error(ApiError::expired(message)), None)
        }
        Ok(subscription) if from_now && initial != Some(false) => {
            let objects = store.list(plural, info.scope()).map(|(_, o)| o.clone()).collect();
            let end = initial == Some(true) && bookmarks(info);
            (Start::Objects { objects, end }, Some(subscription))
        }
        Ok(subscription) => (Start::Changes, Some(subscription)),
    };
    drop(store);
    let (out, chunks) = mpsc::channel(16);
    let watch = Watch { app: app.clone(), info: info.clone(), view, out, stats, fault, sent: 0 };
    tokio::spawn(watch.run(start, subscription, timeout));
    Ok(Body::Stream(chunks))
}

fn bookmarks(info: &RequestInfo) -> bool {
    info.query.flag("allowWatchBookmarks") == Some(true)
}

impl Watch {
    async fn run(mut self, start: Start, subscription: Option<Subscription>, timeout: Duration) {
        let mut dropped = self.app.drop_watches.subscribe();
        let work = async move {
            self.begin(start, subscription.as_ref()).await?;
            match subscription {
                Some(subscription) => self.follow(subscription, timeout).await,
                None => Err(Ended),
            }
        };
        tokio::select! {
            _ = work => {}
            _ = dropped.changed() => {}
        }
    }

    async fn begin(&mut self, start: Start, at: Option<&Subscription>) -> Result<(), Ended> {
        match start {
            Start::Changes => Ok(()),
            Start::Error(error) => {
                self.send("ERROR", &error.status).await?;
                Err(Ended)
            }
            Start::Objects { objects, end } => {
                for object in objects {
                    if self.wanted(&object) {
                        self.send("ADDED", &self.view.show(&self.info, &object)).await?;
                    }
                }
                if end {
                    let mut mark = self.bookmark(at.map_or(0, |s| s.rv));
                    mark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
                    self.send("BOOKMARK", &mark).await?;
                }
                Ok(())
            }
        }
    }

    async fn follow(&mut self, mut from: Subscription, timeout: Duration) -> Result<(), Ended> {
        for change in std::mem::take(&mut from.backlog) {
            self.pass_on(&change).await?;
        }
        let end = Instant::now() + timeout;
        let wants = bookmarks(&self.info);
        let every = self.app.bookmark_interval.max(Duration::from_millis(10));
        let mut marks = interval_at(Instant::now() + every, every);
        // The last bookmark arrives two seconds before the end, or at the end of a short watch.
        let last = end - timeout.min(Duration::from_secs(2)) / 2;
        let mut last_due = wants;
        loop {
            tokio::select! {
                biased;
                change = from.changes.recv() => match change {
                    Some(change) => self.pass_on(&change).await?,
                    None => return Err(Ended),
                },
                () = self.out.closed() => return Err(Ended),
                () = sleep_until(end) => return Err(Ended),
                () = sleep_until(last), if last_due => {
                    last_due = false;
                    self.mark(&mut from).await?;
                }
                _ = marks.tick(), if wants => self.mark(&mut from).await?,
            }
        }
    }

    /// A bookmark promises that everything before it was sent, so this sends that first.
    async fn mark(&mut self, from: &mut Subscription) -> Result<(), Ended> {
        let rv = self.app.store.lock().rv();
        while let Ok(change) = from.changes.try_recv() {
            self.pass_on(&change).await?;
        }
        let mark = self.bookmark(rv);
        self.send("BOOKMARK", &mark).await
    }

    fn bookmark(&self, rv: u64) -> Value {
        let mut mark = json!({
            "kind": self.info.resource.kind, "apiVersion": self.info.resource.api_version(),
            "metadata": {"resourceVersion": rv.to_string(), "creationTimestamp": null},
        });
        match (self.view, self.info.resource.plural) {
            (View::MetadataOnly, _) => mark = self.view.show(&self.info, &mark),
            (_, "pods") => {
                mark["spec"] = json!({"containers": null});
                mark["status"] = json!({});
            }
            (_, "nodes") => {
                mark["spec"] = json!({});
                mark["status"] = json!({"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
                                        "nodeInfo": {}});
            }
            _ => {}
        }
        mark
    }

    fn wanted(&self, object: &Value) -> bool {
        let meta = &object["metadata"];
        let scope = self.info.scope();
        (scope.is_empty() || meta["namespace"] == scope)
            && (self.info.name.is_empty() || meta["name"] == self.info.name.as_str())
            && self.info.labels.matches(object)
            && self.info.fields.matches(object)
    }

    /// Sends a change as this watch sees it: an object that starts to match is ADDED, one that
    /// stops is DELETED, with its last matching state and the resourceVersion of the change.
    async fn pass_on(&mut self, change: &Change) -> Result<(), Ended> {
        let old = change.old.as_deref().filter(|o| self.wanted(o));
        let new = change.new.as_deref().filter(|o| self.wanted(o));
        let (kind, object) = match (old, new) {
            (None, None) => return Ok(()),
            (None, Some(new)) => ("ADDED", new.clone()),
            (Some(_), Some(new)) => ("MODIFIED", new.clone()),
            (Some(old), None) => {
                let mut gone = old.clone();
                gone["metadata"]["resourceVersion"] = json!(change.rv.to_string());
                ("DELETED", gone)
            }
        };
        self.send(kind, &self.view.show(&self.info, &object)).await
    }

    async fn send(&mut self, kind: &str, object: &Value) -> Result<(), Ended> {
        if self.fault.cut_after_events.is_some_and(|n| self.sent >= n) {
            return self.cut().await;
        }
        let mut line = json!({"type": kind, "object": object}).to_string();
        line.push('\n');
        match self.fault.garbage.take() {
            Some(Garbage::Invalid) => line = "<html>gateway error</html>\n".to_owned(),
            Some(Garbage::Truncated) => {
                line.truncate(line.len() / 2);
                self.write(line).await?;
                return Err(Ended);
            }
            None => {}
        }
        self.write(line).await?;
        self.sent += 1;
        if self.fault.cut_after_events.is_some_and(|n| self.sent >= n) {
            return self.cut().await;
        }
        Ok(())
    }

    async fn write(&mut self, line: String) -> Result<(), Ended> {
        self.stats.sent(line.len());
        self.out.send(Ok(line.into())).await.map_err(|_| Ended)
    }

    async fn cut(&mut self) -> Result<(), Ended> {
        // Data in transit still arrive; then the connection breaks.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let broken = io::Error::new(io::ErrorKind::ConnectionReset, "cut by a fault");
        let _ = self.out.send(Err(broken)).await;
        Err(Ended)
    }
}
