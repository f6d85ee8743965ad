//! A cluster's certificates: a CA, a server certificate, an administrator's, and for each node a
//! client certificate in the layout of the kubelet's certificate store (client-go,
//! util/certificate/certificate_store.go): cert and key in one dated file, and a symlink
//! `kubelet-client-current.pem` to it.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name};

/// The directory of all certificates: DIR/pki.
#[derive(Debug, Clone)]
pub struct Pki {
    dir: PathBuf,
}

/// A certificate's period of validity, relative to now.
#[derive(Debug, Clone, Copy)]
pub struct Validity {
    pub from: i64,
    pub until: i64,
}

impl Validity {
    /// Valid from five minutes ago, as certificate signers backdate, for the given time.
    pub fn for_the_next(duration: Duration) -> Self {
        Self { from: -300, until: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4) }
    }

    /// Expired a minute ago.
    pub fn expired() -> Self {
        Self { from: -3600, until: -60 }
    }
}

/// A new node certificate.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Increases with every certificate that this PKI issues.
    pub serial: u64,
    pub path: PathBuf,
}

enum Usage<'a> {
    Client,
    Server(&'a [String]),
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_secs()).ok())
        .unwrap_or(0)
}

fn new_key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

fn name(cn: &str, organization: Option<&str>) -> Result<X509Name> {
    let mut name = X509Name::builder()?;
    if let Some(organization) = organization {
        name.append_entry_by_nid(Nid::ORGANIZATIONNAME, organization)?;
    }
    name.append_entry_by_nid(Nid::COMMONNAME, cn)?;
    Ok(name.build())
}

fn builder(
    cn: &X509Name,
    key: &PKey<Private>,
    serial: u64,
    valid: Validity,
) -> Result<X509Builder> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = BigNum::from_dec_str(&serial.to_string())?;
    builder.set_serial_number(Asn1Integer::from_bn(&serial)?.as_ref())?;
    builder.set_subject_name(cn)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(Asn1Time::from_unix(now() + valid.from)?.as_ref())?;
    builder.set_not_after(Asn1Time::from_unix(now() + valid.until)?.as_ref())?;
    Ok(builder)
}

/// Writes atomically: a reader sees the old file or the new one.
pub fn write_atomic(path: &Path, data: &[u8], mode: u32) -> Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(data)?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

impl Pki {
    /// Opens DIR/pki, and creates missing files. `sans` are additional names of the server.
    pub fn open(data: &Path, sans: &[String]) -> Result<Self> {
        let pki = Self { dir: data.join("pki") };
        fs::create_dir_all(&pki.dir).with_context(|| format!("creating {}", pki.dir.display()))?;
        if !pki.ca_path().exists() {
            pki.make_ca("ca")?;
        }
        if !pki.dir.join("server.pem").exists() || !sans.is_empty() {
            let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
            names.extend_from_slice(sans);
            let valid = Validity::for_the_next(10 * YEAR);
            let (pem, _) =
                pki.issue("ca", &name("kube-apiserver", None)?, &Usage::Server(&names), valid)?;
            write_atomic(&pki.dir.join("server.pem"), &pem, 0o600)?;
        }
        if !pki.admin_path().exists() {
            let subject = name("kubernetes-admin", Some("system:masters"))?;
            let valid = Validity::for_the_next(10 * YEAR);
            let (pem, _) = pki.issue("ca", &subject, &Usage::Client, valid)?;
            write_atomic(&pki.admin_path(), &pem, 0o600)?;
        }
        Ok(pki)
    }

