//! The API as octoDNS, lego, external-dns and others use it, and our own paths.

use serde_json::{Value, json};

use crate::process::{Node, dir};

const ZONES: &str = "/api/v1/servers/localhost/zones";

/// Starts an authority with the zone unit.example.
fn authority() -> (tempfile::TempDir, Node) {
    let data = dir();
    let node = Node::start(data.path(), &["--role", "authority"]);
    let body =
        json!({"name": "unit.example.", "kind": "Native", "nameservers": ["ns1.unit.example."]});
    assert_eq!(node.request("POST", ZONES, Some(body)).0, 201);
    (data, node)
}

/// Returns the contents of one RRset of unit.example.
fn contents(node: &Node, name: &str, rtype: &str) -> Vec<String> {
    let (status, zone) = node.request("GET", &format!("{ZONES}/unit.example."), None);
    assert_eq!(status, 200, "{zone}");
    let rrsets = zone["rrsets"].as_array().expect("RRsets");
    let found = rrsets.iter().find(|rrset| rrset["name"] == name && rrset["type"] == rtype);
    let records = found.map_or(&Value::Null, |rrset| &rrset["records"]);
    let content = |record: &Value| record["content"].as_str().unwrap().to_owned();
    records.as_array().into_iter().flatten().map(content).collect()
}

/// Returns the body of a PATCH of one RRset.
fn one(name: &str, rtype: &str, changetype: &str, records: &[&str]) -> Value {
    let records: Vec<Value> =
        records.iter().map(|content| json!({"content": content, "disabled": false})).collect();
    json!({"rrsets": [{"name": name, "type": rtype, "ttl": 60, "changetype": changetype,
                       "records": records, "comments": []}]})
}

