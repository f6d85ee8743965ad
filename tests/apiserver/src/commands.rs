//! The commands of the binary.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON_PATCH, MERGE, STRATEGIC};
use crate::pki::{Pki, Validity, write_atomic};
use crate::resources::{Resource, by_any_name, of_object};
use crate::steering::{self, Steering};
use crate::{ApiServer, Options, kubeconfig};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM. Prints "READY <url>" when it takes connections.
    Serve(Serve),
    /// Issue a new client certificate for a node.
    Rotate(Rotate),
    /// Create the objects in a file (JSON or YAML), their status included.
    Create(File),
    /// Create or merge-patch the objects in a file, their status included.
    Apply(File),
    /// Create or replace many objects in one call, status included.
    Load(File),
    /// Print an object, or the list of them.
    Get(Get),
    /// Patch an object.
    Patch(Patch),
    /// Delete an object.
    Delete(Delete),
    /// Evict a pod.
    Evict(Evict),
    /// Set faults (JSON, see the crate's `faults` module); "clear" clears them.
    Fault { json: String },
    /// Print, or reset, the counts of requests.
    Requests {
        #[arg(long)]
        reset: bool,
    },
    #[command(flatten)]
    Steering(Steering),
    /// Any other call: "drop-watches", "compact", "revoke".
    Test { call: String, json: Option<String> },
}

#[derive(Debug, Args)]
pub struct Serve {
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Address that kubeconfigs name, where it is not the one listened on.
    #[arg(long)]
    advertise: Option<IpAddr>,
    #[arg(long = "node")]
    nodes: Vec<String>,
    /// Further names or addresses in the server's certificate.
    #[arg(long = "san")]
    sans: Vec<String>,
    #[arg(long, value_parser = duration, default_value = "60s")]
    bookmark_interval: Duration,
    /// Changes that a watch can start back from.
    #[arg(long, default_value_t = 10_000)]
    history: usize,
    /// Leave the status of PodDisruptionBudgets to the test.
    #[arg(long)]
    no_disruption_controller: bool,
    /// Drop fields that do not exist with a warning, as a real server does by default.
    #[arg(long)]
    lenient: bool,
}

#[derive(Debug, Args)]
pub struct Rotate {
    #[arg(long)]
    node: String,
    #[arg(long, value_parser = duration, default_value = "24h")]
    valid_for: Duration,
    /// Already run out.
    #[arg(long)]
    expired: bool,
    /// From a CA that the server does not trust.
    #[arg(long)]
    wrong_ca: bool,
    /// Tell the server to refuse the node's earlier certificates.
    #[arg(long)]
    revoke_older: bool,
}

#[derive(Debug, Args)]
pub struct File {
    #[arg(short, long)]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub struct Named {
    resource: String,
    name: String,
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

#[derive(Debug, Args)]
pub struct Get {
    resource: String,
    name: Option<String>,
    /// Namespace; without one a list is of all namespaces.
    #[arg(short, long)]
    namespace: Option<String>,
    #[arg(short = 'l', long)]
    selector: Option<String>,
    #[arg(long)]
    field_selector: Option<String>,
    /// Print only the string at this JSON pointer.
    #[arg(long)]
    pointer: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PatchType {
    Merge,
    Strategic,
    Json,
}

#[derive(Debug, Args)]
pub struct Patch {
    #[command(flatten)]
    object: Named,
    #[arg(long)]
    subresource: Option<String>,
    #[arg(long = "type", value_enum, default_value = "strategic")]
    kind: PatchType,
    #[arg(short, long)]
    patch: String,
}

#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    object: Named,
    #[arg(long)]
    grace: Option<u32>,
}

#[derive(Debug, Args)]
pub struct Evict {
    name: String,
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// Parses "90", "90s", "500ms", "5m", "2h".
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|e| format!("{text:?}: {e}"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(format!("{text:?}: unknown unit {unit:?}")),
    }
}

/// The file with the address that a server listens on.
fn address_file(data: &Path) -> PathBuf {
    data.join("address")
}

pub(crate) fn admin(data: &Path) -> Result<Client> {
    let path = address_file(data);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("reading {}: is a server running there?", path.display()))?;
    let address = text.trim().parse().with_context(|| format!("parsing {}", path.display()))?;
    Ok(Client::admin(address, &Pki::open(data, &[])?))
}

