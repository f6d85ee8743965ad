//! Builds a client for the API server in a kubeconfig, as kube does, with two differences.
//!
//! It trusts only the kubeconfig's authorities, if there are any, as client-go does; kube adds them
//! to the system's, of which each client then keeps about a hundred in memory. And it runs no
//! program to get credentials (`exec`, `auth-provider`), because the agent is root.

use std::{net::IpAddr, path::Path, time::Duration};

use hyper::{
    Request, Response,
    body::Bytes,
    header::{AUTHORIZATION, HeaderValue},
};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
    config::AuthInfo,
};
use openssl::{
    error::ErrorStack,
    pkey::PKey,
    ssl::{ConnectConfiguration, SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode},
    x509::{
        X509,
        store::X509StoreBuilder,
        verify::{X509CheckFlags, X509VerifyFlags},
    },
};
use secrecy::ExposeSecret;
use tower::{BoxError, Layer, Service, ServiceExt, timeout::TimeoutLayer};
use tower_http::timeout::ResponseBodyTimeoutLayer;

use super::errors::chain;
use crate::errors::FileError;

/// An answer that does not begin, or pauses, for this long is given up. A healthy watch has a bookmark
/// every minute.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(150);

/// The reason why there can be no client for a kubeconfig. It quotes no secret.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("it sets the proxy {host}, which the agent does not use")]
    Proxy { host: String },
    #[error("TLS: {0}")]
    Tls(#[from] ErrorStack),
    #[error("{}", chain(.0))]
    Headers(Box<kube::Error>),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "its user has {key}, which the agent does not use; name a kubeconfig with a client \
         certificate or a token (node.kubeconfig)"
    )]
    OtherWay { key: &'static str },
    #[error("its token has a line break or another character that is not allowed")]
    Token,
    #[error("its certificate authority is not a certificate: {0}")]
    Authority(#[source] ErrorStack),
    #[error("it has a client {has} without its {lacks}")]
    Half { has: &'static str, lacks: &'static str },
    #[error("{key}-data is not base64: {source}")]
    Base64 {
        key: &'static str,
        #[source]
        source: base64::DecodeError,
    },
    #[error("its {part}: {source}")]
    Identity {
        part: &'static str,
        #[source]
        source: ErrorStack,
    },
    #[error("its client certificate is not a PEM certificate")]
    NoCertificate,
}

/// Builds a client for `config`.
pub(super) fn client(config: &Config) -> Result<Client, ClientError> {
    if let Some(proxy) = &config.proxy_url {
        let host = proxy.host().unwrap_or_default().to_owned();
        return Err(ClientError::Proxy { host });
    }
    let authorization = authorization(&config.auth_info)?;
    let tls = tls(config)?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let mut https = HttpsConnector::with_connector(http, tls)?;
    let unverified = config.accept_invalid_certs;
    // hyper-openssl would compare an IPv6 address, in its brackets, with names.
    let address =
        config.cluster_url.host().and_then(|host| host.strip_prefix('[')?.strip_suffix(']'));
    let name = config.tls_server_name.clone().or(address.map(str::to_owned));
    https.set_callback(move |tls, _| {
        if unverified {
            tls.set_verify(SslVerifyMode::NONE);
        }
        name.as_deref().map_or(Ok(()), |name| expect_name(tls, name))
    });
    let mut connector = TimeoutConnector::new(https);
    connector.set_connect_timeout(config.connect_timeout);
    let http = Http::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let impersonate =
        config.extra_headers_layer().map_err(|error| ClientError::Headers(Box::new(error)))?;
    let service = config.base_uri_layer().layer(impersonate.layer(http));
    let service = service.map_request(move |mut request: Request<Body>| {
        if let Some(authorization) = &authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        request
    });
    Ok(impatient(service, &config.default_namespace))
}

/// Gives up an answer after [`LONGEST_SILENCE`]. A read timeout of the connection would wake the
/// agent once more after each event, because its timer is set to "now" whenever data arrives.
fn impatient<S, B>(service: S, namespace: &str) -> Client
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send, Error: Into<BoxError>>
        + Send
        + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let service = ResponseBodyTimeoutLayer::new(LONGEST_SILENCE).layer(service);
    Client::new(TimeoutLayer::new(LONGEST_SILENCE).layer(service), namespace)
}

