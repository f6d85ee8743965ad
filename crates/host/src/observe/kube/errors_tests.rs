use std::time::Duration;

use super::*;

#[test]
fn openssls_source_files_are_left_out() {
    for (text, shown) in [
        (
            "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify \
             failed:../ssl/statem/statem_clnt.c:1889::",
            "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed::",
        ),
        ("connect to 10.0.0.1:6443: refused", "connect to 10.0.0.1:6443: refused"),
        ("lookup a.c:443", "lookup a.c:443"),
        ("a.c", "a.c"),
    ] {
        assert_eq!(without_source_files(text), shown);
    }
}

/// The messages are those of kube-apiserver 1.36 (RBAC, the Node authorizer, and authentication).
#[test]
fn what_the_api_server_refuses_is_a_sentence() {
    let forbidden = "pods is forbidden: User \"system:node:a\" cannot list resource \"pods\" in API group \"\" at the cluster scope: can only list/watch pods with spec.nodeName field selector";
    assert_eq!(
        refused(403, forbidden),
        "refused: system:node:a may not list pods: can only list/watch pods with spec.nodeName field selector (403)"
    );
    assert_eq!(
        refused(401, "Unauthorized"),
        "refused: it rejects the node's credentials: Unauthorized (401)"
    );
    assert_eq!(refused(403, "no"), "refused: no (403)");
    assert_eq!(
        refused(500, "etcdserver: request timed out"),
        "etcdserver: request timed out (500)"
    );
    let status = kube::core::Status::failure("Unauthorized", "Unauthorized").with_code(401);
    let text = chain(&kube::Error::Api(Box::new(status)));
    assert!(!text.contains("Status") && text.contains("refused"), "{text}");
}

#[test]
fn a_clock_that_is_late_is_told_as_that() {
    let at = |year: u64| SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_556_952);
    let openssl =
        "error:0A000086:SSL routines::certificate verify failed: certificate is not yet valid";
    assert!(
        wrong_clock(openssl, None, at(2020))
            .unwrap()
            .contains("clock is wrong: it shows 2020-01-01")
    );
    assert!(wrong_clock("connection refused", Some(at(2026)), at(2020)).is_some());
    assert_eq!(wrong_clock("connection refused", Some(at(2026)), at(2027)), None);
    assert_eq!(wrong_clock("certificate has expired", None, at(2027)), None);
}
