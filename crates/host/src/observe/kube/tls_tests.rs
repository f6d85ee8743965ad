//! The client and a server with certificates of several authorities.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
};

use kube::{Config, core::Status};
use openssl::{
    asn1::{Asn1Integer, Asn1Time},
    bn::BigNum,
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    ssl::{SslAcceptor, SslMethod},
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};

use super::client;

/// A certificate with its key.
struct Issued {
    certificate: X509,
    key: PKey<Private>,
}

/// Issues a certificate for `name`, signed by `issuer` or by itself: for `addresses`, or of an
/// authority without addresses.
fn issued(name: &str, issuer: Option<&Issued>, addresses: &[&str]) -> Result<Issued, ErrorStack> {
    let key = PKey::from_rsa(Rsa::generate(2048)?)?;
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_text("CN", name)?;
    let subject = subject.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = BigNum::from_u32(u32::try_from(name.len()).unwrap_or(1))?;
    builder.set_serial_number(&*Asn1Integer::from_bn(&serial)?)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(issuer.map_or(&subject, |issuer| issuer.certificate.subject_name()))?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(1)?)?;
    builder.set_pubkey(&key)?;
    if addresses.is_empty() {
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    } else {
        let mut names = SubjectAlternativeName::new();
        for address in addresses {
            names.ip(address);
        }
        let names = names.build(&builder.x509v3_context(None, None))?;
        builder.append_extension(names)?;
    }
    builder.sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256())?;
    Ok(Issued { certificate: builder.build(), key })
}

/// Answers one request at `address` with an empty object.
fn serve(server: &Issued, address: &str) -> SocketAddr {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&server.certificate).unwrap();
    acceptor.set_private_key(&server.key).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind(format!("{address}:0")).unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let Ok(mut tls) = acceptor.accept(socket) else { return };
        let _ = tls.read(&mut [0; 4096]);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
        let _ = write!(tls, "{head}{{}}");
    });
    at
}

/// Returns the error of a request to `server` at `address` by a client that trusts `authority`.
async fn fault(server: &Issued, address: &str, authority: &Issued) -> Option<String> {
    let at = serve(server, address);
    let mut config = Config::new(format!("https://{at}").parse().unwrap());
    config.root_cert = Some(vec![authority.certificate.to_der().unwrap()]);
    let request = hyper::Request::get("/").body(Vec::new()).unwrap();
    let answer = client(&config).unwrap().request::<Status>(request).await;
    answer.err().map(|error| format!("{error:?}"))
}

#[tokio::test]
async fn each_authority_of_the_kubeconfig_is_an_anchor_and_addresses_are_compared() {
    let root = issued("root", None, &[]).unwrap();
    let between = issued("between", Some(&root), &[]).unwrap();
    let addresses = ["::1", "127.0.0.1"];
    let server = issued("apiserver", Some(&between), &addresses).unwrap();
    for address in ["127.0.0.1", "[::1]"] {
        assert_eq!(fault(&server, address, &between).await, None, "{address}");
        let other = issued("another", None, &[]).unwrap();
        assert!(fault(&server, address, &other).await.is_some(), "{address}");
    }
    let elsewhere = issued("elsewhere", Some(&between), &["::2", "127.0.0.2"]).unwrap();
    for address in ["127.0.0.1", "[::1]"] {
        let fault = fault(&elsewhere, address, &between).await.unwrap();
        assert!(fault.contains("mismatch"), "{fault}");
    }
}
