//! Metrics of the running agent: on the unix socket, over TLS, as a file; promtool accepts all of
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::Stdio,
    time::Instant,
};

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    ssl::{SslConnector, SslMethod, SslVerifyMode},
    x509::{X509, X509Name, extension::SubjectAlternativeName},
};
use support::{Agent, FakeHost, MIB, NODE, PATIENCE, api_server, container_id, pod, promtool, uid};

const SOCKET: &str = "/run/wasp-agent/metrics.sock";
const TEXTFILE: &str = "/var/lib/node_exporter/textfile_collector/wasp-agent.prom";

fn host() -> FakeHost {
    FakeHost::new(4096 * MIB, 2048 * MIB)
}

/// Sends a request; returns the head and the body of the answer.
fn ask(mut stream: impl Read + Write, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.to_owned(), body.to_owned())
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}

fn scrape(host: &FakeHost, more: &str) -> (String, String) {
    ask(UnixStream::connect(host.path(SOCKET)).unwrap(), &get("/metrics", more))
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn assert_promtool_likes(text: &str) {
    let Some(mut promtool) = promtool() else { return };
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn promtool_has_nothing_to_say_of_one_of_everything() {
    let golden = format!("{}/tests/golden/metrics/prometheus.txt", env!("CARGO_MANIFEST_DIR"));
    assert_promtool_likes(&fs::read_to_string(golden).unwrap());
}

#[test]
fn the_agent_serves_its_metrics_on_a_socket_and_leaves_nothing() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    host.write(
        "/usr/lib/wasp-agent/config.d/20-test.toml",
        &format!("metrics.textfile = {TEXTFILE:?}"),
    );
    let vm = server.apply(&pod("vm", NODE, Some("100Mi"), None)).unwrap();
    host.container(uid(&vm), &container_id(1), "main", "max");
    // The socket of a killed agent does no harm.
    fs::create_dir_all(host.path("/run/wasp-agent")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(host.path(SOCKET)).unwrap());
    let agent = Agent::start(&host);
    let granted = format!("wasp_agent_swap_granted_bytes {}\n", 50 * MIB);
    let (head, text) = eventually(|| {
        UnixStream::connect(host.path(SOCKET)).ok()?;
        Some(scrape(&host, "")).filter(|(_, text)| text.contains(&granted))
    });
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    for line in [
        "wasp_agent_limits_written_total{cause=\"found\"} 1",
        "wasp_agent_containers 1",
        "wasp_agent_api_reachable 1",
        "wasp_agent_evictions_total{outcome=\"accepted\"} 0",
        "wasp_agent_problem{kind=\"metrics\"} 0",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in\n{text}");
    }
    assert_promtool_likes(&text);
    let (head, open) = scrape(&host, "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(open.ends_with("# EOF\n"), "{open}");

    for (request, status) in [
        (get("/", ""), "404"),
        (get("/metrics", "").replace("GET", "POST"), "405"),
        (format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10)), "431"),
    ] {
        let mut stream = UnixStream::connect(host.path(SOCKET)).unwrap();
        // The agent may close the connection before the end of an oversized request.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"));
    }
    let mode = |path: &str| fs::metadata(host.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(SOCKET), 0o600);
    let file = eventually(|| fs::read_to_string(host.path(TEXTFILE)).ok());
    assert_promtool_likes(&file);
    assert_eq!(mode(TEXTFILE), 0o644, "node_exporter is another user");

    assert_eq!(agent.stop().0, Some(0));
    assert!(!host.path(SOCKET).exists());
    let left = fs::read_to_string(host.path(TEXTFILE)).unwrap();
    assert_eq!(left.lines().count(), 3, "what is old is not taken for new: {left}");
    assert!(left.contains("\nwasp_agent_published_timestamp_seconds "), "{left}");
    assert_promtool_likes(&left);
    assert!(Agent::command(&host, &["cleanup"]).status().unwrap().success());
    assert!(!host.path(TEXTFILE).exists());
    // A directory that is configured by mistake keeps the files of others.
    host.write(&format!("{TEXTFILE}/other.prom"), "");
    assert!(Agent::command(&host, &["cleanup"]).status().unwrap().success());
    assert!(host.path(TEXTFILE).join("other.prom").exists());
}

