//! The control socket, by which root on the node suspends and resumes pods. A connection has one
//! request, with one line of JSON in each direction. The loop does the work, because it is the only
//! writer.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::suspend::SuspendNews;
use crate::{
    json_fault::described,
    model::suspend::{Reply, SuspendRequest},
    roots::Roots,
};

/// Number of requests that may be read at the same time; more are refused. A suspend that waits for
/// its answer does not count.
const CONNECTIONS: usize = 8;
const LONGEST_BYTES: u64 = 4096;
/// Time for the request to arrive, and for the client to read its answer.
const TIME: Duration = Duration::from_secs(5);
/// Interval for retrying to bind the socket.
const RETRY: Duration = Duration::from_secs(10);

/// Serves until the task is aborted, or the agent ends.
pub(super) async fn serve(roots: Roots, news: mpsc::UnboundedSender<SuspendNews>) {
    let path = roots.control_socket();
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let listener = match super::serve::unix(&path) {
            Ok(listener) => listener,
            Err(error) => {
                let shown = roots.shown(&path).display().to_string();
                let text = format!("wasp-agent suspend does not work: {shown}: {error}");
                if news.send(SuspendNews::Problem(Some(text))).is_err() {
                    return;
                }
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        if news.send(SuspendNews::Problem(None)).is_err() {
            return;
        }
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Another part may release descriptors meanwhile.
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let Ok(permit) = permits.clone().try_acquire_owned() else {
                // A new socket has room for this; the agent does not wait for a client that does
                // not read it.
                let reply = refused("too many requests at the same time; try again");
                if let Ok(text) = line(&reply) {
                    let _ = stream.try_write(text.as_bytes());
                }
                continue;
            };
            let (news, path) = (news.clone(), path.clone());
            tokio::spawn(async move {
                // The client notices a broken connection.
                let _ = converse(stream, &path, &news, permit).await;
            });
        }
    }
}

async fn converse(
    mut stream: UnixStream,
    path: &Path,
    news: &mpsc::UnboundedSender<SuspendNews>,
    permit: OwnedSemaphorePermit,
) -> io::Result<()> {
    let asked = asked(&mut stream, path).await;
    drop(permit);
    let reply = match asked {
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            let ends = || refused("the agent is stopping");
            match news.send(SuspendNews::Asked(request, answer)) {
                Ok(()) => tokio::select! {
                    answer = answered => answer.unwrap_or_else(|_| ends()),
                    () = gone(&mut stream) => return Ok(()),
                },
                Err(_) => ends(),
            }
        }
        Err(error) => refused(&format!("cannot parse the request: {error}")),
    };
    timeout(TIME, stream.write_all(line(&reply)?.as_bytes())).await?
}

fn line(reply: &Reply) -> serde_json::Result<String> {
    Ok(serde_json::to_string(reply)? + "\n")
}

/// Returns when the client has closed its side and so no longer waits.
async fn gone(stream: &mut UnixStream) {
    let mut more = [0; 64];
    while let Ok(1..) = stream.read(&mut more).await {}
}

fn refused(text: &str) -> Reply {
    Reply::Refused { text: text.to_owned() }
}

/// Reads the request, if it comes from the user that the agent runs as: root.
async fn asked(stream: &mut UnixStream, path: &Path) -> io::Result<SuspendRequest> {
    let (peer, own) = (stream.peer_cred()?.uid(), fs::metadata(path)?.uid());
    if peer != own {
        let text = format!("user {peer} may not send requests; only root may");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(LONGEST_BYTES));
    timeout(TIME, reader.read_line(&mut line)).await??;
    serde_json::from_str(&line).map_err(|error| io::Error::other(described(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves a socket, and sends a request to it.
    async fn ask(text: &str) -> (Reply, Option<SuspendRequest>) {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let (send, mut news) = mpsc::unbounded_channel();
        let server = tokio::spawn(serve(roots.clone(), send));
        assert!(matches!(news.recv().await, Some(SuspendNews::Problem(None))), "it is bound");
        let mode = fs::metadata(roots.control_socket()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut stream = UnixStream::connect(roots.control_socket()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut line = String::new();
        let mut asked = None;
        let mut reader = BufReader::new(stream);
        tokio::select! {
            Some(SuspendNews::Asked(request, answer)) = news.recv() => {
                asked = Some(request);
                answer.send(Reply::Done { text: "done".into(), rows: Vec::new() }).unwrap();
                reader.read_line(&mut line).await.unwrap();
            }
            read = reader.read_line(&mut line) => drop(read.unwrap()),
        }
        server.abort();
        (serde_json::from_str(&line).unwrap(), asked)
    }

    #[tokio::test]
    async fn a_request_is_handed_on_and_answered() {
        let text =
            "{\"command\":\"suspend\",\"namespace\":\"vms\",\"pod\":\"vm\",\"force\":true}\n";
        let (reply, asked) = ask(text).await;
        assert_eq!(reply, Reply::Done { text: "done".into(), rows: Vec::new() });
        let (namespace, pod) = ("vms".to_owned(), "vm".to_owned());
        assert_eq!(
            asked,
            Some(SuspendRequest::Suspend { namespace, pod, dry_run: false, force: true })
        );
    }

    /// Regression: eight suspends in progress blocked `resume`.
    #[tokio::test]
    async fn requests_that_wait_for_an_answer_hold_no_place_and_clients_may_go() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let (send, mut news) = mpsc::unbounded_channel();
        let server = tokio::spawn(serve(roots.clone(), send));
        assert!(matches!(news.recv().await, Some(SuspendNews::Problem(None))));
        let connect = || UnixStream::connect(roots.control_socket());
        let mut waiting = Vec::new();
        for _ in 0..=CONNECTIONS {
            let mut stream = connect().await.unwrap();
            stream.write_all(b"{\"command\":\"suspended\"}\n").await.unwrap();
            let Some(SuspendNews::Asked(_, answer)) = news.recv().await else { panic!() };
            waiting.push((stream, answer));
        }
        let (stream, mut answer) = waiting.pop().unwrap();
        drop(stream);
        timeout(TIME, answer.closed()).await.expect("nobody waits for it");
        // Clients that send nothing use a connection each, until their time is over.
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(connect().await.unwrap());
        }
        let mut line = String::new();
        BufReader::new(connect().await.unwrap()).read_line(&mut line).await.unwrap();
        assert!(line.contains("too many requests"), "{line}");
        server.abort();
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        for text in ["\n", "{}\n", "{\"command\":\"kill\"}\n", &"x".repeat(5000)] {
            let (reply, asked) = ask(text).await;
            let Reply::Refused { text } = reply else { panic!("{reply:?}") };
            assert!(text.contains("cannot parse the request"), "{text}");
            assert_eq!(asked, None);
        }
    }
}
