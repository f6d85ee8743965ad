//! Runs the same tests against the test server and, if `KUBEBUILDER_ASSETS` names a directory with
//! `kube-apiserver` and `etcd` (the convention of controller-runtime's envtest), the real one.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use openssl::rsa::Rsa;

use crate::app::node;
use crate::client::Client;
use crate::pki::{Pki, write_atomic};
use crate::{ApiServer, Handle, Options, kubeconfig};

/// A server to run tests against.
#[derive(Debug)]
pub enum Cluster {
    Test(Box<Handle>),
    Real(RealServer),
}

/// kube-apiserver and etcd, ended when dropped.
#[derive(Debug)]
pub struct RealServer {
    data: PathBuf,
    pki: Pki,
    address: SocketAddr,
    // Fields are dropped in this order.
    _apiserver: Process,
    _etcd: Process,
}

#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn assets() -> Option<PathBuf> {
    static SAY: Once = Once::new();
    let dir = std::env::var_os("KUBEBUILDER_ASSETS").filter(|v| !v.is_empty()).map(PathBuf::from);
    if dir.is_none() {
        SAY.call_once(|| {
            // Write directly to standard error, past the test harness's capture.
            let loud = b"\n*** KUBEBUILDER_ASSETS not set: real kube-apiserver NOT exercised ***\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), loud);
        });
    }
    dir
}

/// Returns the servers to test: always the test server, and the real one if there is one.
pub fn clusters(data: &Path, nodes: &[&str]) -> Result<Vec<Cluster>> {
    let mut options = Options::new(data.join("test"));
    options.nodes = nodes.iter().map(|n| (*n).to_owned()).collect();
    options.bookmark_interval = Duration::from_secs(1);
    let mut clusters = vec![Cluster::Test(Box::new(ApiServer::start(options)?))];
    if let Some(assets) = assets() {
        clusters.push(Cluster::Real(RealServer::start(&assets, &data.join("real"), nodes)?));
    }
    Ok(clusters)
}

impl Cluster {
    pub fn is_real(&self) -> bool {
        matches!(self, Self::Real(_))
    }

    fn parts(&self) -> (SocketAddr, &Pki) {
        match self {
            Self::Test(handle) => (handle.address(), handle.pki()),
            Self::Real(real) => (real.address, &real.pki),
        }
    }

    pub fn admin(&self) -> Client {
        let (address, pki) = self.parts();
        Client::admin(address, pki)
    }

    pub fn node(&self, name: &str) -> Client {
        let (address, pki) = self.parts();
        Client::node(address, pki, name)
    }

    pub fn anonymous(&self) -> Client {
        let (address, pki) = self.parts();
        Client::anonymous(address, pki)
    }

    pub fn pki(&self) -> &Pki {
        self.parts().1
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        match self {
            Self::Test(handle) => handle.admin_kubeconfig(),
            Self::Real(real) => kubeconfig::admin_path(&real.data),
        }
    }

    pub fn node_kubeconfig(&self, node: &str) -> Result<PathBuf> {
        match self {
            Self::Test(handle) => handle.node_kubeconfig(node),
            Self::Real(real) => Ok(kubeconfig::node_path(&real.data, node)),
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn spawn(assets: &Path, program: &str, data: &Path, args: &[String]) -> Result<Process> {
    let log = std::fs::File::create(data.join(format!("{program}.log")))?;
    let child = Command::new(assets.join(program))
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", assets.join(program).display()))?;
    Ok(Process(child))
}

impl RealServer {
    pub fn start(assets: &Path, data: &Path, nodes: &[&str]) -> Result<Self> {
        let pki = Pki::open(data, &[])?;
        let key = data.join("service-account.key");
        write_atomic(&key, &Rsa::generate(2048)?.private_key_to_pem()?, 0o600)?;
        let (client, peer, port) = (free_port()?, free_port()?, free_port()?);
        let at = |port| format!("http://127.0.0.1:{port}");
        let etcd = spawn(
            assets,
            "etcd",
            data,
            &[
                format!("--data-dir={}", data.join("etcd").display()),
                format!("--listen-client-urls={}", at(client)),
                format!("--advertise-client-urls={}", at(client)),
                format!("--listen-peer-urls={}", at(peer)),
                format!("--initial-advertise-peer-urls={}", at(peer)),
                format!("--initial-cluster=default={}", at(peer)),
                "--unsafe-no-fsync".to_owned(),
            ],
        )?;
        let server = pki.server_path();
        let apiserver = spawn(
            assets,
            "kube-apiserver",
            data,
            &[
                format!("--etcd-servers={}", at(client)),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={port}"),
                format!("--tls-cert-file={}", server.display()),
                format!("--tls-private-key-file={}", server.display()),
                format!("--client-ca-file={}", pki.ca_path().display()),
                "--anonymous-auth=false".to_owned(),
                "--authorization-mode=Node,RBAC".to_owned(),
                "--enable-admission-plugins=NodeRestriction".to_owned(),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", key.display()),
                format!("--service-account-signing-key-file={}", key.display()),
                "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            ],
        )?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let real = Self { data: data.to_owned(), pki, address, _apiserver: apiserver, _etcd: etcd };
        real.prepare(nodes)?;
        Ok(real)
    }

    /// Waits until it is ready, and creates the nodes.
    fn prepare(&self, nodes: &[&str]) -> Result<()> {
        let url = format!("https://{}", self.address);
        kubeconfig::write_admin(&self.data, &self.pki, &url)?;
        for node in nodes {
            self.pki.ensure_node(node)?;
            kubeconfig::write_node(&self.data, &self.pki, &url, node)?;
        }
        let admin = Client::admin(self.address, &self.pki);
        let prepare = || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let deadline = Instant::now() + Duration::from_secs(240);
                let ready = || async {
                    let ready = admin.get("/readyz").await.is_ok_and(|a| a.code == 200);
                    let space = admin.get("/api/v1/namespaces/default").await;
                    ready && space.is_ok_and(|a| a.code == 200)
                };
                while !ready().await {
                    if Instant::now() > deadline {
                        bail!("kube-apiserver is not ready; see {}", self.data.display());
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                for name in nodes {
                    admin.upsert(&node(name)).await?;
                }
                Ok(())
            })
        };
        // On a separate thread, because the caller may be in a runtime.
        let done = std::thread::scope(|s| s.spawn(prepare).join());
        done.map_err(|_| anyhow::anyhow!("a panic"))?
    }
}
