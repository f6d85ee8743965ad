//! Finds and reads the kubelet's kubeconfig and client certificate, and reads them again when they
//! change.
//!
//! Kubelet client certificates rotate: `kubelet-client-current.pem` is a link whose target changes
//! (kubelet `certificate_store.go`), while kube's client reads certificates only once.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use kube::{Client, Config, config::AuthInfo};
use openssl::{asn1::Asn1Time, nid::Nid, pkey::PKey, x509::X509};

use super::{
    client::{ClientError, client},
    kubeconfig::{ApiAccess, Identity, KubeconfigError, access, is_another_kind, located, read},
};
use crate::{
    config::settings::Settings,
    model::{
        failure::{Failure, FailureKind},
        shell,
    },
    observe::kubelet::credential_places,
    roots::Roots,
};

/// The usual places of a kubelet's kubeconfig: RHCOS and RHEL, then kubeadm.
pub const USUAL_PLACES: [&str; 2] = ["/var/lib/kubelet/kubeconfig", "/etc/kubernetes/kubelet.conf"];

/// The default of the kubelet's --cert-dir.
const CERTIFICATES: &str = "/var/lib/kubelet/pki";

/// The certificate that the kubelet uses once it has rotated its first one, regardless of its
/// kubeconfig (kubelet `certificate_store.go`).
const CURRENT: &str = "kubelet-client-current.pem";

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("no kubeconfig of the kubelet at {0} (if it is elsewhere, set node.kubeconfig)")]
    NotFound(String),
    #[error("kubeconfig {path} is a link to {target}, which does not exist")]
    Dangling { path: PathBuf, target: PathBuf },
    #[error("cannot use kubeconfig {path}: {source}")]
    Unusable {
        path: PathBuf,
        #[source]
        source: Unusable,
    },
    #[error(
        "kubeconfig {0} has no client certificate that names the node (CN=system:node:NAME); set \
         node.name"
    )]
    NoNodeName(PathBuf),
    #[error(
        "kubeconfig {path} has the server {server}, without TLS: the agent sends no credentials \
         there"
    )]
    NoTls { path: PathBuf, server: String },
    #[error("{0} is a directory, not a kubeconfig")]
    Directory(PathBuf),
    #[error(
        "cannot read kubeconfig {0}: permission denied (wasp-agent.service sees no files below /root and \
         /home, and reads none of other users)"
    )]
    Hidden(PathBuf),
}

impl CredentialsError {
    /// Returns the commands that fix it.
    pub fn remedy(&self) -> Vec<String> {
        match self {
            Self::NoTls { path, .. } => vec![format!(
                r"sed -i --follow-symlinks -E 's|^([^#]*server: *.?)http://|\1https://|' {}",
                shell::path(path)
            )],
            Self::Directory(path) => {
                vec![format!("rmdir {}", shell::path(path)), "systemctl restart kubelet".to_owned()]
            }
            Self::Hidden(path) => {
                let own = Path::new("/etc/wasp-agent").join(path.file_name().unwrap_or_default());
                vec![
                    format!("install -m 0600 {} {}", shell::path(path), shell::path(&own)),
                    "# then set node.kubeconfig or eviction.guard-kubeconfig to it".to_owned(),
                ]
            }
            Self::NotFound(_)
            | Self::Dangling { .. }
            | Self::Unusable { .. }
            | Self::NoNodeName(_) => {
                vec![
                    "systemctl restart kubelet".to_owned(),
                    "# or, if the file is elsewhere: set node.kubeconfig in /etc/wasp-agent/config.d"
                        .to_owned(),
                ]
            }
        }
    }
}

/// The reason why a kubeconfig gives no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("its certificate-authority has no readable PEM certificate")]
    Authority,
    #[error("its client certificate is not a PEM certificate")]
    Certificate,
    #[error("its client key is not a PEM key without passphrase")]
    Key,
    #[error("its client key does not match its client certificate")]
    KeyOfAnother,
}

/// Describes that there are no credentials.
pub fn failure(error: &CredentialsError) -> Failure {
    let (text, remedy) = (error.to_string(), error.remedy());
    Failure { kind: FailureKind::Credentials, text, remedy }
}

