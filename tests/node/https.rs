//! The command line over TLS: a node behind a proxy that ends TLS in front of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::process::{Node, dir};

/// Returns the path of a file of `tests/data/tls`.
fn data(file: &str) -> String {
    format!("{}/tests/data/tls/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// Starts a proxy with a certificate in front of `node`; it runs until the tests end.
fn proxy(node: &Node, certificate: &str) -> SocketAddr {
    let chain = CertificateDer::pem_file_iter(data(&format!("{certificate}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(data(&format!("{certificate}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let node = node.api.strip_prefix("http://").unwrap().to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            // A client that does not trust the certificate goes away in the handshake.
            let _ = pass(client.unwrap(), Arc::clone(&config), &node);
        }
    });
    addr
}

/// Passes one request on to `node`, and its answer back.
fn pass(client: TcpStream, config: Arc<ServerConfig>, node: &str) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = BufReader::new(StreamOwned::new(connection, client));
    let mut node = TcpStream::connect(node)?;
    let (mut line, mut body_len) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        if client.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(len) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            body_len = len.trim().parse().map_err(std::io::Error::other)?;
        }
        let close = if line == "\r\n" { "Connection: close\r\n" } else { "" };
        write!(node, "{close}{line}")?;
    }
    std::io::copy(&mut client.by_ref().take(body_len), &mut node)?;
    let mut answer = Vec::new();
    node.read_to_end(&mut answer)?;
    let client = client.get_mut();
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}

/// Runs `aspen-dns --api URL` with more arguments; returns whether it succeeded and all it said.
fn run(url: &str, data_dir: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aspen-dns"));
    command.args(["--api", url, "--data-dir"]).arg(data_dir).args(arguments);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_node_behind_tls_is_read_and_written() {
    let data_dir = dir();
    let node = Node::start(data_dir.path(), &["--role", "authority"]);
    let url = format!("https://{}", proxy(&node, "node"));
    let ca = data("ca.pem");
    let run =
        |arguments: &[&str]| run(&url, data_dir.path(), &[&["--ca", &ca], arguments].concat());
    let (is_done, said) = run(&["zone", "create", "t.example"]);
    assert!(is_done && said.contains("revision "), "{said}");
    let (is_done, said) = run(&["record", "set", "a.t.example", "A", "60", "192.0.2.1"]);
    assert!(is_done && said.contains("revision "), "{said}");
    let (is_done, said) = run(&["record", "get", "a.t.example", "A"]);
    assert!(is_done && said == "a.t.example.\t60\tIN\tA\t192.0.2.1\n", "{said}");
    let path = data_dir.path().join("in.example.zone");
    std::fs::write(&path, "$TTL 60\n@ SOA ns hostmaster 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n")
        .unwrap();
    let (is_done, said) = run(&["zone", "import", path.to_str().unwrap()]);
    assert!(is_done && said.contains("3 records"), "{said}");
}

#[test]
fn a_certificate_that_is_not_trusted_is_an_error_that_says_what_to_do() {
    let data_dir = dir();
    let node = Node::start(data_dir.path(), &["--role", "authority"]);
    let (good, old) = (proxy(&node, "node"), proxy(&node, "old"));
    let ca = data("ca.pem");
    let check = |url: String, arguments: &[&str], parts: &[&str]| {
        let arguments = [arguments, &["status"]].concat();
        let (is_done, said) = run(&url, data_dir.path(), &arguments);
        assert!(!is_done, "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    let own = format!("https://{good}");
    // Another certificate did not sign it.
    check(own.clone(), &["--ca", &data("old.pem")], &[&own, "not known here", "--ca FILE"]);
    let named = format!("https://localhost:{}", good.port());
    check(named, &["--ca", &ca], &["not trusted", "localhost", "127.0.0.1"]);
    check(format!("https://{old}"), &["--ca", &ca], &["not trusted", "expired", "renew it"]);
    check(format!("http://{good}"), &[], &["no answer from http://", "https://"]);
    check(node.api.replace("http:", "https:"), &["--ca", &ca], &["does not speak TLS", "http://"]);
    check(own.clone(), &["--ca", &data("node.key")], &["node.key", "no certificate"]);
    check(own, &["--ca", &data("absent.pem")], &["absent.pem", "No such file"]);
}
