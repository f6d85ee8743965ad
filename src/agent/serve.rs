//! Serves metrics in separate tasks: on a unix socket, and over TLS if configured. Every client
//! gets the loop's last publication, and no client blocks the loop.

mod tls;

use std::{
    convert::Infallible, fs, io, os::unix::fs::PermissionsExt, pin::Pin, sync::Arc, time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use openssl::ssl::Ssl;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_openssl::SslStream;

use crate::{
    config::settings::{MetricsSettings, Settings},
    model::{
        published::Published,
        shell,
        trouble::{Problem, Trouble},
    },
    report::metrics,
    roots::Roots,
};

/// Number of simultaneous connections on the socket, and the same number over TLS; more are closed
/// immediately.
const CONNECTIONS: usize = 8;
/// The longest duration of a connection.
const TIME: Duration = Duration::from_secs(10);
const HEADERS_BYTES: usize = 16 << 10;
/// Interval for retrying to bind a socket.
const RETRY: Duration = Duration::from_secs(10);

/// `None` until the first publication.
pub(super) type Latest = watch::Receiver<Option<Arc<Published>>>;

/// Serves until the agent ends. `problems` gets problems, and their end.
pub(super) async fn serve(
    roots: Roots,
    mut settings: watch::Receiver<Settings>,
    latest: Latest,
    problems: mpsc::UnboundedSender<Option<Problem>>,
) {
    let mut server = Server {
        roots,
        latest,
        local: Arc::new(Semaphore::new(CONNECTIONS)),
        remote: Arc::new(Semaphore::new(CONNECTIONS)),
        said: None,
        problems,
    };
    loop {
        let wanted = settings.borrow_and_update().metrics.clone();
        let listeners = server.listen(&wanted).await;
        if server.until_news(&wanted, listeners, &mut settings).await.is_err() {
            // The socket belongs to this agent and ends with it.
            let _ = fs::remove_file(server.roots.metrics_socket());
            return;
        }
    }
}

struct Server {
    roots: Roots,
    latest: Latest,
    local: Arc<Semaphore>,
    remote: Arc<Semaphore>,
    said: Option<Problem>,
    problems: mpsc::UnboundedSender<Option<Problem>>,
}

#[derive(Default)]
struct Listeners {
    unix: Option<UnixListener>,
    tcp: Option<TcpListener>,
}

/// The agent ends.
struct Ends;

impl Server {
    async fn listen(&mut self, wanted: &MetricsSettings) -> Listeners {
        let mut listeners = Listeners::default();
        let mut problems = Vec::new();
        let path = self.roots.metrics_socket();
        match unix(&path) {
            Ok(listener) => listeners.unix = Some(listener),
            Err(error) => {
                let path = self.roots.shown(&path).into_owned();
                let text = format!("cannot serve metrics at {}: {error}", path.display());
                let look = vec![format!("ls -ld {}", shell::path(&path))];
                problems.push(Problem::new(Trouble::Metrics, text).with_remedy(look));
            }
        }
        if let Some(address) = wanted.listen {
            let bound = TcpListener::bind(address).await.map_err(|error| error.to_string());
            match (bound, tls::context(&self.roots, wanted)) {
                (Ok(listener), tls) => {
                    listeners.tcp = Some(listener);
                    problems.extend(tls.err().map(|error| error.problem()));
                }
                (Err(error), _) => {
                    let text =
                        format!("cannot serve metrics at {address}: {error} (metrics.listen)");
                    problems.push(Problem::new(Trouble::Metrics, text));
                }
            }
        }
        self.say(Problem::joined(problems)).await;
        listeners
    }

    /// Accepts until the settings change, or a failed socket is due for a retry.
    async fn until_news(
        &mut self,
        wanted: &MetricsSettings,
        listeners: Listeners,
        settings: &mut watch::Receiver<Settings>,
    ) -> Result<(), Ends> {
        let Listeners { unix, tcp } = &listeners;
        let incomplete = unix.is_none() || (wanted.listen.is_some() && tcp.is_none());
        let again = Instant::now() + RETRY;
        loop {
            tokio::select! {
                accepted = accept_unix(unix.as_ref()) => match accepted {
                    Ok(stream) => self.answer(&self.local, async { Ok::<_, io::Error>(stream) }),
                    Err(_) => pause().await,
                },
                accepted = accept_tcp(tcp.as_ref()) => match accepted {
                    Ok(stream) => self.answer_by_tls(wanted, stream).await,
                    Err(_) => pause().await,
                },
                changed = settings.changed() => {
                    changed.map_err(|_| Ends)?;
                    if settings.borrow_and_update().metrics != *wanted {
                        return Ok(());
                    }
                }
                () = sleep_until(again), if incomplete => return Ok(()),
            }
        }
    }

    /// Reads certificate and key now, so that renewed ones take effect.
    async fn answer_by_tls(&mut self, wanted: &MetricsSettings, stream: TcpStream) {
        if self.remote.available_permits() == 0 {
            return;
        }
        match tls::context(&self.roots, wanted) {
            Ok(context) => {
                self.say(None).await;
                self.answer(&self.remote, async move {
                    let ssl = Ssl::new(&context).map_err(io::Error::from)?;
                    let mut stream = SslStream::new(ssl, stream).map_err(io::Error::from)?;
                    Pin::new(&mut stream).accept().await.map_err(io::Error::other)?;
                    Ok(stream)
                });
            }
            Err(error) => self.say(Some(error.problem())).await,
        }
    }

    /// Answers in a separate task, unless there are too many connections.
    fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        permits: &Arc<Semaphore>,
        connect: impl Future<Output = io::Result<S>> + Send + 'static,
    ) {
        let Ok(permit) = permits.clone().try_acquire_owned() else { return };
        let latest = self.latest.clone();
        tokio::spawn(async move {
            // The client notices a broken connection.
            let _ = timeout(TIME, converse(connect, latest)).await;
            drop(permit);
        });
    }

    async fn say(&mut self, problem: Option<Problem>) {
        if self.said != problem {
            self.said.clone_from(&problem);
            // Fails only while the agent ends.
            let _ = self.problems.send(problem);
        }
    }
}

/// Binds a socket for root, and replaces one that another agent has left.
pub(super) fn unix(path: &std::path::Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept_unix(listener: Option<&UnixListener>) -> io::Result<tokio::net::UnixStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn accept_tcp(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Another part may release descriptors meanwhile.
async fn pause() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    connect: impl Future<Output = io::Result<S>>,
    latest: Latest,
) -> io::Result<()> {
    let stream = connect.await?;
    let service = service_fn(|request| {
        let response = respond(&request, latest.borrow().as_deref());
        async { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIME)
        .max_buf_size(HEADERS_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

fn respond(request: &Request<Incoming>, latest: Option<&Published>) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "not found: only /metrics exists\n");
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET"));
        return response;
    }
    let Some(published) = latest else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the first pass is not complete\n");
    };
    let accepts = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let open = accepts.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let (text, format) = if open {
        (
            metrics::open_metrics(published),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )
    } else {
        (metrics::prometheus(published), "text/plain; version=0.0.4; charset=utf-8")
    };
    match text {
        Ok(text) => {
            let mut response = Response::new(Full::from(text));
            let format = hyper::header::HeaderValue::from_static(format);
            response.headers_mut().insert(CONTENT_TYPE, format);
            response
        }
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot write a value\n"),
    }
}