/// Credentials at one moment.
#[derive(Clone)]
pub struct Credentials {
    pub client: Client,
    pub kubeconfig: PathBuf,
    pub server: String,
    pub node_name: String,
    /// `None` if the kubelet has no client certificate (but a token, for example).
    pub certificate_expires: Option<SystemTime>,
    pub certificate_begins: Option<SystemTime>,
    /// The name of the node in the certificate; `node.name` may differ.
    pub certificate_name: Option<String>,
    /// The files that these credentials come from, to watch.
    pub files: Vec<PathBuf>,
    /// A digest that changes with the content of any of the files.
    pub fingerprint: u64,
}

impl std::fmt::Debug for Credentials {
    /// Leaves out the client, which holds the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("kubeconfig", &self.kubeconfig)
            .field("server", &self.server)
            .field("node_name", &self.node_name)
            .field("certificate_expires", &self.certificate_expires)
            .finish_non_exhaustive()
    }
}

/// The user agent in each request: audit logs and `managedFields` show it.
const USER_AGENT: &str = concat!("wasp-agent/", env!("CARGO_PKG_VERSION"));

/// Returns the kubeconfig in effect, usable or not; `Err` names the places searched.
pub fn find(roots: &Roots, settings: &Settings) -> Result<PathBuf, CredentialsError> {
    let places = candidates(roots, settings);
    let usual = settings.kubeconfig.is_none();
    let is_one = |path: &&PathBuf| path.is_file() && !(usual && is_another_kind(path));
    places.iter().find(is_one).cloned().ok_or_else(|| {
        let link = places.iter().find(|path| path.is_symlink() && !path.exists());
        if let Some(path) = link {
            return CredentialsError::Dangling {
                path: roots.shown(path).into_owned(),
                target: roots.shown(&last_target(path)).into_owned(),
            };
        }
        let is_hidden = |path: &&PathBuf| {
            fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        if let Some(path) = places.iter().find(is_hidden) {
            return CredentialsError::Hidden(roots.shown(path).into_owned());
        }
        if let Some(path) = places.iter().find(|path| path.is_dir()) {
            return CredentialsError::Directory(roots.shown(path).into_owned());
        }
        let shown: Vec<_> = places.iter().map(|p| roots.shown(p).display().to_string()).collect();
        CredentialsError::NotFound(shown.join(" or "))
    })
}

/// Returns the end of a chain of links.
fn last_target(link: &Path) -> PathBuf {
    let mut path = link.to_owned();
    // The kernel follows as many (path_resolution(7)).
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    path
}

/// Returns all places where the kubeconfig may appear: the place in the settings, else that of the
/// kubelet's --kubeconfig. Without this flag, the usual ones.
pub fn candidates(roots: &Roots, settings: &Settings) -> Vec<PathBuf> {
    let place = settings.kubeconfig.clone().or_else(|| credential_places(roots).kubeconfig);
    match place {
        Some(path) => vec![roots.path(path)],
        None => USUAL_PLACES.map(|path| roots.path(path)).to_vec(),
    }
}

/// Reads kubeconfig and certificates, and builds a client. Sends no request.
pub async fn load(roots: &Roots, settings: &Settings) -> Result<Credentials, CredentialsError> {
    let path = find(roots, settings)?;
    let unusable = |source| CredentialsError::Unusable { path: path.clone(), source };
    let mut access = access(roots, &path).map_err(|error| unusable(error.into()))?;
    let certificates = credential_places(roots).certificates;
    let certificates = certificates.unwrap_or_else(|| CERTIFICATES.into());
    let current = located(roots, &certificates.join(CURRENT));
    let mut files = vec![path.clone(), current.clone()];
    files.append(&mut access.files);
    files.sort();
    files.dedup();
    // Take the digest before the content is used, so that a later change is noticed.
    let fingerprint = fingerprint(&files);
    let certificate = access.identity.as_ref().map(certificate_of).transpose().map_err(unusable)?;
    let certificate = match certificate {
        Some(given) => Some(match newer(&current, &given) {
            Some((identity, certificate)) => {
                access.identity = Some(identity);
                certificate
            }
            None => given,
        }),
        None => None,
    };
    let certificate_name = certificate.as_ref().and_then(node_name);
    let node_name = settings.node_name.clone().or_else(|| certificate_name.clone()).ok_or_else(
        || match access.server.scheme_str() {
            Some("https") => CredentialsError::NoNodeName(path.clone()),
            _ => CredentialsError::NoTls { path: path.clone(), server: access.server.to_string() },
        },
    )?;
    let certificate_expires = certificate.as_ref().and_then(|c| unix_time(c.not_after()));
    let certificate_begins = certificate.as_ref().and_then(|c| unix_time(c.not_before()));
    let server = access.server.to_string();
    let client = config(access).and_then(|config| Ok(client(&config)?));
    Ok(Credentials {
        client: client.map_err(unusable)?,
        kubeconfig: path.clone(),
        server,
        node_name,
        certificate_expires,
        certificate_begins,
        certificate_name,
        files,
        fingerprint,
    })
}

/// Does not use kube's own reader of kubeconfigs: it uses HTTPS_PROXY for the API server, runs exec
/// plugins, and panics later at a server without a scheme.
fn config(access: ApiAccess) -> Result<Config, Unusable> {
    let mut config = Config::new(access.server);
    // The callers decide if and when to retry, because 429 has a special meaning for evictions.
    config.default_retry = false;
    let agent = hyper::header::HeaderValue::from_static(USER_AGENT);
    config.headers.push((hyper::header::USER_AGENT, agent));
    config.root_cert = access.authority.map(|pem| certificates(&pem)).transpose()?;
    config.accept_invalid_certs = access.accepts_any_server;
    config.tls_server_name = access.server_name;
    let identity = access.identity.map(|Identity { certificate, key }| {
        (STANDARD.encode(certificate), STANDARD.encode(key).into())
    });
    let (client_certificate_data, client_key_data) = identity.unzip();
    config.auth_info = AuthInfo {
        client_certificate_data,
        client_key_data,
        token: access.token,
        token_file: access.token_file.map(|file| file.display().to_string()),
        username: access.username,
        password: access.password,
        ..AuthInfo::default()
    };
    Ok(config)
}

/// Returns the certificates of an authority, in DER.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, Unusable> {
    let all = X509::stack_from_pem(pem).map_err(|_| Unusable::Authority)?;
    let all: Vec<Vec<u8>> = all
        .iter()
        .map(|one| one.to_der())
        .collect::<Result<_, _>>()
        .map_err(|_| Unusable::Authority)?;
    if all.is_empty() { Err(Unusable::Authority) } else { Ok(all) }
}

