//! The listener: TLS with an optional client certificate, HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, SslVerifyMode, select_next_proto};
use openssl::x509::X509;
use openssl::x509::store::X509Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_openssl::SslStream;

use crate::api::handle;
use crate::app::{App, Outage};
use crate::auth::{Peer, trust_store};
use crate::pki::Pki;

/// TLS, and the trust for checking client certificates.
pub(crate) struct Tls {
    acceptor: SslAcceptor,
    trust: X509Store,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn new(pki: &Pki) -> Result<Self> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        let pem = pki.server_path();
        builder
            .set_certificate_chain_file(&pem)
            .and_then(|()| builder.set_private_key_file(&pem, openssl::ssl::SslFiletype::PEM))
            .with_context(|| format!("loading {}", pem.display()))?;
        let ca = std::fs::read(pki.ca_path())
            .with_context(|| format!("reading {}", pki.ca_path().display()))?;
        let ca = X509::from_pem(&ca)?;
        builder.add_client_ca(&ca)?;
        // As in kube-apiserver: the handshake asks for a certificate, and each request checks it.
        builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        builder.set_alpn_select_callback(|_, offered| {
            select_next_proto(b"\x02h2\x08http/1.1", offered).ok_or(AlpnError::NOACK)
        });
        // A session would restore certificates that the client does not show again.
        builder.set_session_cache_mode(openssl::ssl::SslSessionCacheMode::OFF);
        builder.set_options(openssl::ssl::SslOptions::NO_TICKET);
        builder.set_num_tickets(0)?;
        Ok(Self { acceptor: builder.build(), trust: trust_store(ca)? })
    }
}

/// Serves until `stop` changes.
pub(crate) async fn serve(
    app: Arc<App>,
    tls: Arc<Tls>,
    mut listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let address = listener.local_addr()?;
    let mut outage = app.outage.subscribe();
    loop {
        tokio::select! {
            _ = stop.changed() => return Ok(()),
            _ = outage.changed() => {
                let (_, time) = *outage.borrow_and_update();
                drop(listener);
                tokio::select! {
                    () = tokio::time::sleep(time) => {}
                    _ = stop.changed() => return Ok(()),
                }
                listener = bind(address)?;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // As far as this loop has seen: a connection in between is cut off too.
                    let ends = (stop.clone(), outage.clone());
                    tokio::spawn(connection(app.clone(), tls.clone(), stream, ends));
                }
                // Out of descriptors, or the peer is gone again.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

/// Binds with SO_REUSEADDR, because the port is reused while old connections linger.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener> {
    let open = || {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    };
    open().with_context(|| format!("listening on {address}"))
}

async fn connection(
    app: Arc<App>,
    tls: Arc<Tls>,
    stream: TcpStream,
    (mut stop, mut outage): (watch::Receiver<bool>, watch::Receiver<Outage>),
) {
    tokio::select! {
        // The client notices a broken connection.
        _ = talk(app, tls, stream) => {}
        _ = stop.changed() => {}
        _ = outage.changed() => {}
    }
}

async fn talk(app: Arc<App>, tls: Arc<Tls>, stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = SslStream::new(Ssl::new(tls.acceptor.context())?, stream)?;
    Pin::new(&mut stream).accept().await?;
    let peer = Arc::new(Peer::new(stream.ssl().peer_certificate(), &tls.trust));
    let service = service_fn(move |request| {
        let (app, peer) = (app.clone(), peer.clone());
        async move { handle(app, peer, request).await.map_err(|_| std::io::Error::other("no answer")) }
    });
    Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|e| anyhow::anyhow!("{e}"))
}