pub(crate) fn print(value: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    Ok(writeln!(out)?)
}

fn known(name: &str) -> Result<&'static Resource> {
    by_any_name(name).with_context(|| format!("unknown resource {name:?}"))
}

impl Named {
    fn path(&self) -> Result<String> {
        Ok(known(&self.resource)?.path(&self.namespace, &self.name))
    }
}

/// Reads the objects in a file: JSON, YAML with several documents, or a List.
fn objects(file: &Path) -> Result<Vec<Value>> {
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?
    };
    let mut stream = serde_json::Deserializer::from_str(&text);
    let documents = match Value::deserialize(&mut stream) {
        Ok(first) => {
            let rest = stream.into_iter::<Value>().collect::<Result<Vec<_>, _>>()?;
            std::iter::once(first).chain(rest).collect()
        }
        Err(_) => serde_saphyr::from_multiple::<Value>(&text)
            .map_err(|e| anyhow::anyhow!("parsing {}: {e}", file.display()))?,
    };
    let unlist = |v: Value| match v["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![v],
    };
    Ok(documents.into_iter().filter(|v| !v.is_null()).flat_map(unlist).collect())
}

pub async fn run(data: &Path, command: Command) -> Result<()> {
    match command {
        Command::Serve(args) => serve(data, args).await,
        Command::Rotate(args) => rotate(data, &args).await,
        Command::Create(File { file }) => {
            let client = admin(data)?;
            for object in objects(&file)? {
                let exists = existing(&client, &object).await?;
                if exists.code == 200 {
                    bail!("{} {} already exists", object["kind"], object["metadata"]["name"]);
                }
                print(&client.upsert(&object).await?)?;
            }
            Ok(())
        }
        Command::Apply(File { file }) => {
            let client = admin(data)?;
            for object in objects(&file)? {
                print(&client.upsert(&object).await?)?;
            }
            Ok(())
        }
        Command::Load(File { file }) => {
            let body = Value::Array(objects(&file)?);
            print(&admin(data)?.post("/_test/load", &body).await?.ok()?)
        }
        Command::Get(args) => get(data, &args).await,
        Command::Patch(args) => {
            let patch = serde_json::from_str(&args.patch).context("the patch is not JSON")?;
            let media_type = match args.kind {
                PatchType::Merge => MERGE,
                PatchType::Strategic => STRATEGIC,
                PatchType::Json => JSON_PATCH,
            };
            let mut path = args.object.path()?;
            if let Some(sub) = args.subresource {
                path = format!("{path}/{sub}");
            }
            print(&admin(data)?.patch(&path, media_type, &patch).await?.ok()?)
        }
        Command::Delete(args) => {
            let options = args.grace.map_or(Value::Null, |g| json!({"gracePeriodSeconds": g}));
            print(&admin(data)?.delete(&args.object.path()?, &options).await?.ok()?)
        }
        Command::Evict(Evict { name, namespace }) => {
            let path = format!("{}/eviction", known("pods")?.path(&namespace, &name));
            let body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                              "metadata": {"name": name, "namespace": namespace}});
            print(&admin(data)?.post(&path, &body).await?.ok()?)
        }
        Command::Fault { json } if json == "clear" => {
            print(&admin(data)?.delete("/_test/faults", &Value::Null).await?.ok()?)
        }
        Command::Fault { json } => test_call(data, "faults", &json).await,
        Command::Requests { reset: true } => {
            print(&admin(data)?.delete("/_test/requests", &Value::Null).await?.ok()?)
        }
        Command::Requests { reset: false } => {
            print(&admin(data)?.get("/_test/requests").await?.ok()?)
        }
        Command::Steering(steering) => steering::run(data, steering).await,
        Command::Test { call, json } => test_call(data, &call, &json.unwrap_or_default()).await,
    }
}

