use std::path::PathBuf;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
/// `base64 -w 20` of the above.
const BROKEN: [&str; 5] = [
    "LS0tLS1CRUdJTiBDRVJU",
    "SUZJQ0FURS0tLS0tCk1J",
    "SUIKLS0tLS1FTkQgQ0VS",
    "VElGSUNBVEUtLS0tLQo=",
    "",
];

struct Host {
    _folder: tempfile::TempDir,
    roots: Roots,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        Self { _folder: folder, roots }
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.roots.path(path).parent().unwrap()).unwrap();
        fs::write(self.roots.path(path), text).unwrap();
    }

    fn access(&self, text: impl AsRef<[u8]>) -> Result<ApiAccess, String> {
        self.put("/var/lib/kubelet/kubeconfig", text);
        access(&self.roots, &self.roots.path("/var/lib/kubelet/kubeconfig"))
            .map_err(|error| error.to_string())
    }
}

/// A kubeconfig with these lines for the cluster and the user.
fn kubeconfig(cluster: &str, user: &str) -> String {
    let indented = |lines: &str| lines.replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster:\n    {}\nusers:\n- name: u\n  \
         user:\n    {}\ncontexts:\n- name: d\n  context: {{cluster: c, user: u}}\ncurrent-context: d\n",
        indented(cluster),
        indented(user)
    )
}

fn read_from(cluster: &str, user: &str) -> Result<ApiAccess, String> {
    Host::new().access(kubeconfig(cluster, user))
}

fn refused(text: &str) -> String {
    match Host::new().access(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(why) => why,
    }
}

const SERVER: &str = "server: https://a:6443";

