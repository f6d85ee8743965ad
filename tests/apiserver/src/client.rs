//! A small client for tests and the command line. Every request opens its own connection and reads
//! the certificate again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslContext, SslFiletype, SslMethod, SslVerifyMode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::json::{remove, text};
use crate::pki::Pki;
use crate::resources::{Resource, of_object};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: u16,
    pub retry_after: Option<u64>,
    /// The Warning headers.
    pub warnings: Vec<String>,
    /// Null when the body is not JSON.
    pub body: Value,
    pub raw: Bytes,
}

impl Answer {
    pub fn message(&self) -> &str {
        text(&self.body, "/message")
    }

    /// The body of a success.
    pub fn ok(self) -> Result<Value> {
        if !(200..300).contains(&self.code) {
            let raw = String::from_utf8_lossy(&self.raw);
            bail!(
                "{}: {}",
                self.code,
                if self.message().is_empty() { &raw } else { self.message() }
            );
        }
        Ok(self.body)
    }
}

/// A client with one identity.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    ca: PathBuf,
    identity: Option<PathBuf>,
}

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";

impl Client {
    pub fn admin(address: SocketAddr, pki: &Pki) -> Self {
        Self { address, ca: pki.ca_path(), identity: Some(pki.admin_path()) }
    }

    pub fn node(address: SocketAddr, pki: &Pki, node: &str) -> Self {
        Self { address, ca: pki.ca_path(), identity: Some(pki.node_path(node)) }
    }

    pub fn anonymous(address: SocketAddr, pki: &Pki) -> Self {
        Self { address, ca: pki.ca_path(), identity: None }
    }

    /// Uses another certificate and key, from one PEM file.
    pub fn with_identity(&self, pem: &Path) -> Self {
        Self { identity: Some(pem.to_owned()), ..self.clone() }
    }

    async fn connect(&self) -> Result<SslStream<TcpStream>> {
        // Not SslConnector, which would read all of the system's CAs with every request.
        let mut builder = SslContext::builder(SslMethod::tls_client())?;
        builder.set_verify(SslVerifyMode::PEER);
        builder.set_ca_file(&self.ca)?;
        if let Some(pem) = &self.identity {
            builder
                .set_certificate_chain_file(pem)
                .and_then(|()| builder.set_private_key_file(pem, SslFiletype::PEM))
                .with_context(|| format!("loading {}", pem.display()))?;
        }
        let mut ssl = Ssl::new(&builder.build())?;
        ssl.param_mut().set_ip(self.address.ip())?;
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("connecting to {}", self.address))?;
        let mut stream = SslStream::new(ssl, stream)?;
        Pin::new(&mut stream).connect().await.context("TLS handshake")?;
        Ok(stream)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("accept", JSON)
            .header("user-agent", "test-apiserver-client")
            .header("content-type", media_type)
            .body(Full::new(body))?;
        Ok(sender.send_request(request).await?)
    }

    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let response = self.send(method, path, media_type, body.into()).await?;
        let code = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse().ok());
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.filter_map(|v| Some(v.to_str().ok()?.to_owned())).collect();
        let raw = response.into_body().collect().await?.to_bytes();
        let body = serde_json::from_slice(&raw).unwrap_or_default();
        Ok(Answer { code, retry_after, warnings, body, raw })
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.raw("GET", path, JSON, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.raw("POST", path, JSON, body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.raw("PUT", path, JSON, body.to_string()).await
    }

    pub async fn patch(&self, path: &str, media_type: &str, body: &Value) -> Result<Answer> {
        self.raw("PATCH", path, media_type, body.to_string()).await
    }

    pub async fn delete(&self, path: &str, options: &Value) -> Result<Answer> {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.raw("DELETE", path, JSON, body).await
    }

    /// Opens a watch; the path includes the query. A refusal is an error.
    pub async fn watch(&self, path: &str) -> Result<Events> {
        let response = self.send("GET", path, JSON, Bytes::new()).await?;
        let code = response.status();
        if !code.is_success() {
            let body = response.into_body().collect().await?.to_bytes();
            bail!("{code}: {}", String::from_utf8_lossy(&body));
        }
        Ok(Events { body: response.into_body(), buffer: Vec::new() })
    }

    /// Creates or updates an object as given, including its status, and its namespace if that is
    /// missing, like `kubectl create` and a controller together. Works on a real API server as
    /// well.
    pub async fn upsert(&self, object: &Value) -> Result<Value> {
        let resource = of_object(object).with_context(|| {
            format!("unknown kind: {} {}", object["apiVersion"], object["kind"])
        })?;
        let mut object = object.clone();
        let status =
            if resource.has_subresource("status") { remove(&mut object, "status") } else { None };
        let namespace = self.place(resource, &mut object).await?;
        let name = text(&object, "/metadata/name").to_owned();
        let mut answer = self.post(&resource.path(&namespace, ""), &object).await?;
        let path = resource.path(&namespace, &name);
        if answer.code == 409 && !name.is_empty() {
            answer = self.patch(&path, MERGE, &object).await?;
        }
        let written = answer.ok()?;
        let Some(status) = status else { return Ok(written) };
        let path = resource.path(&namespace, text(&written, "/metadata/name"));
        let patch = json!({"status": status});
        self.patch(&format!("{path}/status"), MERGE, &patch).await?.ok()
    }

    /// Returns the object's namespace, "default" if it names none; creates it if it does not exist.
    pub async fn place(&self, resource: &Resource, object: &mut Value) -> Result<String> {
        if !resource.namespaced {
            return Ok(String::new());
        }
        let mut namespace = text(object, "/metadata/namespace").to_owned();
        if namespace.is_empty() {
            namespace = "default".to_owned();
            object["metadata"]["namespace"] = json!(namespace);
        }
        if self.get(&format!("/api/v1/namespaces/{namespace}")).await?.code == 404 {
            let body = json!({"apiVersion": "v1", "kind": "Namespace",
                              "metadata": {"name": namespace}});
            let made = self.post("/api/v1/namespaces", &body).await?;
            if made.code != 409 {
                made.ok()?;
            }
        }
        Ok(namespace)
    }
}

/// A watch's events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    /// Returns the next event; `None` at a clean end, an error if the connection broke.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).with_context(|| {
                    format!("not an event: {}", String::from_utf8_lossy(&line))
                })?));
            }
            match self.body.frame().await {
                None if self.buffer.is_empty() => return Ok(None),
                None => bail!("the last event is cut short"),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
