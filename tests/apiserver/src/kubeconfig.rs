//! Writes kubeconfig files: the administrator's as kubeadm does, and a node's as the kubelet does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::pki::{Pki, write_atomic};

fn base64_of(path: &Path) -> Result<String> {
    let data = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(openssl::base64::encode_block(&data))
}

fn text(url: &str, ca: &str, user: &str, credentials: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: default-cluster\n  \
           cluster:\n    \
             certificate-authority-data: {ca}\n    \
             server: {url}\n\
         contexts:\n\
         - name: default-context\n  \
           context:\n    \
             cluster: default-cluster\n    \
             namespace: default\n    \
             user: {user}\n\
         current-context: default-context\n\
         users:\n\
         - name: {user}\n  \
           user:\n{credentials}"
    )
}

pub fn admin_path(data: &Path) -> PathBuf {
    data.join("admin.kubeconfig")
}

pub fn node_path(data: &Path, node: &str) -> PathBuf {
    data.join(format!("{node}.kubeconfig"))
}

/// With embedded certificates.
pub fn write_admin(data: &Path, pki: &Pki, url: &str) -> Result<()> {
    let ca = base64_of(&pki.ca_path())?;
    let pem = base64_of(&pki.admin_path())?;
    let credentials = format!("    client-certificate-data: {pem}\n    client-key-data: {pem}\n");
    let text = text(url, &ca, "kubernetes-admin", &credentials);
    write_atomic(&admin_path(data), text.as_bytes(), 0o600)
}

/// With the path of the symlink whose target rotation changes.
pub fn write_node(data: &Path, pki: &Pki, url: &str, node: &str) -> Result<()> {
    let ca = base64_of(&pki.ca_path())?;
    let current = std::path::absolute(pki.node_path(node))?;
    let credentials =
        format!("    client-certificate: {0}\n    client-key: {0}\n", current.display());
    let text = text(url, &ca, "default-auth", &credentials);
    write_atomic(&node_path(data, node), text.as_bytes(), 0o600)
}