#[test]
fn a_server_is_what_client_go_takes_it_for() {
    for (server, url) in [
        ("127.0.0.1:6443", "https://127.0.0.1:6443/"),
        ("localhost:6443", "https://localhost:6443/"),
        ("'[::1]:6443'", "https://[::1]:6443/"),
        ("api.example.com", "https://api.example.com/"),
        ("HTTPS://api.example.com:6443/", "https://api.example.com:6443/"),
        ("https://proxy/k8s/clusters/c-1", "https://proxy/k8s/clusters/c-1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("https://a:6443?x=y", "https://a:6443/"),
    ] {
        let access = read_from(&format!("server: {server}"), "token: t").unwrap();
        assert_eq!(access.server.to_string(), url, "{server}");
    }
    for (server, why) in [
        ("''", "has no server"),
        ("null", "has no server"),
        ("ftp://a", "neither https nor http"),
        ("https://", "not a URL"),
        ("https:///x", "not a URL"),
        ("'https://a:99999'", "not a URL"),
        ("a:6443/path", "has a path but no scheme"),
        ("'a b'", "not a URL"),
        ("'https://me:secret@a b'", "not a URL"),
    ] {
        let error = refused(&kubeconfig(&format!("server: {server}"), "token: t"));
        assert!(error.contains(why) && !error.contains("secret"), "{server}: {error}");
    }
}

/// client-go's `client_config.go`: it takes credentials only for TLS.
#[test]
fn no_credentials_travel_without_tls() {
    let of = |server: &str, user: &str| read_from(&format!("server: {server}"), user).unwrap();
    let user = "token: t\nusername: a\npassword: b";
    let open = of("http://127.0.0.1:8080", user);
    assert!(open.token.is_none() && open.username.is_none() && open.password.is_none());
    let file = "token: stale\ntokenFile: /var/run/token";
    assert!(of("http://127.0.0.1:8080", file).token_file.is_none());
    let secret = of("https://127.0.0.1:6443", user);
    assert_eq!(secret.token.unwrap().expose_secret(), "t");
    let secret = of("https://127.0.0.1:6443", file);
    assert!(secret.token.is_none(), "the file is renewed, the token in the same entry is not");
    assert!(secret.token_file.unwrap().ends_with("var/run/token"));
}

#[test]
fn data_may_be_written_in_every_way_that_yaml_has() {
    let joined = BROKEN.concat();
    let key = "certificate-authority-data";
    let lines = BROKEN.join("\n  ");
    let escaped = BROKEN.join("\\r\\n");
    for data in [
        joined.clone(),
        format!("|\n  {lines}"),
        format!("|-\n  {lines}"),
        format!("\"{escaped}\""),
        format!("!!str '{joined}'"),
        format!("!!binary {}", base64::engine::general_purpose::STANDARD.encode(&joined)),
    ] {
        let access = read_from(&format!("{SERVER}\n{key}: {data}"), "token: t")
            .unwrap_or_else(|error| panic!("{data}: {error}"));
        assert_eq!(access.authority.as_deref(), Some(PEM.as_bytes()), "{data}");
    }
    // The tag has base64 decoded once more.
    for data in ["'%%%'", &format!("!!binary {joined}")] {
        let error = refused(&kubeconfig(&format!("{SERVER}\n{key}: {data}"), "token: t"));
        assert_eq!(error, "its certificate-authority-data is not base64");
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    text: String,
    error: Option<String>,
    server: Option<String>,
    authority: Option<String>,
    token: Option<String>,
    #[serde(default)]
    insecure: bool,
    server_name: Option<String>,
}

/// 52 kubeconfigs with the answers of client-go. `../kubelet/recorded.md` describes the recording.
#[test]
fn the_result_is_that_of_client_go() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("kubeconfig_recorded.json")).unwrap();
    assert!(rows.len() > 50);
    for row in rows {
        let found = Host::new().access(&row.text);
        let Some(server) = row.server.filter(|_| row.error.is_none()) else {
            assert!(found.is_err(), "{}: {:?}", row.name, row.error);
            continue;
        };
        if row.name == "token of a block" {
            assert!(found.is_err(), "no header can have this token");
            continue;
        }
        let found = found.unwrap_or_else(|error| panic!("{}: {error}", row.name));
        assert_eq!(found.server.to_string(), format!("{server}/"), "{}", row.name);
        let authority = found.authority.map(|pem| String::from_utf8(pem).unwrap());
        assert_eq!(authority, row.authority, "{}", row.name);
        let token = found.token.map(|token| token.expose_secret().to_owned());
        assert_eq!(token, row.token, "{}", row.name);
        assert_eq!((found.accepts_any_server, found.server_name), (row.insecure, row.server_name));
    }
}

#[test]
fn empty_data_counts_as_none_and_paths_are_the_hosts() {
    let host = Host::new();
    host.put("/var/lib/kubelet/pki/ca.crt", PEM);
    host.put("/etc/certs/client.pem", "client");
    for empty in ["''", "null", "", "\"\""] {
        let text = kubeconfig(
            &format!(
                "{SERVER}\ncertificate-authority: pki/ca.crt\ncertificate-authority-data: {empty}"
            ),
            &format!(
                "client-certificate: /etc/certs/client.pem\nclient-certificate-data: {empty}\n\
                 client-key: ../../../etc/certs/client.pem\nclient-key-data: {empty}\ntokenFile: {empty}"
            ),
        );
        let access = host.access(text).unwrap();
        assert_eq!(access.authority.as_deref(), Some(PEM.as_bytes()), "{empty}");
        let identity = access.identity.unwrap();
        assert_eq!((&*identity.certificate, &*identity.key), (&b"client"[..], &b"client"[..]));
        assert!(access.files.contains(&host.roots.path("/var/lib/kubelet/pki/ca.crt")));
        assert_eq!(access.token_file, None);
    }
    let text = kubeconfig(&format!("{SERVER}\ncertificate-authority: pki/gone.crt"), "token: t");
    let error = host.access(text).err().unwrap();
    let expected =
        "cannot read its certificate-authority /var/lib/kubelet/pki/gone.crt: No such file";
    assert!(error.starts_with(expected), "{error}");
}

