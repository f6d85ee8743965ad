//! The kubelet's kubeconfig and client certificate: found, read, and read again when they change.
//!
//! Kubelet client certificates rotate: `kubelet-client-current.pem` is a link that is swung to a
//! new file (kubelet `certificate_store.go`), while kube's client reads certificates only once.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use openssl::{asn1::Asn1Time, nid::Nid, x509::X509};

use super::client::client;
use crate::{config::settings::Settings, model::plain::plain, roots::Roots};

/// Where kubelets have their kubeconfig: RHCOS and RHEL, then kubeadm.
pub const USUAL_PLACES: [&str; 2] = ["/var/lib/kubelet/kubeconfig", "/etc/kubernetes/kubelet.conf"];

/// Silence on a connection after which it is given up; a healthy watch has a bookmark a minute.
const LONGEST_SILENCE: Duration = Duration::from_secs(150);

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("no kubeconfig of the kubelet at {0} (set node.kubeconfig if it is elsewhere)")]
    NotFound(String),
    #[error("cannot use kubeconfig {path}: {reason}")]
    Unusable { path: PathBuf, reason: String },
    #[error(
        "kubeconfig {0} has no client certificate that names the node (CN=system:node:NAME); set \
         node.name"
    )]
    NoNodeName(PathBuf),
}

/// Credentials as they were at one time.
#[derive(Clone)]
pub struct Credentials {
    pub client: Client,
    pub kubeconfig: PathBuf,
    pub server: String,
    pub node_name: String,
    /// `None` where the kubelet has no client certificate (a token, say).
    pub certificate_expires: Option<SystemTime>,
    /// Files that decide on all this, to watch.
    pub files: Vec<PathBuf>,
    /// Changes with the content of any of the files.
    pub fingerprint: u64,
}

impl std::fmt::Debug for Credentials {
    /// Without the client: it holds the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("kubeconfig", &self.kubeconfig)
            .field("server", &self.server)
            .field("node_name", &self.node_name)
            .field("certificate_expires", &self.certificate_expires)
            .finish_non_exhaustive()
    }
}

/// How the agent names itself in each request: audit logs and `managedFields` show it.
const USER_AGENT: &str = concat!("wasp-agent/", env!("CARGO_PKG_VERSION"));

/// The kubeconfig that counts, whether or not it can be used; `Err` names where it was sought.
pub fn find(roots: &Roots, settings: &Settings) -> Result<PathBuf, CredentialsError> {
    let places = candidates(roots, settings);
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let shown: Vec<_> = places.iter().map(|p| roots.shown(p).display().to_string()).collect();
        CredentialsError::NotFound(shown.join(" or "))
    })
}

/// All places where the kubeconfig may appear.
pub fn candidates(roots: &Roots, settings: &Settings) -> Vec<PathBuf> {
    match &settings.kubeconfig {
        Some(path) => vec![roots.path(path)],
        None => USUAL_PLACES.map(|path| roots.path(path)).to_vec(),
    }
}

/// Reads kubeconfig and certificates, and makes a client of them. Talks to nobody.
pub async fn load(roots: &Roots, settings: &Settings) -> Result<Credentials, CredentialsError> {
    let path = find(roots, settings)?;
    let unusable = |reason: String| CredentialsError::Unusable { path: path.clone(), reason };
    let kubeconfig = Kubeconfig::read_from(&path).map_err(|error| {
        unusable(match &error {
            KubeconfigError::Parse(error) => wrong_place(error),
            _ => chain(&error),
        })
    })?;
    let files = files(&path, &kubeconfig);
    let fingerprint = fingerprint(&files);
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| unusable(chain(&error)))?;
    config.read_timeout = Some(LONGEST_SILENCE);
    config.reset_reader_on_write = true;
    // Whether and when to ask again is decided here, where 429 has a meaning of its own.
    config.default_retry = false;
    config
        .headers
        .push((hyper::header::USER_AGENT, hyper::header::HeaderValue::from_static(USER_AGENT)));

    let certificate = client_certificate(&config).map_err(unusable)?;
    let node_name = settings
        .node_name
        .clone()
        .or_else(|| certificate.as_ref().and_then(node_name))
        .ok_or_else(|| CredentialsError::NoNodeName(path.clone()))?;
    let certificate_expires = certificate.as_ref().and_then(|c| unix_time(c.not_after()));
    let server = config.cluster_url.to_string();
    let client = client(&config).map_err(unusable)?;
    Ok(Credentials {
        client,
        kubeconfig: path.clone(),
        server,
        node_name,
        certificate_expires,
        files,
        fingerprint,
    })
}

/// The kubeconfig and the files that it names.
fn files(path: &Path, kubeconfig: &Kubeconfig) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    for user in kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref()) {
        files.extend(user.client_certificate.iter().map(PathBuf::from));
        files.extend(user.client_key.iter().map(PathBuf::from));
        files.extend(user.token_file.iter().map(PathBuf::from));
    }
    for cluster in kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref()) {
        files.extend(cluster.certificate_authority.iter().map(PathBuf::from));
    }
    files.sort();
    files.dedup();
    files
}

/// A digest of the files' content; files that cannot be read count as empty.
pub fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        fs::read(file).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

fn client_certificate(config: &Config) -> Result<Option<X509>, String> {
    let user = &config.auth_info;
    let data = user.client_certificate_data.as_deref();
    let pem = data_or_file("client-certificate", data, user.client_certificate.as_deref())?;
    pem.map(|pem| X509::from_pem(&pem))
        .transpose()
        .map_err(|error| format!("the client certificate is not a PEM certificate: {error}"))
}

/// What a kubeconfig has as `KEY-data`, in base64, or in the file that `KEY` names.
pub(super) fn data_or_file(
    key: &str,
    data: Option<&str>,
    file: Option<&str>,
) -> Result<Option<Vec<u8>>, String> {
    use base64::Engine;
    match (data, file) {
        (Some(data), _) => base64::engine::general_purpose::STANDARD
            .decode(data)
            .map(Some)
            .map_err(|error| format!("{key}-data is not base64: {error}")),
        (None, Some(file)) => {
            fs::read(file).map(Some).map_err(|error| format!("cannot read {file}: {error}"))
        }
        (None, None) => Ok(None),
    }
}

/// `system:node:NAME` in the certificate's common name: what the API server takes us for.
fn node_name(certificate: &X509) -> Option<String> {
    let name = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next()?;
    let name = name.data().to_string().ok()?;
    name.strip_prefix("system:node:").map(str::to_owned)
}

fn unix_time(time: &openssl::asn1::Asn1TimeRef) -> Option<SystemTime> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    let seconds = u64::try_from(i64::from(since.days) * 86_400 + i64::from(since.secs)).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Where a file is wrong, and not how: the error quotes lines and values, and may quote a key.
pub fn wrong_place(error: &serde_saphyr::Error) -> String {
    let place = error.location().map_or_else(String::new, |place| {
        format!(" (line {}, column {})", place.line(), place.column())
    });
    format!("it is not the YAML that it should be{place}")
}

/// An error with all that caused it, in one line: the API server may say anything.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    plain(&text).into_owned()
}