/// Returns the header that identifies the agent, in addition to a certificate. A token file is read
/// once: a change of the file reloads the credentials.
fn authorization(user: &AuthInfo) -> Result<Option<HeaderValue>, ClientError> {
    let unused = [
        ("exec", user.exec.is_some()),
        ("auth-provider", user.auth_provider.is_some()),
        ("username", user.username.is_some()),
    ];
    let token = match (&user.token, &user.token_file) {
        (Some(token), _) => Some(token.expose_secret().to_owned()),
        (None, Some(file)) => {
            let read = std::fs::read_to_string(file);
            Some(read.map_err(FileError::of("read", Path::new(file)))?.trim().to_owned())
        }
        (None, None) => None,
    };
    let certified = user.client_certificate.is_some() || user.client_certificate_data.is_some();
    if token.is_none()
        && !certified
        && let Some((key, _)) = unused.iter().find(|(_, there)| *there)
    {
        return Err(ClientError::OtherWay { key });
    }
    let Some(token) = token else { return Ok(None) };
    let mut value =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn tls(config: &Config) -> Result<SslConnectorBuilder, ClientError> {
    let mut tls = SslConnector::builder(SslMethod::tls_client())?;
    if let Some(authorities) = &config.root_cert {
        let mut store = X509StoreBuilder::new()?;
        for der in authorities {
            let added = X509::from_der(der).and_then(|authority| store.add_cert(authority));
            added.map_err(ClientError::Authority)?;
        }
        // As in Go, each of them is an anchor: one that is an intermediate too.
        store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        tls.set_cert_store(store.build());
    }
    let user = &config.auth_info;
    let data = user.client_certificate_data.as_deref();
    let certificate = data_or_file("client-certificate", data, user.client_certificate.as_deref())?;
    let data = user.client_key_data.as_ref().map(|key| key.expose_secret());
    let key = data_or_file("client-key", data, user.client_key.as_deref())?;
    let half = |has, lacks| ClientError::Half { has, lacks };
    match (certificate, key) {
        (None, None) => {}
        (Some(certificate), Some(key)) => identify(&mut tls, &certificate, &key)?,
        (Some(_), None) => return Err(half("certificate", "key")),
        (None, Some(_)) => return Err(half("key", "certificate")),
    }
    Ok(tls)
}

/// Returns `KEY-data`, decoded from base64, or the content of the file in `KEY`.
fn data_or_file(
    key: &'static str,
    data: Option<&str>,
    file: Option<&str>,
) -> Result<Option<Vec<u8>>, ClientError> {
    use base64::Engine;
    match (data, file) {
        (Some(data), _) => base64::engine::general_purpose::STANDARD
            .decode(data)
            .map(Some)
            .map_err(|source| ClientError::Base64 { key, source }),
        (None, Some(file)) => {
            let read = std::fs::read(file).map_err(FileError::of("read", Path::new(file)))?;
            Ok(Some(read))
        }
        (None, None) => Ok(None),
    }
}

/// Sets our certificate, its intermediate certificates, and its key.
fn identify(
    tls: &mut SslConnectorBuilder,
    certificate: &[u8],
    key: &[u8],
) -> Result<(), ClientError> {
    let wrong = |part| move |source| ClientError::Identity { part, source };
    let chain = X509::stack_from_pem(certificate).map_err(wrong("client certificate"))?;
    let mut chain = chain.into_iter();
    let own = chain.next().ok_or(ClientError::NoCertificate)?;
    tls.set_certificate(&own).map_err(wrong("client certificate"))?;
    for between in chain {
        tls.add_extra_chain_cert(between).map_err(wrong("client certificate"))?;
    }
    let key = PKey::private_key_from_pem(key).map_err(wrong("client key"))?;
    tls.set_private_key(&key).map_err(wrong("client key"))
}

/// Requires the server's certificate to be for `name` (`tls-server-name`), at any address.
fn expect_name(tls: &mut ConnectConfiguration, name: &str) -> Result<(), ErrorStack> {
    tls.set_use_server_name_indication(false);
    tls.set_verify_hostname(false);
    let address: Option<IpAddr> = name.parse().ok();
    if address.is_none() {
        tls.set_hostname(name)?;
    }
    let parameters = tls.param_mut();
    parameters.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
    match address {
        Some(address) => parameters.set_ip(address),
        None => parameters.set_host(name),
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tls_tests;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use kube::config::{KubeConfigOptions, Kubeconfig};

    use super::{
        super::list::{PodList, PodWatch},
        *,
    };

    async fn config(cluster: &str, user: &str) -> Config {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:1\"{cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n"
        );
        let kubeconfig = Kubeconfig::from_yaml(&text).unwrap();
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
    }

    /// A server that sends these frames, and then nothing; `None`: it does not even answer.
    fn silent_server(frames: Option<Vec<&'static str>>) -> Client {
        let service = tower::service_fn(move |_| {
            let frames = frames.clone();
            async move {
                let Some(frames) = frames else { return std::future::pending().await };
                let frames = frames
                    .into_iter()
                    .map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
                let body = stream::iter(frames).chain(stream::pending());
                Ok::<_, Infallible>(Response::new(StreamBody::<_>::new(body)))
            }
        });
        impatient::<_, StreamBody<_>>(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_falls_silent_ends_as_usual_and_later_than_a_healthy_one_pauses() {
        let bookmark = "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"8\"}}}\n";
        let client = silent_server(Some(vec![bookmark]));
        let mut watch = PodWatch::begin(&client, "node-a", &[], "7", 300).await.unwrap();
        assert!(watch.next().await.unwrap().is_some());
        let began = tokio::time::Instant::now();
        assert!(matches!(watch.next().await, Ok(None)));
        assert_eq!(began.elapsed().as_secs(), LONGEST_SILENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_fails() {
        let client = silent_server(None);
        let error = PodList::begin(&client, "node-a", &[]).await.unwrap_err();
        assert!(error.to_string().contains("no answer for 150 s"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_falls_silent_is_no_list() {
        let client = silent_server(Some(vec!["{\"items\":[", ""]));
        let mut list = PodList::begin(&client, "node-a", &[]).await.unwrap();
        let error = list.next().await.unwrap_err();
        assert!(error.to_string().contains("no answer for 150 s"), "{error}");
    }

    #[tokio::test]
    async fn only_the_authority_that_the_kubeconfig_names_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        // As `openssl req -x509` writes it.
        let pem = include_bytes!("../../../../../tests/fixtures/authority.pem");
        let path = folder.path().join("ca.crt");
        std::fs::write(&path, pem).unwrap();
        let named = config(&format!(", certificate-authority: {}", path.display()), "").await;
        let trusted = |config: &Config| {
            let connector = tls(config).unwrap().build();
            connector.context().cert_store().all_certificates().len()
        };
        assert_eq!(trusted(&named), 1);
        // Otherwise the system's authorities, whatever their number.
        let system = SslConnector::builder(SslMethod::tls_client()).unwrap().build();
        let system = system.context().cert_store().all_certificates().len();
        assert_eq!(trusted(&config("", "").await), system);
    }

    #[tokio::test]
    async fn a_token_is_sent_and_none_is_got_from_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from a file\n").unwrap();
        let program = folder.path().join("was-run");
        let exec = format!(
            "exec: {{apiVersion: client.authentication.k8s.io/v1, command: /bin/touch, args: [{}]}}",
            program.display()
        );
        let file = format!("tokenFile: {}", path.display());
        for (user, expected) in [
            ("token: abc", Ok(Some("Bearer abc"))),
            (&*file, Ok(Some("Bearer from a file"))),
            ("tokenFile: /nowhere/token", Err("/nowhere/token")),
            ("token: \"a\\nb\"", Err("line break")),
            ("", Ok(None)),
            (&*exec, Err("exec")),
            ("auth-provider: {name: gcp, config: {cmd-path: /bin/touch}}", Err("auth-provider")),
        ] {
            let config = config("", user).await;
            match (authorization(&config.auth_info), expected) {
                (Ok(found), Ok(expected)) => {
                    let found = found.map(|value| value.to_str().unwrap().to_owned());
                    assert_eq!(found.as_deref(), expected, "{user}");
                }
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{user}: {error}")
                }
                (found, _) => panic!("{user}: {found:?}"),
            }
            assert_eq!(client(&config).is_ok(), expected.is_ok(), "{user}");
        }
        assert!(!program.exists());
    }

    #[tokio::test]
    async fn a_proxy_is_refused_and_named() {
        let config = config(", proxy-url: \"http://user:word@proxy.example:3128\"", "").await;
        let error = client(&config).map(drop).unwrap_err().to_string();
        assert!(error.contains("proxy.example") && !error.contains("word"), "{error}");
    }
}