/// The kubelet creates its link with an absolute target.
#[test]
fn a_link_with_an_absolute_target_is_followed_below_the_root() {
    let host = Host::new();
    host.put("/var/lib/kubelet/pki/kubelet-client-2026-11-28.pem", "new");
    let link = Path::new("/var/lib/kubelet/pki/kubelet-client-current.pem");
    let target = "/var/lib/kubelet/pki/kubelet-client-2026-11-28.pem";
    std::os::unix::fs::symlink(target, host.roots.path(link)).unwrap();
    assert_eq!(read(&located(&host.roots, link)).unwrap(), b"new");
    assert_eq!(located(&host.roots, Path::new("/gone")), host.roots.path("/gone"));
}

#[test]
fn the_last_of_a_key_and_the_first_document_count() {
    let text = kubeconfig("server: https://old:1\nserver: https://new:1", "token: a\ntoken: b");
    let more = ["", "---\n", "---\nkind: Other\n", "---\n: broken: [\n"];
    for more in more {
        for before in ["", "---\n", "# a comment\n---\n"] {
            let access = Host::new().access(format!("{before}{text}{more}")).unwrap();
            assert_eq!(access.server.to_string(), "https://new:1/", "{more}");
            assert_eq!(access.token.unwrap().expose_secret(), "b");
        }
    }
}

#[test]
fn what_cannot_be_used_is_told_in_the_projects_own_words() {
    let whole = kubeconfig(SERVER, "token: t");
    for (from, to, why) in [
        ("current-context: d", "", "it has no current-context"),
        (
            "current-context: d",
            "current-context: x",
            "it has no context \"x\", its current-context",
        ),
        ("cluster: c,", "cluster: x,", "it has no cluster \"x\", which context \"d\" names"),
        ("user: u}", "user: x}", "it has no user \"x\", which context \"d\" names"),
        ("user: u}", "user: null}", "it has no user \"\", which context \"d\" names"),
        ("token: t", "exec: {command: aws, args: [x]}", "its user has an exec plugin"),
        ("token: t", "auth-provider: {name: gcp}", "its user has an auth-provider"),
        ("token: t", "as: admin", "its user has impersonation"),
        (
            "token: t",
            "client-certificate-data: eA==",
            "it has a client-certificate but no client-key",
        ),
        ("token: t", "client-key-data: eA==", "it has a client-key but no client-certificate"),
        ("token: t", "token: \"a\\nb\"", "its token has a line break"),
        (
            SERVER,
            "server: https://a\n    tls-server-name: \"a\\0b\"",
            "its tls-server-name is not a",
        ),
    ] {
        let text = whole.replace(from, to);
        assert_ne!(text, whole, "{from}");
        let error = refused(&text);
        assert!(error.starts_with(why), "{error}");
    }
    for nothing in ["", "null", "clusters: null\nusers:\ncontexts: ~\n", "{}"] {
        assert_eq!(refused(nothing), "it has no current-context");
    }
    for broken in ["clusters: [", "- a\n", "\u{0}", "a: *b", "clusters: 5"] {
        let error = refused(broken);
        let whys =
            ["it is not valid YAML", "it uses an alias without", "a value in it has another"];
        assert!(whys.iter().any(|why| error.starts_with(why)), "{broken}: {error}");
    }
    let nulls =
        kubeconfig("server: https://a\ncertificate-authority: null\nextensions: null", "token: t");
    assert!(Host::new().access(nulls + "preferences: null\nextensions:\n").is_ok());
}