pub(crate) async fn test_call(data: &Path, call: &str, body: &str) -> Result<()> {
    let path = format!("/_test/{call}");
    let answer = admin(data)?.raw("POST", &path, "application/json", body.to_owned()).await?;
    print(&answer.ok()?)
}

async fn existing(client: &Client, object: &Value) -> Result<Answer> {
    let kind = of_object(object).context("unknown kind")?;
    let meta = &object["metadata"];
    let namespace = meta["namespace"].as_str().unwrap_or("default");
    match meta["name"].as_str() {
        Some(name) => client.get(&kind.path(namespace, name)).await,
        None => Ok(Answer {
            code: 404,
            retry_after: None,
            warnings: Vec::new(),
            body: Value::Null,
            raw: "".into(),
        }),
    }
}

async fn get(data: &Path, args: &Get) -> Result<()> {
    let resource = known(&args.resource)?;
    let namespace = args.namespace.as_deref();
    let mut path = match &args.name {
        Some(name) => resource.path(namespace.unwrap_or("default"), name),
        None => resource.path(namespace.unwrap_or_default(), ""),
    };
    let mut query = Vec::new();
    for (key, value) in [("labelSelector", &args.selector), ("fieldSelector", &args.field_selector)]
    {
        if let Some(value) = value {
            let value =
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            query.push(format!("{key}={value}"));
        }
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let value = admin(data)?.get(&path).await?.ok()?;
    match &args.pointer {
        None => print(&value),
        Some(pointer) => {
            let found = value.pointer(pointer).cloned().unwrap_or_default();
            let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
            Ok(writeln!(std::io::stdout(), "{text}")?)
        }
    }
}

async fn rotate(data: &Path, args: &Rotate) -> Result<()> {
    let pki = Pki::open(data, &[])?;
    let valid =
        if args.expired { Validity::expired() } else { Validity::for_the_next(args.valid_for) };
    let issued = if args.wrong_ca {
        pki.rotate_from_wrong_ca(&args.node, valid)?
    } else {
        pki.rotate(&args.node, valid)?
    };
    if args.revoke_older {
        let body = json!({"user": format!("system:node:{}", args.node),
                          "beforeSerial": issued.serial});
        admin(data)?.post("/_test/revoke", &body).await?.ok()?;
    }
    print(&json!({"serial": issued.serial, "path": issued.path}))
}

async fn serve(data: &Path, args: Serve) -> Result<()> {
    let mut sans = args.sans;
    sans.extend(args.advertise.iter().map(ToString::to_string));
    let options = Options {
        data: data.to_owned(),
        listen: args.listen,
        sans,
        nodes: args.nodes,
        bookmark_interval: args.bookmark_interval,
        history: args.history,
        disruption_controller: !args.no_disruption_controller,
        strict: !args.lenient,
    };
    let nodes = options.nodes.clone();
    // Starting blocks, in a separate runtime.
    let mut handle = tokio::task::spawn_blocking(move || ApiServer::start(options)).await??;
    let mut address = handle.address();
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::from([127, 0, 0, 1]));
    }
    write_atomic(&address_file(data), address.to_string().as_bytes(), 0o644)?;
    let named = SocketAddr::new(args.advertise.unwrap_or(address.ip()), address.port());
    let url = format!("https://{named}");
    kubeconfig::write_admin(data, handle.pki(), &url)?;
    for node in &nodes {
        kubeconfig::write_node(data, handle.pki(), &url, node)?;
    }
    let kind = tokio::signal::unix::SignalKind::terminate();
    let mut terminated = tokio::signal::unix::signal(kind)?;
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "READY {url}")?;
        out.flush()?;
    }
    tokio::select! {
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    tokio::task::spawn_blocking(move || handle.stop()).await?
}