/// Returns the certificate if the key belongs to it.
fn certificate_of(identity: &Identity) -> Result<X509, Unusable> {
    let certificate = X509::from_pem(&identity.certificate).map_err(|_| Unusable::Certificate)?;
    // Without a callback, OpenSSL would ask a terminal for the passphrase.
    let key =
        PKey::private_key_from_pem_callback(&identity.key, |_| Ok(0)).map_err(|_| Unusable::Key)?;
    match certificate.public_key() {
        Ok(public) if public.public_eq(&key) => Ok(certificate),
        _ => Err(Unusable::KeyOfAnother),
    }
}

/// Returns the identity at `current`, if it is for the same node as `given` and valid for longer.
fn newer(current: &Path, given: &X509) -> Option<(Identity, X509)> {
    let pem = read(current).ok()?;
    let identity = Identity { certificate: pem.clone(), key: pem };
    let certificate = certificate_of(&identity).ok()?;
    let (name, given_name) = (node_name(&certificate)?, node_name(given)?);
    let is_newer = certificate.not_after().compare(given.not_after()).ok()?.is_gt();
    (name == given_name && is_newer).then_some((identity, certificate))
}

/// Returns a digest of the files' content; unreadable files count as empty.
pub fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        fs::read(file).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

/// Returns NAME of the common name `system:node:NAME`: the node that the API server takes us for.
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

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