/// client-go decodes with go-yaml, which accepts all of these.
#[test]
fn what_yaml_allows_beside_the_usual_is_read() {
    let whole = kubeconfig(SERVER, "token: t");
    let with_anchors = "x-cluster: &c {server: 'https://a:6443', tls-server-name: b}\n\
        x-user: &u\n  token: t\nclusters:\n- name: c\n  cluster: *c\nusers:\n- name: u\n  user:\n    <<: *u\n\
        contexts: [{name: d, context: {cluster: c, user: u}}]\ncurrent-context: d\n";
    let json = r#"{"kind":"Config","clusters":[{"name":"c","cluster":{"server":"https://a:6443"}}],
	"users":[{"name":"u","user":{"token":"t"}}],
	"contexts":[{"name":"d","context":{"cluster":"c","user":"u"}}],"current-context":"d"}"#;
    for text in [
        format!("\u{feff}{whole}"),
        whole.replace('\n', "\r\n"),
        whole.replace(": ", ":\t"),
        whole.replace("current-context: d", "\"current-context\": 'd' # which"),
        format!("%YAML 1.1\n---\n{whole}...\n"),
        format!("{whole}current-context: x\ncurrent-context: d\n"),
        with_anchors.to_owned(),
        json.to_owned(),
        json.replace('\n', ""),
    ] {
        let access = Host::new().access(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(access.server.to_string(), "https://a:6443/", "{text}");
        assert_eq!(access.token.unwrap().expose_secret(), "t", "{text}");
    }
    let access = Host::new().access(with_anchors).unwrap();
    assert_eq!(access.server_name.as_deref(), Some("b"));
    let insecure = |value: &str| {
        let cluster = format!("{SERVER}\ninsecure-skip-tls-verify: {value}");
        read_from(&cluster, "token: t").unwrap().accepts_any_server
    };
    assert!(insecure("true") && insecure("True") && !insecure("false") && !insecure("null"));
}

/// Where both exist, the agent uses the certificate, because it cannot run a plugin.
#[test]
fn a_plugin_does_not_hide_a_certificate() {
    let pem = BROKEN.concat();
    let user = format!(
        "client-certificate-data: {pem}\nclient-key-data: {pem}\nexec:\n  command: aws\n  env: null"
    );
    assert!(read_from(SERVER, &user).unwrap().identity.is_some());
}

#[test]
fn proxies_are_left_out() {
    let access = read_from(&format!("{SERVER}\nproxy-url: socks5://x:1"), "token: t").unwrap();
    assert_eq!(access.server.to_string(), "https://a:6443/");
}

#[test]
fn a_kubelets_configuration_is_no_kubeconfig() {
    let host = Host::new();
    let is = |text: &str| {
        host.put("/file", text);
        is_another_kind(&host.roots.path("/file"))
    };
    assert!(is("kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n"));
    assert!(!is(&kubeconfig(SERVER, "token: t")) && !is("") && !is("kind: ["));
    assert!(!is_another_kind(&PathBuf::from("/no/such/file")));
}

proptest! {
    #[test]
    fn no_text_panics(bytes: Vec<u8>, cluster in "(?s).{0,60}", user in "(?s).{0,60}") {
        let host = Host::new();
        let _ = host.access(&bytes);
        let _ = host.access(kubeconfig(&cluster, &user));
        let _ = host.access(kubeconfig(SERVER, &format!("token: {user:?}")));
    }

    /// kube panics at a URL without scheme or host.
    #[test]
    fn a_server_has_a_scheme_and_a_host_or_is_refused(text in "(https?://|HTTP://|)[ -~]{0,30}") {
        if let Ok(uri) = server(&text) {
            prop_assert!(matches!(uri.scheme_str(), Some("https" | "http")));
            prop_assert!(uri.host().is_some_and(|host| !host.is_empty()));
            let _ = hyper::http::uri::Builder::new()
                .scheme(uri.scheme_str().unwrap())
                .authority(uri.authority().unwrap().as_str())
                .path_and_query(format!("{}/api", uri.path().trim_end_matches('/')))
                .build()
                .unwrap();
        }
    }

    #[test]
    fn base64_is_decoded_wherever_it_is_broken(bytes: Vec<u8>, every in 1..40_usize) {
        let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let broken: Vec<&str> =
            text.as_bytes().chunks(every).map(|part| std::str::from_utf8(part).unwrap()).collect();
        prop_assert_eq!(decoded(&broken.join("\r\n")), Some(bytes));
    }
}
