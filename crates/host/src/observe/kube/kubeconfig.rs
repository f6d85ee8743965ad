//! Reads a kubeconfig as client-go does, because the kubelet uses client-go.
//!
//! Source: client-go `tools/clientcmd`: the first document counts; of duplicate keys the last;
//! unknown keys and null are ignored; a non-empty `*-data` overrides a file; base64 may contain
//! line breaks; paths are relative to the kubeconfig's directory; a server without a scheme is
//! `host:port`. This module ignores proxies (`proxy-url`, HTTPS_PROXY): the agent connects to the
//! node's API server directly (docs/security.md).

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use hyper::{Uri, header::HeaderValue};
use secrecy::SecretString;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    bounded::LARGEST_BYTES,
    roots::Roots,
    yaml::{self, YamlError},
};

/// The result of reading a kubeconfig. In PEM unless stated otherwise.
pub(super) struct ApiAccess {
    pub(super) server: Uri,
    /// `None`: the certificates that the host trusts.
    pub(super) authority: Option<Vec<u8>>,
    pub(super) accepts_any_server: bool,
    pub(super) server_name: Option<String>,
    pub(super) identity: Option<Identity>,
    pub(super) token: Option<SecretString>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    /// The files that it names.
    pub(super) files: Vec<PathBuf>,
}