#[test]
fn nothing_but_the_versions_is_answered_without_the_key() {
    let (_data, node) = authority();
    for path in [ZONES, "/api/v1", "/api/v1/aspen/status", "/api/v1/servers", "/api/v1/nonsense"] {
        for key in ["", "wrong", &node.key[1..]] {
            let (status, _, text) = node.request_with("GET", path, &[("X-API-Key", key)], None);
            assert_eq!(status, 401, "{path} {key:?}");
            assert!(text.contains("\"error\""), "{text}");
        }
    }
    let (status, _, text) = node.request_with("GET", "/api", &[("X-API-Key", "")], None);
    assert_eq!((status, text.contains("/api/v1")), (200, true));
    let (status, _, text) = node.request_with("GET", "/metrics", &[("X-API-Key", "")], None);
    assert_eq!(status, 200);
    for name in ["aspen_zones 1", "aspen_publishes_total", "aspen_published_changes_total"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn octodns_creates_patches_and_reads_a_zone() {
    let (_data, node) = authority();
    let (_, server) = node.request("GET", "/api/v1/servers/localhost", None);
    let version: Vec<u32> =
        server["version"].as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version >= vec![4, 2], "{server}");
    let zone = format!("{ZONES}/octo.example.");
    assert_eq!(node.request("GET", &zone, None).0, 404);
    let rrset = |name: &str, rtype: &str, contents: &[&str]| {
        let records: Vec<Value> =
            contents.iter().map(|content| json!({"content": content, "disabled": false})).collect();
        json!({"name": name, "type": rtype, "ttl": 300, "changetype": "REPLACE", "records": records})
    };
    let body = json!({
        "name": "octo.example.", "kind": "Master", "masters": [], "soa_edit_api": "INCEPTION-INCREMENT",
        "nameservers": [], "serial": 0, "dnssec": false,
        "rrsets": [rrset("www.octo.example.", "A", &["192.0.2.1", "192.0.2.2"]),
                   rrset("octo.example.", "NS", &["ns1.octo.example.", "ns2.octo.example."])],
    });
    assert_eq!(node.request("POST", ZONES, Some(body.clone())).0, 201);
    assert_eq!(node.request("POST", ZONES, Some(body)).0, 409);
    let patch = json!({"rrsets": [
        {"name": "www.octo.example.", "type": "A", "changetype": "DELETE", "records": []},
        rrset("www.octo.example.", "CNAME", &["unit.octo.example."]),
        rrset("octo.example.", "MX", &["10 smtp-1.octo.example.", "20 smtp-2.octo.example."]),
        rrset("octo.example.", "CAA", &["0 issue \"ca.octo.example\""]),
        rrset("_srv._tcp.octo.example.", "SRV", &["12 20 30 foo-2.octo.example."]),
        rrset("txt.octo.example.", "TXT", &["\"v=DKIM1\\;k=rsa\\;s=email\""]),
    ]});
    let (status, revision, text) = node.request_with("PATCH", &zone, &[], Some(patch));
    assert_eq!((status, revision.is_some()), (204, true), "{text}");
    let (_, body) = node.request("GET", &zone, None);
    assert_eq!(body["url"], "/api/v1/servers/localhost/zones/octo.example.");
    let www: Vec<&Value> = body["rrsets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rrset| rrset["name"] == "www.octo.example.")
        .collect();
    assert_eq!(www.len(), 1, "{body}");
    assert_eq!(www[0]["type"], "CNAME");
    let url = body["url"].as_str().unwrap();
    assert_eq!(node.request("PUT", &format!("{url}/notify"), None).0, 200);
    assert_eq!(node.request("DELETE", url, None).0, 204);
    assert_eq!(node.request("DELETE", url, None).0, 404);
}

#[test]
fn lego_adds_and_removes_a_challenge() {
    let (_data, node) = authority();
    let (_, versions) = node.request("GET", "/api", None);
    assert_eq!((&versions[0]["url"], &versions[0]["version"]), (&json!("/api/v1"), &json!(1)));
    let (_, zone) = node.request("GET", &format!("{ZONES}/unit.example."), None);
    assert_eq!(zone["kind"], "Native");
    let url = zone["url"].as_str().unwrap();
    let name = "_acme-challenge.unit.example.";
    let body = json!({"rrsets": [{"name": name, "changetype": "REPLACE", "type": "TXT", "kind": "Master",
        "ttl": 120, "records": [{"content": "\"token\"", "disabled": false, "name": name,
                                 "type": "TXT", "ttl": 120}]}]});
    assert_eq!(node.request("PATCH", url, Some(body)).0, 204);
    node.wait_for(name, 16, b"\x05token");
    let body = json!({"rrsets": [{"name": name, "changetype": "DELETE", "type": "TXT"}]});
    assert_eq!(node.request("PATCH", url, Some(body)).0, 204);
    assert_eq!(contents(&node, name, "TXT"), Vec::<String>::new());
}

#[test]
fn external_dns_lists_all_and_writes_some() {
    let (_data, node) = authority();
    let (_, zones) = node.request("GET", &format!("{ZONES}?dnssec=false"), None);
    let ids: Vec<&str> =
        zones.as_array().unwrap().iter().map(|zone| zone["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["unit.example."]);
    let (_, zones) = node.request("GET", &format!("{ZONES}?zone=none.example."), None);
    assert_eq!(zones, json!([]));
    let zone = format!("{ZONES}/unit.example.");
    let alias = one("unit.example.", "ALIAS", "REPLACE", &["lb.example.net."]);
    let (status, body) = node.request("PATCH", &zone, Some(alias));
    assert_eq!(status, 422, "{body}");
    let ok = one("svc.unit.example.", "A", "REPLACE", &["192.0.2.7"]);
    assert_eq!(node.request("PATCH", &zone, Some(ok)).0, 204);
    let (_, body) = node.request("GET", &format!("{zone}?rrsets=false"), None);
    assert!(body.get("rrsets").is_none() && body["serial"].as_u64() > Some(0), "{body}");
    let path = format!("{zone}?rrset_name=svc.unit.example.&rrset_type=A");
    let (_, body) = node.request("GET", &path, None);
    assert_eq!(body["rrsets"].as_array().map(Vec::len), Some(1), "{body}");
}

#[test]
fn extend_and_prune_change_single_records() {
    let (_data, node) = authority();
    let zone = format!("{ZONES}/unit.example.");
    for (changetype, records, after) in [
        ("EXTEND", &["192.0.2.1"][..], &["192.0.2.1"][..]),
        ("EXTEND", &["192.0.2.2", "192.0.2.1"], &["192.0.2.1", "192.0.2.2"]),
        ("PRUNE", &["192.0.2.1", "192.0.2.9"], &["192.0.2.2"]),
        ("PRUNE", &["192.0.2.2"], &[]),
    ] {
        let body = one("e.unit.example.", "A", changetype, records);
        assert_eq!(node.request("PATCH", &zone, Some(body)).0, 204);
        assert_eq!(contents(&node, "e.unit.example.", "A"), after, "{changetype} {records:?}");
    }
}

#[test]
fn a_patch_with_an_error_changes_nothing_and_names_the_rule() {
    let (_data, node) = authority();
    let zone = format!("{ZONES}/unit.example.");
    let mut body = one("ok.unit.example.", "A", "REPLACE", &["192.0.2.1"]);
    for (bad, said) in [
        (one("x.unit.example.", "A", "REPLACE", &["192.0.2.256"]), "x.unit.example A"),
        (one("x.other.example.", "A", "REPLACE", &["192.0.2.1"]), "unit.example"),
        (one("x.unit.example.", "NONSENSE", "REPLACE", &["1"]), "NONSENSE"),
        (one("unit.example.", "CNAME", "REPLACE", &["a.example."]), "CNAME"),
        (one("x.unit.example.", "SVCB", "REPLACE", &["1 . alpn=\"h2\" alpn=\"h3\""]), "SVCB"),
        (one("x.unit.example.", "A", "MAYBE", &["192.0.2.1"]), "REPLACE"),
        (one("x..unit.example.", "A", "REPLACE", &["192.0.2.1"]), "label"),
    ] {
        let rrsets = body["rrsets"].as_array_mut().unwrap();
        rrsets.truncate(1);
        rrsets.push(bad["rrsets"][0].clone());
        let (status, answer) = node.request("PATCH", &zone, Some(body.clone()));
        assert!((400..500).contains(&status), "{status} {answer}");
        let text = answer["error"].as_str().expect("an error");
        assert!(text.contains(said), "{text}");
        assert_eq!(contents(&node, "ok.unit.example.", "A"), Vec::<String>::new());
    }
    let (status, _, text) = node.request_with("PATCH", &zone, &[], Some(json!("no object")));
    assert!(status == 422 || status == 400, "{status} {text}");
}

#[test]
fn names_of_any_octets_are_read_back() {
    let (_data, node) = authority();
    let zone = format!("{ZONES}/unit.example.");
    for name in
        ["*.unit.example.", "a\\\".unit.example.", "a\\/b:c.unit.example.", "\\000.unit.example."]
    {
        let body = one(name, "TXT", "REPLACE", &["\"x\""]);
        assert_eq!(node.request("PATCH", &zone, Some(body)).0, 204, "{name}");
        let shown: aspen_dns::name::Name = name.parse().unwrap();
        assert_eq!(contents(&node, &shown.to_fqdn(), "TXT"), ["\"x\""], "{name}");
    }
    let body = json!({"name": "0/25.2.0.192.in-addr.arpa.", "kind": "Native"});
    let (status, made) = node.request("POST", ZONES, Some(body));
    assert_eq!((status, &made["id"]), (201, &json!("0=2F25.2.0.192.in-addr.arpa.")));
    assert_eq!(node.request("GET", made["url"].as_str().unwrap(), None).0, 200);
}

#[test]
fn writes_may_depend_on_what_was_read() {
    let (_data, node) = authority();
    let path = "/api/v1/aspen/records/p.unit.example./A";
    let body = |address: &str| Some(json!({"ttl_seconds": 60, "rdata": [address]}));
    let new = [("If-None-Match", "*")];
    let (status, first, text) = node.request_with("PUT", path, &new, body("192.0.2.1"));
    assert_eq!(status, 200, "{text}");
    let first = first.unwrap().to_string();
    assert_eq!(node.request_with("PUT", path, &new, body("192.0.2.2")).0, 412);
    let matching = [("If-Match", first.as_str())];
    assert_eq!(node.request_with("PUT", path, &matching, body("192.0.2.3")).0, 200);
    assert_eq!(node.request_with("PUT", path, &matching, body("192.0.2.4")).0, 412);
    assert_eq!(node.request_with("DELETE", path, &matching, None).0, 412);
    assert_eq!(node.request_with("PUT", path, &[("If-Match", "x")], body("192.0.2.4")).0, 400);
    let (_, document) = node.request("GET", path, None);
    assert_eq!(document["rdata"], json!(["192.0.2.3"]));
    assert_eq!(node.request("DELETE", path, None).0, 200);
    assert_eq!(node.request("DELETE", path, None).0, 404);
}

#[test]
fn a_batch_is_one_revision_or_nothing() {
    let (_data, node) = authority();
    let set = |domain: &str, address: &str| json!({"op": "set", "domain": domain, "type": "A", "ttl_seconds": 60, "rdata": [address]});
    let batch = |operations: Vec<Value>| Some(json!({"operations": operations}));
    let (a, b) = (set("a.unit.example", "192.0.2.1"), set("b.unit.example", "192.0.2.2"));
    let path = "/api/v1/aspen/batch";
    let (status, answer) = node.request("POST", path, batch(vec![a.clone(), b]));
    assert_eq!((status, &answer["applied"]), (200, &json!(2)), "{answer}");
    let bad = set("c.nowhere.example", "192.0.2.3");
    let delete = json!({"op": "delete", "domain": "a.unit.example", "type": "A"});
    let (status, answer) = node.request("POST", path, batch(vec![delete, bad]));
    assert!((400..500).contains(&status), "{status} {answer}");
    assert_eq!(contents(&node, "a.unit.example.", "A"), ["192.0.2.1"]);
    let (status, _) = node.request("POST", path, Some(json!({"operations": [{"op": "dance"}]})));
    assert_eq!(status, 422);
}

#[test]
fn pages_cover_a_zone_once() {
    let (_data, node) = authority();
    let operations: Vec<Value> = (0..50)
        .map(|i| {
            json!({"op": "set", "domain": format!("h{i}.unit.example"), "type": "A",
                   "ttl_seconds": 60, "rdata": [format!("192.0.2.{i}")]})
        })
        .collect();
    let body = Some(json!({ "operations": operations }));
    assert_eq!(node.request("POST", "/api/v1/aspen/batch", body).0, 200);
    let mut seen = std::collections::HashSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/aspen/records?zone=unit.example&limit=7{cursor}");
        let (_, page) = node.request("GET", &path, None);
        for record in page["records"].as_array().unwrap() {
            assert!(seen.insert((record["domain"].to_string(), record["type"].to_string())));
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 52, "50 A, SOA and NS");
    let (_, found) = node.request(
        "GET",
        "/api/v1/servers/localhost/search-data?q=h1*.unit.example&max=100&object_type=record",
        None,
    );
    assert_eq!(found.as_array().map(Vec::len), Some(11), "{found}");
}

#[test]
fn what_no_client_needs_is_refused_cleanly() {
    let (_data, node) = authority();
    for (method, path, status) in [
        ("GET", "/api/v1/servers/other", 404),
        ("GET", "/api/v1/servers/localhost/zones/unit.example./cryptokeys", 404),
        ("GET", "/api/v1/servers/localhost/zones/unit.example./metadata", 200),
        ("GET", "/api/v1/servers/localhost/tsigkeys", 200),
        ("GET", "/api/v1/servers/localhost/statistics", 200),
        ("GET", "/api/v1/servers/localhost/config", 200),
        ("PATCH", "/api/v1/servers/localhost", 405),
        ("GET", "/nonsense", 404),
        ("GET", "/api/v1/aspen/records?zone=unit.example&cursor=%21", 400),
        ("GET", "/api/v1/aspen/wait?timeout=-1", 400),
    ] {
        assert_eq!(node.request(method, path, None).0, status, "{method} {path}");
    }
    // What does not read is told in the same shape.
    let path = "/api/v1/servers/localhost/zones/%FF";
    let (status, answer) = node.request("GET", path, None);
    assert_eq!((status, answer["error"].is_string()), (400, true), "{answer}");
}

#[test]
fn a_disabled_zone_is_kept_and_not_answered() {
    let (_data, node) = authority();
    let path = "/api/v1/aspen/zones/unit.example.";
    assert_eq!(node.request("PUT", path, Some(json!({"is_enabled": false}))).0, 200);
    let (_, shown) = node.request("GET", path, None);
    assert_eq!(shown["is_enabled"], false, "{shown}");
    node.cli_ok(&["wait", "--timeout", "5"]);
    assert_eq!(node.ask("unit.example", 6).0, 5, "REFUSED");
    assert_eq!(node.request("PUT", path, Some(json!({"is_enabled": true}))).0, 200);
    node.cli_ok(&["wait", "--timeout", "5"]);
    assert_eq!(node.ask("unit.example", 6).0, 0);
}
