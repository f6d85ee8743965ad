//! Authenticates x509 client certificates as kube-apiserver does (apiserver,
//! pkg/authentication/request/x509): CN is the user, every O a group.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use openssl::asn1::Asn1Time;
use openssl::nid::Nid;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509StoreContext};

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
}

impl User {
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|g| g == "system:masters")
    }

    /// Returns the node's name, if the user is a node.
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:")?;
        self.groups.iter().any(|g| g == "system:nodes").then_some(name)
    }
}

/// The other end of a connection, with its certificate if it showed one.
#[derive(Debug)]
pub struct Peer {
    cert: Option<X509>,
    /// The chain leads to our CA. Each request checks the dates.
    trusted: bool,
}

/// A store that trusts only the CA, and does not check dates.
pub fn trust_store(ca: X509) -> Result<X509Store> {
    let mut builder = X509StoreBuilder::new()?;
    builder.add_cert(ca)?;
    let mut param = X509VerifyParam::new()?;
    param.set_flags(X509VerifyFlags::NO_CHECK_TIME)?;
    builder.set_param(&param)?;
    Ok(builder.build())
}

impl Peer {
    pub fn new(cert: Option<X509>, trust: &X509Store) -> Self {
        let verify = |cert: &X509| -> Result<bool> {
            let chain = Stack::new()?;
            let mut context = X509StoreContext::new()?;
            Ok(context.init(trust, cert, &chain, |c| c.verify_cert())?)
        };
        let trusted = cert.as_ref().is_some_and(|c| verify(c).unwrap_or(false));
        Self { cert, trusted }
    }

    pub fn serial(&self) -> u64 {
        let serial = self.cert.as_ref().and_then(|c| c.serial_number().to_bn().ok());
        serial.and_then(|n| n.to_dec_str().ok()?.parse().ok()).unwrap_or(0)
    }

    /// Returns the user, unless the certificate is missing, foreign, or not valid now.
    pub fn user(&self) -> Option<User> {
        let cert = self.cert.as_ref().filter(|_| self.trusted)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let now = Asn1Time::from_unix(i64::try_from(now).ok()?).ok()?;
        if cert.not_before() > now || cert.not_after() < now {
            return None;
        }
        let entries = |nid: Nid| {
            cert.subject_name()
                .entries_by_nid(nid)
                .filter_map(|e| e.data().to_string().ok())
                .map(|s| s.to_string())
                .collect::<Vec<_>>()
        };
        let name = entries(Nid::COMMONNAME).into_iter().next()?;
        let mut groups = entries(Nid::ORGANIZATIONNAME);
        groups.push("system:authenticated".to_owned());
        Some(User { name, groups })
    }
}
