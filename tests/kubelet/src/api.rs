//! A client for one request at a time, over one connection: a test tool starts often, and in
//! emulation every TLS handshake is expensive.

use std::cell::RefCell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslMethod, SslStream};
use openssl::x509::X509;
use serde_json::Value;

pub(crate) struct Api {
    host: String,
    port: u16,
    tls: SslConnector,
    connection: RefCell<Option<SslStream<TcpStream>>>,
}

impl Api {
    pub(crate) fn from_kubeconfig(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Self::parse(&text, file.parent().unwrap_or(Path::new("/")))
            .with_context(|| format!("kubeconfig {}", file.display()))
    }

    fn parse(text: &str, dir: &Path) -> Result<Self> {
        let server = field(text, "server").context("no server")?;
        let address = server
            .strip_prefix("https://")
            .context("server is not https://")?
            .trim_end_matches('/');
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().context("port")?),
            None => (address, 443),
        };
        let authority = blob(text, "certificate-authority", dir)?;
        let certificate = blob(text, "client-certificate", dir)?;
        let key = blob(text, "client-key", dir)?;

        let mut tls = SslConnector::builder(SslMethod::tls_client())?;
        for authority in X509::stack_from_pem(&authority)? {
            tls.cert_store_mut().add_cert(authority)?;
        }
        tls.set_certificate(X509::from_pem(&certificate)?.as_ref())?;
        tls.set_private_key(PKey::private_key_from_pem(&key)?.as_ref())?;
        Ok(Self { host: host.to_owned(), port, tls: tls.build(), connection: RefCell::default() })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.call("GET", path, "application/json", &Value::Null)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("POST", path, "application/json", body)
    }

    pub(crate) fn post_unless_exists(&self, path: &str, body: &Value) -> Result<()> {
        match self.post(path, body) {
            Err(error) if !format!("{error:#}").contains("AlreadyExists") => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("PATCH", path, "application/merge-patch+json", body)
    }

    pub(crate) fn delete(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("DELETE", path, "application/json", body)
    }

    fn call(&self, method: &str, path: &str, kind: &str, body: &Value) -> Result<Value> {
        self.exchange(method, path, kind, &body.to_string())
            .with_context(|| format!("{method} {path}"))
    }

    fn exchange(&self, method: &str, path: &str, kind: &str, body: &str) -> Result<Value> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 16_384]);
        let (status, body) = loop {
            let read = stream.read(&mut buffer)?;
            answer.extend_from_slice(&buffer[..read]);
            if let Some(whole) = split(&answer)? {
                break whole;
            }
            if read == 0 {
                bail!("the connection ends within an answer");
            }
        };
        self.connection.replace(Some(stream));
        let text = String::from_utf8_lossy(&body);
        if !(200..300).contains(&status) {
            bail!("{status}: {}", text.trim());
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn connect(&self) -> Result<SslStream<TcpStream>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(self.tls.connect(&self.host, tcp)?)
    }
}

/// Returns status and body of an HTTP/1.1 answer; `None` if it is not complete yet.
fn split(answer: &[u8]) -> Result<Option<(u16, Vec<u8>)>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let body = &answer[end + 4..];
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    if !head.contains("transfer-encoding: chunked") {
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(Ok(0), |length| length.trim().parse())?;
        return Ok(body.get(..length).map(|body| (status, body.to_vec())));
    }
    let (mut rest, mut whole) = (body, Vec::new());
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..line]);
        let size = usize::from_str_radix(size.trim(), 16).context("chunk size")?;
        let Some(chunk) = rest.get(line + 2..line + 4 + size) else {
            return Ok(None);
        };
        if size == 0 {
            return Ok(Some((status, whole)));
        }
        whole.extend_from_slice(&chunk[..size]);
        rest = &rest[line + 4 + size..];
    }
    Ok(None)
}

/// Returns the value of the first `key: value` line; our kubeconfigs have one cluster and one user.
fn field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("- ").trim_end_matches(',');
        let (name, value) = line.split_once(':')?;
        (name.trim_matches('"') == key).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Returns `KEY-data`, decoded, or the content of the file in `KEY`.
fn blob(text: &str, key: &str, dir: &Path) -> Result<Vec<u8>> {
    if let Some(data) = field(text, &format!("{key}-data")) {
        return Ok(openssl::base64::decode_block(&data)?);
    }
    let file = dir.join(field(text, key).with_context(|| format!("no {key}"))?);
    fs::read(&file).with_context(|| format!("read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers_with_a_length_and_in_chunks() {
        let plain = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(split(plain).ok(), Some(Some((201, b"{}".to_vec()))));
        assert_eq!(split(&plain[..44]).ok(), Some(None));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(split(chunked).ok(), Some(Some((200, b"{\"a\":1}".to_vec()))));
        assert_eq!(split(&chunked[..60]).ok(), Some(None));
    }

    #[test]
    fn finds_fields_of_a_kubeconfig() {
        let text = "clusters:\n- name: c\n  cluster:\n    server: https://127.0.0.1:6443\n";
        assert_eq!(field(text, "server").as_deref(), Some("https://127.0.0.1:6443"));
        assert_eq!(field(text, "token"), None);
    }
}