    pub fn ca_path(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    pub fn server_path(&self) -> PathBuf {
        self.dir.join("server.pem")
    }

    pub fn admin_path(&self) -> PathBuf {
        self.dir.join("admin.pem")
    }

    /// Returns the symlink in a node's kubeconfig.
    pub fn node_path(&self, node: &str) -> PathBuf {
        self.dir.join(node).join("kubelet-client-current.pem")
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn make_ca(&self, stem: &str) -> Result<()> {
        let (key, cn) = (new_key()?, name(if stem == "ca" { "kubernetes" } else { stem }, None)?);
        let mut ca = builder(&cn, &key, self.next_serial()?, Validity::for_the_next(10 * YEAR))?;
        ca.set_issuer_name(&cn)?;
        ca.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        ca.append_extension(
            KeyUsage::new().critical().digital_signature().key_cert_sign().crl_sign().build()?,
        )?;
        let context = ca.x509v3_context(None, None);
        let key_id = SubjectKeyIdentifier::new().build(&context)?;
        ca.append_extension(key_id)?;
        ca.sign(&key, MessageDigest::sha256())?;
        let key_pem = key.private_key_to_pem_pkcs8()?;
        write_atomic(&self.dir.join(format!("{stem}.key")), &key_pem, 0o600)?;
        write_atomic(&self.dir.join(format!("{stem}.crt")), &ca.build().to_pem()?, 0o644)
    }

    fn next_serial(&self) -> Result<u64> {
        let path = self.dir.join("serial");
        let last = fs::read_to_string(&path).ok().and_then(|s| s.trim().parse().ok()).unwrap_or(0);
        let next: u64 = last + 1;
        write_atomic(&path, next.to_string().as_bytes(), 0o644)?;
        Ok(next)
    }

    /// Issues certificate and key in one PEM, signed by the CA with the name `stem`.
    fn issue(
        &self,
        stem: &str,
        subject: &X509Name,
        usage: &Usage<'_>,
        valid: Validity,
    ) -> Result<(Vec<u8>, u64)> {
        let read = |suffix: &str| {
            let path = self.dir.join(format!("{stem}.{suffix}"));
            fs::read(&path).with_context(|| format!("reading {}", path.display()))
        };
        let ca = X509::from_pem(&read("crt")?)?;
        let ca_key = PKey::private_key_from_pem(&read("key")?)?;
        let (key, serial) = (new_key()?, self.next_serial()?);
        let mut cert = builder(subject, &key, serial, valid)?;
        cert.set_issuer_name(ca.subject_name())?;
        cert.append_extension(BasicConstraints::new().critical().build()?)?;
        cert.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        let context = cert.x509v3_context(Some(&ca), None);
        let issuer_id = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
        cert.append_extension(issuer_id)?;
        match usage {
            Usage::Client => {
                cert.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?;
            }
            Usage::Server(names) => {
                cert.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
                let mut sans = SubjectAlternativeName::new();
                for name in *names {
                    match name.parse::<IpAddr>() {
                        Ok(_) => sans.ip(name),
                        Err(_) => sans.dns(name),
                    };
                }
                let context = cert.x509v3_context(Some(&ca), None);
                let sans = sans.build(&context)?;
                cert.append_extension(sans)?;
            }
        }
        cert.sign(&ca_key, MessageDigest::sha256())?;
        let mut pem = cert.build().to_pem()?;
        pem.extend(key.private_key_to_pem_pkcs8()?);
        Ok((pem, serial))
    }

    /// Ensures that a node has a certificate.
    pub fn ensure_node(&self, node: &str) -> Result<()> {
        if self.node_path(node).exists() {
            return Ok(());
        }
        self.rotate(node, Validity::for_the_next(YEAR)).map(drop)
    }

    /// Issues a new certificate for a node, and points the symlink to it.
    pub fn rotate(&self, node: &str, valid: Validity) -> Result<Issued> {
        self.rotate_from("ca", node, valid)
    }

    /// Like [`Self::rotate`], from a CA that the server does not trust.
    pub fn rotate_from_wrong_ca(&self, node: &str, valid: Validity) -> Result<Issued> {
        if !self.dir.join("wrong-ca.crt").exists() {
            self.make_ca("wrong-ca")?;
        }
        self.rotate_from("wrong-ca", node, valid)
    }

    fn rotate_from(&self, stem: &str, node: &str, valid: Validity) -> Result<Issued> {
        let subject = name(&format!("system:node:{node}"), Some("system:nodes"))?;
        let (pem, serial) = self.issue(stem, &subject, &Usage::Client, valid)?;
        let dir = self.dir.join(node);
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
        let mut path = dir.join(format!("kubelet-client-{date}.pem"));
        if path.exists() {
            path = dir.join(format!("kubelet-client-{date}-{serial}.pem"));
        }
        write_atomic(&path, &pem, 0o600)?;
        let (current, updated) = (self.node_path(node), dir.join("kubelet-client-updated.pem"));
        // A leftover of an earlier run that was killed here.
        let _ = fs::remove_file(&updated);
        symlink(&path, &updated)
            .and_then(|()| fs::rename(&updated, &current))
            .with_context(|| format!("swinging {}", current.display()))?;
        Ok(Issued { serial, path })
    }
}
