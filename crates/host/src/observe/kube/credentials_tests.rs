use openssl::{
    asn1::Asn1Time, bn::BigNum, hash::MessageDigest, pkey::Private, rsa::Rsa, x509::X509Name,
};

use super::*;

struct Host {
    _folder: tempfile::TempDir,
    roots: Roots,
    key: PKey<Private>,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        Self { _folder: folder, roots, key }
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.roots.path(path).parent().unwrap()).unwrap();
        fs::write(self.roots.path(path), text).unwrap();
    }

    /// Certificate and key of `system:node:NAME`, valid for this many days.
    fn pem(&self, node: &str, days: u32) -> Vec<u8> {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_text("O", "system:nodes").unwrap();
        name.append_entry_by_text("CN", &format!("system:node:{node}")).unwrap();
        let name = name.build();
        let mut certificate = X509::builder().unwrap();
        certificate.set_subject_name(&name).unwrap();
        certificate.set_issuer_name(&name).unwrap();
        certificate
            .set_serial_number(&BigNum::from_u32(days).unwrap().to_asn1_integer().unwrap())
            .unwrap();
        certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        certificate.set_not_after(&Asn1Time::days_from_now(days).unwrap()).unwrap();
        certificate.set_pubkey(&self.key).unwrap();
        certificate.sign(&self.key, MessageDigest::sha256()).unwrap();
        let certificate = certificate.build().to_pem().unwrap();
        [certificate, self.key.private_key_to_pem_pkcs8().unwrap()].concat()
    }

    /// Writes a kubeconfig with an embedded first certificate, as kubeadm does.
    fn kubeconfig(&self, pem: &[u8], server: &str) {
        let data = STANDARD.encode(pem);
        self.put(
            "/etc/kubernetes/kubelet.conf",
            format!(
                "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{server: '{server}', \
                 certificate-authority-data: {data}}}\nusers:\n- name: u\n  user:\n    \
                 client-certificate-data: {data}\n    client-key-data: {data}\ncontexts:\n- name: d\n  \
                 context: {{cluster: c, user: u}}\ncurrent-context: d\n"
            ),
        );
    }

    async fn load(&self) -> Result<Credentials, String> {
        load(&self.roots, &Settings::defaults()).await.map_err(|error| error.to_string())
    }

    async fn days_left(&self) -> u64 {
        let expires = self.load().await.unwrap().certificate_expires.unwrap();
        expires.duration_since(SystemTime::now()).unwrap().as_secs().div_ceil(86_400)
    }
}

fn current() -> String {
    format!("{CERTIFICATES}/{CURRENT}")
}

/// The places of a kubelet with other flags, and of its unit before it runs.
#[tokio::test]
async fn credentials_come_from_where_the_kubelet_takes_them() {
    let host = Host::new();
    host.kubeconfig(&host.pem("usual", 2), "127.0.0.1:6443");
    let text = fs::read(host.roots.path("/etc/kubernetes/kubelet.conf")).unwrap();
    host.kubeconfig(&host.pem("site", 2), "127.0.0.1:6443");
    let unit = "/etc/systemd/system/kubelet.service";
    host.put(
        unit,
        "[Service]\nExecStart=/usr/bin/kubelet --kubeconfig=/site/k --cert-dir=/site/c\n",
    );
    let error = host.load().await.unwrap_err();
    assert!(error.contains("no kubeconfig of the kubelet at /site/k "), "{error}");
    let site = fs::read(host.roots.path("/etc/kubernetes/kubelet.conf")).unwrap();
    host.put("/site/k", site);
    host.put("/etc/kubernetes/kubelet.conf", text);
    assert_eq!(host.load().await.unwrap().node_name, "site");
    host.put(&format!("/site/c/{CURRENT}"), host.pem("site", 30));
    host.put(&current(), host.pem("site", 60));
    assert_eq!(host.days_left().await, 30);
    let mut settings = Settings::defaults();
    settings.kubeconfig = Some("/etc/kubernetes/kubelet.conf".into());
    assert_eq!(load(&host.roots, &settings).await.unwrap().node_name, "usual");
    host.put(unit, "[Service]\nExecStart=/usr/bin/kubelet\n");
    assert_eq!(host.load().await.unwrap().node_name, "usual", "without the flag");
}

#[tokio::test]
async fn the_kubelets_current_certificate_counts_before_the_first_one() {
    let host = Host::new();
    host.kubeconfig(&host.pem("a", 2), "127.0.0.1:6443");
    let credentials = host.load().await.unwrap();
    assert_eq!(credentials.node_name, "a");
    assert_eq!(credentials.server, "https://127.0.0.1:6443/");
    assert!(credentials.files.contains(&host.roots.path(current())), "watched before it is there");
    assert_eq!(host.days_left().await, 2);

    host.put(&current(), host.pem("a", 30));
    assert_ne!(fingerprint(&credentials.files), credentials.fingerprint);
    assert_eq!(host.days_left().await, 30);
    for (pem, why) in [
        (host.pem("b", 30), "another node's"),
        (host.pem("a", 1), "an older one"),
        (b"-----BEGIN CERTIFICATE-----\n".to_vec(), "half a file"),
        ([host.pem("a", 30), Host::new().pem("a", 30)].concat().split_off(1), "a broken one"),
    ] {
        host.put(&current(), pem);
        assert_eq!(host.days_left().await, 2, "{why}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_without_openssls_words() {
    let host = Host::new();
    let (ours, theirs) = (host.pem("a", 2), Host::new().pem("a", 2));
    let key_at = |pem: &[u8]| pem.windows(20).position(|w| w == b"-----BEGIN PRIVATE K").unwrap();
    let (at, their_at) = (key_at(&ours), key_at(&theirs));
    for (pem, why) in [
        (b"nonsense".to_vec(), "its client certificate is not a PEM certificate"),
        (ours[..at].to_vec(), "its client key is not a PEM key without passphrase"),
        ([&ours[..at], &theirs[their_at..]].concat(), "does not match its client certificate"),
    ] {
        host.kubeconfig(&pem, "https://a");
        let error = host.load().await.unwrap_err();
        assert!(error.contains(why) && !error.contains("error:"), "{error}");
    }
    host.put(
        "/etc/kubernetes/kubelet.conf",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
    );
    let error = host.load().await.unwrap_err();
    assert!(error.starts_with("no kubeconfig of the kubelet at /var/lib"), "{error}");
}

#[test]
fn a_dangling_kubeconfig_is_named_with_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots::at(folder.path());
    let link = roots.path("/var/lib/kubelet/kubeconfig");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("../gone.conf", link).unwrap();
    let error = find(&roots, &Settings::defaults()).unwrap_err().to_string();
    assert!(
        error.contains("/var/lib/kubelet/kubeconfig is a link to /var/lib/kubelet/../gone.conf, which does not exist"),
        "{error}"
    );
}