#[test]
fn a_silent_crowd_keeps_nobody_waiting_for_long() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let agent = Agent::start(&host);
    let connect = || UnixStream::connect(host.path(SOCKET)).unwrap();
    eventually(|| UnixStream::connect(host.path(SOCKET)).ok());
    let crowd: Vec<UnixStream> = (0..40).map(|_| connect()).collect();
    // The agent closes surplus connections immediately.
    let closed = |stream: &UnixStream| {
        stream.set_nonblocking(true).unwrap();
        matches!((&*stream).read(&mut [0]), Ok(0))
    };
    eventually(|| (crowd.iter().filter(|stream| closed(stream)).count() >= 32).then_some(()));
    // And the others when their time is over.
    eventually(|| crowd.iter().all(closed).then_some(()));
    assert!(scrape(&host, "").0.starts_with("HTTP/1.1 200 "));
    assert_eq!(agent.stop().0, Some(0));
}

/// A self-signed certificate for 127.0.0.1.
fn certificate() -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "metrics").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    let context = builder.x509v3_context(None, None);
    let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&context).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// Sends a GET over TLS, as a client that trusts `server` and presents `client`.
fn scrape_by_tls(
    address: &str,
    server: &X509,
    client: Option<&(X509, PKey<Private>)>,
) -> io::Result<String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.cert_store_mut().add_cert(server.clone()).unwrap();
    connector.set_verify(SslVerifyMode::PEER);
    if let Some((certificate, key)) = client {
        connector.set_certificate(certificate).unwrap();
        connector.set_private_key(key).unwrap();
    }
    let stream = TcpStream::connect(address)?;
    let mut stream = connector
        .build()
        .connect("127.0.0.1", stream)
        .map_err(|error| io::Error::other(error.to_string()))?;
    stream.write_all(get("/metrics", "").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn by_tls_it_serves_whom_it_knows_and_takes_renewed_certificates() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let install = |(certificate, key): &(X509, PKey<Private>)| {
        let pem = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        host.write("/etc/metrics/tls.crt", &pem(certificate.to_pem().unwrap()));
        host.write("/etc/metrics/tls.key", &pem(key.private_key_to_pem_pkcs8().unwrap()));
    };
    let configure = |address: &str, more: &str| {
        let text = format!(
            "[metrics]\nlisten = {address:?}\ncertificate = \"/etc/metrics/tls.crt\"\n\
             key = \"/etc/metrics/tls.key\"\n{more}\n"
        );
        host.write("/etc/wasp-agent/wasp-agent.toml", &text);
    };
    // A port that is in use.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let first = certificate();
    install(&first);
    configure(&address, "");
    let mut agent = Agent::start(&host);
    let status = agent.hears("cannot serve metrics at");
    assert!(status.contains(&address) && status.contains("metrics.listen"), "{status}");
    eventually(|| UnixStream::connect(host.path(SOCKET)).ok());
    let troubled = "wasp_agent_problem{kind=\"metrics\"} 1\n";
    eventually(|| scrape(&host, "").1.contains(troubled).then_some(()));
    drop(taken);
    agent.hears("STATUS=Swap");
    let answer = scrape_by_tls(&address, &first.0, None).unwrap();
    assert!(answer.contains("\nwasp_agent_build_info{version="), "{answer}");

    let second = certificate();
    install(&second);
    scrape_by_tls(&address, &first.0, None).expect_err("a certificate of before");
    scrape_by_tls(&address, &second.0, None).unwrap();

    let client = certificate();
    let pem = String::from_utf8(client.0.to_pem().unwrap()).unwrap();
    host.write("/etc/metrics/clients.crt", &pem);
    configure(&address, "client-ca = \"/etc/metrics/clients.crt\"");
    agent.signal("-HUP");
    agent.hears("READY=1");
    eventually(|| scrape_by_tls(&address, &second.0, None).is_err().then_some(()));
    let answer = scrape_by_tls(&address, &second.0, Some(&client)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    scrape_by_tls(&address, &second.0, Some(&second)).expect_err("a client of nobody");

    fs::remove_file(host.path("/etc/metrics/tls.key")).unwrap();
    scrape_by_tls(&address, &second.0, Some(&client)).expect_err("no key");
    let status = agent
        .hears("STATUS=cannot serve metrics over TLS: /etc/metrics/tls.key, which metrics.key");
    assert!(status.contains("/etc/metrics/tls.key"), "{status}");
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn a_port_without_certificate_is_a_contradiction() {
    let host = host();
    host.write("/etc/wasp-agent/wasp-agent.toml", "metrics.listen = \"[::]:9753\"\n");
    let output = Agent::command(&host, &["check-config"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    for part in ["wasp-agent.toml:1", "metrics.listen", "metrics.certificate", "metrics.key"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}