pub(super) struct Identity {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct Kubeconfig {
    kind: Option<String>,
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    current_context: Option<String>,
    contexts: Option<Vec<NamedContext>>,
    clusters: Option<Vec<NamedCluster>>,
    users: Option<Vec<NamedUser>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedContext {
    name: Option<String>,
    context: Option<Context>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    cluster: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedCluster {
    name: Option<String>,
    cluster: Option<Cluster>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: Option<String>,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedUser {
    name: Option<String>,
    user: Option<User>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

/// Returns true if `path` holds an object of another kind: on RHEL CoreOS kubelet.conf is the
/// kubelet's configuration.
pub(super) fn is_another_kind(path: &Path) -> bool {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Kind {
        kind: Option<String>,
    }
    let Ok(bytes) = read(path) else { return false };
    let kind = decode::<Kind>(&bytes).ok().and_then(|object| object.kind);
    kind.is_some_and(|kind| kind == "KubeletConfiguration")
}

/// The reason why a kubeconfig cannot be used. It names neither the kubeconfig nor a secret.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("a value in it has another type than a kubeconfig has there")]
    Type,
    #[error("it is not a Config of v1")]
    Kind,
    #[error("{list} has the name {name:?} twice")]
    Twice { list: &'static str, name: String },
    #[error("it has no current-context")]
    NoContext,
    #[error("it has no context {0:?}, its current-context")]
    Context(String),
    #[error("it has no {kind} {name:?}, which context {context:?} names")]
    Missing { kind: &'static str, name: String, context: String },
    #[error("it has a {has} but no {lacks}")]
    Half { has: &'static str, lacks: &'static str },
    #[error(
        "its user has {0}, which the agent does not use: it needs a client certificate or a \
         token (set node.kubeconfig to a file that has one)"
    )]
    OtherWay(&'static str),
    #[error("its token has a line break or another character that is not allowed")]
    Token,
    #[error("its tls-server-name is not a server name")]
    ServerName,
    #[error("its cluster has no server")]
    NoServer,
    #[error("its server {shown:?} {why} (example: https://api.example.com:6443)")]
    Server { shown: String, why: &'static str },
    #[error("its {key}-data is not base64")]
    Base64 { key: &'static str },
    #[error("cannot read its {key} {path}: {source}")]
    File {
        key: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Reads the kubeconfig at `path`, which is below the root, and the files that it names.
pub(super) fn access(roots: &Roots, path: &Path) -> Result<ApiAccess, KubeconfigError> {
    let text = read(path)?;
    let kubeconfig: Kubeconfig = decode(&text)?;
    let is = |text: &Option<String>, expected: &str| {
        text.as_deref().is_none_or(|text| text.is_empty() || text == expected)
    };
    if !is(&kubeconfig.kind, "Config") || !is(&kubeconfig.api_version, "v1") {
        return Err(KubeconfigError::Kind);
    }
    let lists = [
        ("clusters", twice(kubeconfig.clusters.iter().flatten().map(|one| one.name.as_deref()))),
        ("users", twice(kubeconfig.users.iter().flatten().map(|one| one.name.as_deref()))),
        ("contexts", twice(kubeconfig.contexts.iter().flatten().map(|one| one.name.as_deref()))),
    ];
    if let Some((list, Some(name))) = lists.iter().find(|(_, twice)| twice.is_some()) {
        return Err(KubeconfigError::Twice { list, name: (*name).to_owned() });
    }
    let name = kubeconfig.current_context.filter(|name| !name.is_empty());
    let name = name.ok_or(KubeconfigError::NoContext)?;
    let named = |found: &Option<String>, name: &str| found.as_deref() == Some(name);
    let context = kubeconfig.contexts.unwrap_or_default().into_iter();
    let context = context
        .filter(|context| named(&context.name, &name))
        .find_map(|context| context.context)
        .ok_or_else(|| KubeconfigError::Context(name.clone()))?;
    let (cluster, user) = (context.cluster.unwrap_or_default(), context.user.unwrap_or_default());
    let missing = |kind: &'static str, missing: &str| KubeconfigError::Missing {
        kind,
        name: missing.to_owned(),
        context: name.clone(),
    };
    let clusters = kubeconfig.clusters.unwrap_or_default().into_iter();
    let cluster = clusters
        .filter(|found| named(&found.name, &cluster))
        .find_map(|found| found.cluster)
        .ok_or_else(|| missing("cluster", &cluster))?;
    let users = kubeconfig.users.unwrap_or_default().into_iter();
    let user = users
        .filter(|found| named(&found.name, &user))
        .find_map(|found| found.user)
        .ok_or_else(|| missing("user", &user))?;

    let folder = roots.shown(path).parent().unwrap_or(Path::new("/")).to_owned();
    let mut source = Source { roots, folder, files: Vec::new() };
    let (data, file) = (cluster.certificate_authority_data, cluster.certificate_authority);
    let authority = source.pem("certificate-authority", data, file)?;
    let certificate =
        source.pem("client-certificate", user.client_certificate_data, user.client_certificate)?;
    let key = source.pem("client-key", user.client_key_data, user.client_key)?;
    let half = |has, lacks| KubeconfigError::Half { has, lacks };
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        (Some(_), None) => return Err(half("client-certificate", "client-key")),
        (None, Some(_)) => return Err(half("client-key", "client-certificate")),
    };
    let token = nonempty(user.token);
    let token_file = nonempty(user.token_file).map(|file| source.path(&file));
    let other_ways = [
        (user.exec.is_some(), "an exec plugin"),
        (user.auth_provider.is_some(), "an auth-provider"),
        (nonempty(user.impersonate).is_some(), "impersonation (as)"),
    ];
    if let (Some((_, what)), None) = (other_ways.iter().find(|(is, _)| *is), &identity) {
        return Err(KubeconfigError::OtherWay(what));
    }
    if token.as_ref().is_some_and(|token| !fits_a_header(token)) {
        return Err(KubeconfigError::Token);
    }
    let server_name = nonempty(cluster.tls_server_name);
    if server_name.as_ref().is_some_and(|name| !name.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(KubeconfigError::ServerName);
    }
    let server = server(cluster.server.as_deref().unwrap_or_default())?;
    // As client-go does: no credentials travel without TLS, and a file replaces the token in the same entry.
    let is_secret = server.scheme_str() == Some("https");
    let identity = identity.filter(|_| is_secret);
    let token = token.filter(|_| is_secret && token_file.is_none());
    Ok(ApiAccess {
        server,
        authority,
        accepts_any_server: cluster.insecure_skip_tls_verify.unwrap_or(false),
        server_name,
        identity,
        token: token.map(SecretString::from),
        token_file: token_file.filter(|_| is_secret),
        username: nonempty(user.username).filter(|_| is_secret),
        password: user.password.filter(|_| is_secret).map(SecretString::from),
        files: source.files,
    })
}

fn nonempty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Returns true if the token fits an HTTP header: kube panics at one that does not.
fn fits_a_header(token: &str) -> bool {
    HeaderValue::from_str(token).is_ok()
}

/// Decodes the first document as client-go does.
fn decode<T: DeserializeOwned + Default>(text: &[u8]) -> Result<T, KubeconfigError> {
    match yaml::parse(text)?.value {
        Value::Null => Ok(T::default()),
        // A struct could also be read from a list. The error would quote the value, possibly a key.
        value if has_lists_for_structs(&value) => Err(KubeconfigError::Type),
        value => serde_json::from_value(value).map_err(|_| KubeconfigError::Type),
    }
}

fn has_lists_for_structs(value: &Value) -> bool {
    let named = |list: &str| value.get(list).and_then(Value::as_array).into_iter().flatten();
    value.is_array()
        || [("clusters", "cluster"), ("users", "user"), ("contexts", "context")]
            .iter()
            .any(|(list, of)| named(list).any(|one| one.is_array() || one[*of].is_array()))
}

/// Returns a name that occurs twice.
fn twice<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Option<&'a str> {
    let mut known = BTreeSet::new();
    names.map(Option::unwrap_or_default).find(|name| !known.insert(*name))
}

/// Checks that the server has a scheme and a host, which kube requires. Without a scheme it uses
/// https: the kubelet's credentials must not go anywhere else.
fn server(text: &str) -> Result<Uri, KubeconfigError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(KubeconfigError::NoServer);
    }
    let wrong = |why: &'static str| {
        // The part before an @ may be a password.
        let shown = text.rsplit('@').next().unwrap_or_default();
        KubeconfigError::Server { shown: shown.to_owned(), why }
    };
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => ("https".to_owned(), text),
    };
    if scheme != "https" && scheme != "http" {
        return Err(wrong("is neither https nor http"));
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let uri: Uri =
        format!("{scheme}://{rest}").parse().map_err(|_| wrong("is not a URL or host:port"))?;
    let authority = uri.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
    let port_is_right = match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok(),
        _ => true,
    };
    if uri.host().is_none_or(str::is_empty) || !port_is_right {
        return Err(wrong("is not a URL or host:port"));
    }
    if !text.contains("://") && uri.path() != "/" {
        return Err(wrong("has a path but no scheme"));
    }
    Ok(uri)
}

/// The source of data in a kubeconfig.
struct Source<'a> {
    roots: &'a Roots,
    /// Path on the host.
    folder: PathBuf,
    files: Vec<PathBuf>,
}

impl Source<'_> {
    /// Returns the data, or the file's content; `None` if there is neither.
    fn pem(
        &mut self,
        key: &'static str,
        data: Option<String>,
        file: Option<String>,
    ) -> Result<Option<Vec<u8>>, KubeconfigError> {
        if let Some(data) = nonempty(data) {
            return decoded(&data).map(Some).ok_or(KubeconfigError::Base64 { key });
        }
        let Some(file) = nonempty(file) else { return Ok(None) };
        let path = self.path(&file);
        read(&path).map(Some).map_err(|source| {
            let path = self.roots.shown(&path).into_owned();
            KubeconfigError::File { key, path, source }
        })
    }

    fn path(&mut self, file: &str) -> PathBuf {
        let path = located(self.roots, &self.folder.join(file));
        self.files.push(path.clone());
        path
    }
}

/// Returns the location on this machine of `path`, a path on the host. A path outside of the root
/// may come from a program that does not know the root.
pub(super) fn located(roots: &Roots, path: &Path) -> PathBuf {
    let below = roots.path(path);
    if below.symlink_metadata().is_err() && path.exists() {
        return path.to_owned();
    }
    // The kubelet's link has an absolute target, which starts at the root.
    match fs::read_link(&below) {
        Ok(target) if target.is_absolute() && !below.exists() => roots.path(target),
        _ => below,
    }
}

/// Reads a regular file up to a bound.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    // Opening a FIFO would block until a program writes to it.
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    let read = file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes)?;
    match read as u64 > LARGEST_BYTES {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB")),
        false => Ok(bytes),
    }
}

/// Decodes like Go: ignores line breaks and surplus bits.
fn decoded(data: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&STANDARD, config);
    let joined: Vec<u8> = data.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    engine.decode(joined).ok()
}

#[cfg(test)]
#[path = "kubeconfig_tests.rs"]
mod tests;
