//! Reads certificate and key for the port of the metrics, and describes their faults in plain words.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use openssl::{
    error::ErrorStack,
    pkey::PKey,
    ssl::{SslContext, SslContextBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion},
    x509::X509,
};

use crate::{
    config::settings::MetricsSettings,
    model::{
        shell,
        trouble::{Problem, Trouble},
    },
    roots::Roots,
};

/// The reason why metrics are not served over TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("metrics.listen needs metrics.certificate and metrics.key")]
    NoCertificate,
    #[error("cannot set up TLS: {0}; the system's crypto policy may forbid it")]
    Context(String),
    #[error("cannot serve metrics over TLS: {}, which {key} names, {fault}", .path.display())]
    File { key: &'static str, path: PathBuf, fault: Fault },
}

/// The fault of a file in PEM form.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("does not exist")]
    Missing,
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("is empty")]
    Empty,
    #[error("has no {0} in PEM form (it has no line \"-----BEGIN …\" for one)")]
    NoPem(&'static str),
    #[error("has a {0} that is damaged")]
    Damaged(&'static str),
    #[error("has a key with a passphrase, for which the agent cannot ask")]
    Passphrase,
    #[error("has a key that does not belong to the certificate in {}", .0.display())]
    OtherKey(PathBuf),
    /// The first reason that OpenSSL gives.
    #[error("is rejected by OpenSSL: {0}")]
    Rejected(String),
}

impl TlsError {
    pub(super) fn problem(&self) -> Problem {
        let remedy = match self {
            Self::NoCertificate => vec!["wasp-agent check-config | grep metrics".to_owned()],
            Self::Context(_) => vec!["update-crypto-policies --show".to_owned()],
            Self::File { key, path, fault } => remedy(key, path, fault),
        };
        Problem::new(Trouble::Metrics, self.to_string()).with_remedy(remedy)
    }
}

/// Returns commands that show the file, and the step that corrects it.
fn remedy(key: &str, path: &Path, fault: &Fault) -> Vec<String> {
    let (quoted, shown) = (shell::path(path), path.display());
    let then = |step: String| {
        format!("# then {step}; the agent reads the file again with the next request")
    };
    match fault {
        Fault::Missing => {
            vec![
                format!("ls -l {quoted}"),
                then(format!("copy the file to {shown}, or correct {key}")),
            ]
        }
        Fault::Unreadable(_) => {
            vec![format!("ls -lZ {quoted}"), then("let root read it".to_owned())]
        }
        Fault::OtherKey(certificate) => vec![
            format!("openssl x509 -noout -pubkey -in {}", shell::path(certificate)),
            format!("openssl pkey -pubout -in {quoted}"),
            then("install a certificate and a key that print the same".to_owned()),
        ],
        Fault::Passphrase => {
            vec![format!("openssl pkey -in {quoted} -out {quoted}.new && mv {quoted}.new {quoted}")]
        }
        Fault::Empty | Fault::NoPem(_) | Fault::Damaged(_) | Fault::Rejected(_) => {
            let kind = if key == "metrics.key" { "pkey" } else { "x509" };
            vec![format!("openssl {kind} -noout -in {quoted}"), then(format!("replace {shown}"))]
        }
    }
}

pub(super) fn context(roots: &Roots, wanted: &MetricsSettings) -> Result<SslContext, TlsError> {
    let (Some(certificate), Some(key)) = (&wanted.certificate, &wanted.key) else {
        return Err(TlsError::NoCertificate);
    };
    // The system's crypto policy selects the ciphers.
    let context = || -> Result<SslContextBuilder, ErrorStack> {
        let mut context = SslContext::builder(SslMethod::tls_server())?;
        context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        Ok(context)
    };
    let mut context = context().map_err(|error| TlsError::Context(reason(&error)))?;
    context.set_certificate_chain_file(roots.path(certificate)).map_err(|error| {
        let fault = of_certificate(&roots.path(certificate), &error);
        TlsError::File { key: "metrics.certificate", path: certificate.clone(), fault }
    })?;
    context
        .set_private_key_file(roots.path(key), SslFiletype::PEM)
        .and_then(|()| context.check_private_key())
        .map_err(|error| {
            let fault = of_key(&roots.path(key), certificate, &error);
            TlsError::File { key: "metrics.key", path: key.clone(), fault }
        })?;
    if let Some(ca) = &wanted.client_ca {
        context.set_ca_file(roots.path(ca)).map_err(|error| {
            let fault = of_certificate(&roots.path(ca), &error);
            TlsError::File { key: "metrics.client-ca", path: ca.clone(), fault }
        })?;
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    Ok(context.build())
}

/// Returns the first reason, without OpenSSL's numbers and names of functions.
fn reason(error: &ErrorStack) -> String {
    let reason = error.errors().iter().find_map(openssl::error::Error::reason);
    reason.unwrap_or("no reason is given").to_owned()
}

/// Returns the file's bytes, or why there are none to look at.
fn bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    match fs::read(path) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => Err(Fault::Empty),
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Fault::Missing),
        Err(error) => Err(Fault::Unreadable(error)),
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

fn of_certificate(path: &Path, error: &ErrorStack) -> Fault {
    let bytes = match bytes(path) {
        Ok(bytes) => bytes,
        Err(fault) => return fault,
    };
    match X509::stack_from_pem(&bytes) {
        _ if !contains(&bytes, "-----BEGIN CERTIFICATE") => Fault::NoPem("certificate"),
        Err(_) => Fault::Damaged("certificate"),
        Ok(found) if found.is_empty() => Fault::Damaged("certificate"),
        Ok(_) => Fault::Rejected(reason(error)),
    }
}

fn of_key(path: &Path, certificate: &Path, error: &ErrorStack) -> Fault {
    let bytes = match bytes(path) {
        Ok(bytes) => bytes,
        Err(fault) => return fault,
    };
    let has_passphrase = contains(&bytes, "ENCRYPTED");
    // Without this, OpenSSL would ask on the terminal.
    let key = PKey::private_key_from_pem_callback(&bytes, |_| Ok(0));
    match key {
        _ if !contains(&bytes, "PRIVATE KEY-----") => Fault::NoPem("private key"),
        Err(_) if has_passphrase => Fault::Passphrase,
        Err(_) => Fault::Damaged("private key"),
        Ok(_) if reason(error).contains("mismatch") => Fault::OtherKey(certificate.to_owned()),
        Ok(_) => Fault::Rejected(reason(error)),
    }
}

#[cfg(test)]
mod tests {
    use openssl::{
        asn1::Asn1Time,
        ec::{EcGroup, EcKey},
        hash::MessageDigest,
        nid::Nid,
        pkey::Private,
        symm::Cipher,
    };

    use super::*;

    fn key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    }

    fn certificate(key: &PKey<Private>) -> Vec<u8> {
        let mut builder = X509::builder().unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.set_pubkey(key).unwrap();
        builder.sign(key, MessageDigest::sha256()).unwrap();
        builder.build().to_pem().unwrap()
    }

    #[test]
    fn each_fault_is_said_in_plain_words_with_file_and_fix() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let put = |name: &str, text: &[u8]| fs::write(roots.path(name), text).unwrap();
        let wanted = MetricsSettings {
            certificate: Some("/tls.crt".into()),
            key: Some("/tls.key".into()),
            ..crate::config::settings::Settings::defaults().metrics
        };
        let (own, other) = (key(), key());
        let pem = own.private_key_to_pem_pkcs8().unwrap();
        let with_passphrase =
            own.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap();
        let crt = certificate(&own);
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        /// The certificate's file, the key's, the fault, and the fix.
        type Case<'a> = (Option<&'a [u8]>, &'a [u8], &'a str, &'a str);
        let cases: &[Case<'_>] = &[
            (None, &pem, "/tls.crt, which metrics.certificate names, does not exist", "ls -l"),
            (Some(b"\n"), &pem, "/tls.crt, which metrics.certificate names, is empty", "x509"),
            (Some(b"x"), &pem, "has no certificate in PEM form", "openssl x509 -noout"),
            (Some(broken), &pem, "has a certificate that is damaged", "openssl x509 -noout"),
            (Some(&crt), &crt, "/tls.key, which metrics.key names, has no private key", "pkey"),
            (Some(&crt), &with_passphrase, "has a key with a passphrase", "openssl pkey -in"),
            (
                Some(&certificate(&other)),
                &pem,
                "does not belong to the certificate in /tls.crt",
                "openssl x509 -noout -pubkey -in /tls.crt",
            ),
        ];
        for (crt, key, text, fix) in cases {
            let _ = fs::remove_file(roots.path("/tls.crt"));
            crt.iter().for_each(|crt| put("/tls.crt", crt));
            put("/tls.key", key);
            let Err(error) = context(&roots, &wanted) else { panic!("{text}") };
            let problem = error.problem();
            assert!(problem.text.contains(text), "{problem:?}");
            assert!(problem.remedy.join("; ").contains(fix), "{problem:?}");
            let raw = ["error:", "routines", "ssl/", "crypto/"];
            assert!(raw.iter().all(|word| !problem.text.contains(word)), "{problem:?}");
        }
        put("/tls.crt", &crt);
        put("/tls.key", &pem);
        assert!(context(&roots, &wanted).is_ok());
    }
}
