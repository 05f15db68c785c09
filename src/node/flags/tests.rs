//! Flags in, configuration or the reason against it out.

use ipnet::IpNet;

use super::*;
use crate::node::config::{EtcdCluster, SharingConfig};
use crate::store::lease::LeaseTimes;

fn flags(arguments: &str) -> Result<Flags, clap::Error> {
    let arguments = std::iter::once("aspen-node").chain(arguments.split_whitespace());
    parse_flags(arguments.map(Into::into))
}

fn config(arguments: &str) -> Result<Config, PlanError> {
    flags(arguments).expect(arguments).into_config()
}

fn plan(arguments: &str) -> Result<Plan, PlanError> {
    config(arguments).map(|config| config.plan)
}

/// A store of an engine that may not be another one than before.
fn store(engine: StoreEngine) -> StoreConfig {
    StoreConfig { engine, is_new_allowed: false }
}

#[test]
fn without_arguments_it_is_a_whole_node_on_loopback() {
    let config = config("").unwrap();
    assert_eq!(config.dns.addresses, ["127.0.0.1:5300".parse().unwrap()]);
    let address = "127.0.0.1:8053".parse().unwrap();
    assert_eq!(config.api, Some(ApiConfig { address, is_asked_for: false }));
    assert_eq!(config.data_dir, PathBuf::from("./aspen-data"));
    assert_eq!(config.relay, RelayChoice::Off);
    assert_eq!(config.plan, Plan::All(store(StoreEngine::Redb)));
}

#[test]
fn this_machine_may_transfer_zones_unless_others_are_named() {
    let networks = |arguments| flags(arguments).unwrap().allow_transfer.0;
    let parsed =
        |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    assert_eq!(networks(""), parsed(&["127.0.0.0/8", "::1/128"]));
    assert_eq!(networks("--allow-transfer off"), parsed(&[]));
    let named = networks("--allow-transfer 192.0.2.1,2001:db8::/32");
    assert_eq!(named, parsed(&["192.0.2.1/32", "2001:db8::/32"]));
}

#[test]
fn threads_are_kept_on_cpus_in_the_order_given() {
    let dns = config("--udp-workers 2 --udp-cpus 3,1 --udp-steering cpu").unwrap().dns;
    assert_eq!((dns.workers, dns.cpus), (Some(2), vec![3, 1]));
    assert_eq!(dns.steering, UdpSteering::Cpu);
}

#[test]
fn zone_files_alone_need_no_store() {
    assert_eq!(plan("--zone-dir d"), Ok(Plan::Static));
    assert_eq!(plan("--zone-file a --zone-file b --data-dir d"), Ok(Plan::Static));
    assert_eq!(plan("--zone-dir d --role all"), Ok(Plan::All(store(StoreEngine::Redb))));
    let endpoints = vec!["http://192.0.2.1:2379".to_owned()];
    let cluster = EtcdCluster { endpoints, ..EtcdCluster::default() };
    let etcd = store(StoreEngine::Etcd(Box::new(cluster)));
    assert_eq!(plan("--zone-dir d --store etcd=http://192.0.2.1:2379"), Ok(Plan::All(etcd)));
}

#[test]
fn an_api_that_somebody_asked_for_is_told_from_one_that_is_there_by_default() {
    let address = "192.0.2.1:80".parse().unwrap();
    let api = |arguments| config(arguments).unwrap().api;
    let expected = ApiConfig { address, is_asked_for: true };
    assert_eq!(api("--api-listen 192.0.2.1:80"), Some(expected));
    assert_eq!(api("--api-listen off"), None);
    assert!(
        plan("--new-store")
            == Ok(Plan::All(StoreConfig { engine: StoreEngine::Redb, is_new_allowed: true }))
    );
}

fn lease_of(ms: u64) -> LeaseTimes {
    LeaseTimes::new(ms).unwrap()
}

#[test]
fn an_edge_and_no_other_node_has_a_name() {
    let names = |arguments: &str| config(arguments).map(|config| config.edge.name);
    assert_eq!(names("--edge-name ams-1"), Err(PlanError::EdgeNameWithoutEdge));
    assert_eq!(names("--edge-name ams-1 --zone-dir d"), Err(PlanError::EdgeNameWithoutEdge));
    let ticket = DnsClientTicket {
        cluster_id: String::new(),
        namespace: [1; 32],
        author: [2; 32],
        peers: Vec::new(),
        zone_filter: None,
    };
    assert_eq!(names(&format!("--ticket {ticket} --edge-name a.b")), Ok(Some("a.b".to_owned())));
    assert_eq!(names(&format!("--ticket {ticket}")), Ok(None));
    for bad in ["all", "1", "a,b", "ü"] {
        let error = flags(&format!("--edge-name {bad}")).unwrap_err();
        assert!(one_line(&error).unwrap().contains("a letter first"), "{error}");
    }
}

#[test]
fn a_cluster_is_told_who_asks_it() {
    let etcd = "--store etcd=https://a:1,https://b:1 --etcd-prefix p/ --etcd-quota-mib 3 --etcd-user u \
        --etcd-password-file pw --etcd-ca ca.pem --etcd-cert c.pem --etcd-key c.key";
    let cluster = EtcdCluster {
        endpoints: vec!["https://a:1".to_owned(), "https://b:1".to_owned()],
        prefix: Some("p/".to_owned()),
        quota_octets: Some(3 << 20),
        user: Some(("u".to_owned(), "pw".into())),
        ca: Some("ca.pem".into()),
        identity: Some(("c.pem".into(), "c.key".into())),
        sharing: None,
    };
    let etcd_of = |cluster| Ok(Plan::All(store(StoreEngine::Etcd(Box::new(cluster)))));
    assert_eq!(plan(etcd), etcd_of(cluster.clone()));
    for (flags, lease) in [("", LeaseTimes::default()), (" --lease-ms 2000", lease_of(2_000))] {
        let sharing = Some(SharingConfig { seal_key_file: "seal".into(), lease });
        let shared = plan(&format!("{etcd} --seal-key-file seal{flags}"));
        assert_eq!(shared, etcd_of(EtcdCluster { sharing, ..cluster.clone() }));
    }
    assert_eq!(plan(&format!("{etcd} --lease-ms 2000")), Err(PlanError::LeaseWithoutSealKey));
    assert_eq!(plan("--seal-key-file seal"), Err(PlanError::EtcdFlagsWithoutEtcd));
    let etcd = |flags: &str| plan(&format!("--store etcd=http://a:1 {flags}"));
    assert_eq!(etcd("--etcd-user u"), Err(PlanError::EtcdUserWithoutPassword));
    assert_eq!(etcd("--etcd-key k"), Err(PlanError::EtcdCertWithoutKey));
    assert_eq!(plan("--etcd-ca ca.pem"), Err(PlanError::EtcdFlagsWithoutEtcd));
}

#[test]
fn combinations_without_meaning_are_refused() {
    let address = "192.0.2.1:53".parse().unwrap();
    for (arguments, error) in [
        ("--role edge", PlanError::EdgeWithoutTicket),
        ("--new-store --zone-dir d", PlanError::NewStoreWithoutStore),
        ("--dns-listen 192.0.2.1:53,192.0.2.1:53", PlanError::AddressTwice { address }),
    ] {
        assert_eq!(plan(arguments), Err(error), "{arguments}");
    }
}

#[test]
fn a_bad_value_is_one_line_that_names_the_flag() {
    for (arguments, line) in [
        ("--udp-workers 0", "--udp-workers \"0\": not a number from 1 to 256"),
        ("--udp-cpus 0,1024", "--udp-cpus \"1024\": not a CPU's number, from 0 to 1023"),
        ("--udp-steering x", "--udp-steering \"x\": not one of hash, cpu"),
        ("--api-listen x", "--api-listen \"x\": neither IP:PORT nor \"off\""),
        ("--role x", "--role \"x\": not one of all, authority, edge"),
        (
            "--store etcd=",
            "--store \"etcd=\": neither \"redb\" nor \"etcd=URL[,URL…]\" with http:// or https:// URLs",
        ),
        (
            "--store etcd=http://u:p@x",
            "--store \"etcd=http://u:p@x\": a user in a URL: give --etcd-user and --etcd-password-file instead",
        ),
        ("--etcd-prefix=", "--etcd-prefix \"\": not 1 to 128 octets"),
        (
            "--relay ftp://x",
            "--relay \"ftp://x\": neither \"off\", \"default\" nor the URL of a relay",
        ),
        (
            "--allow-transfer 192.0.2.0/33",
            "--allow-transfer \"192.0.2.0/33\": neither \"off\" nor networks like 192.0.2.0/24,2001:db8::/32",
        ),
        ("--data-dir=", "--data-dir \"\": a value is missing"),
        ("--role=", "--role \"\": a value is missing"),
        ("--api-listen=", "--api-listen \"\": neither IP:PORT nor \"off\""),
        ("--dns-listen 53", "--dns-listen \"53\": invalid socket address syntax"),
    ] {
        let error = flags(arguments).expect_err(arguments);
        assert_eq!(one_line(&error).as_deref(), Some(line), "{arguments}");
    }
    let error = flags("--ticket nonsense").expect_err("a bad ticket");
    let line = one_line(&error).expect("one line");
    assert!(line.starts_with("--ticket \"nonsense\": ") && !line.contains('\n'), "{line}");
    assert_eq!(one_line(&flags("--nonsense").expect_err("an unknown flag")), None);
}

#[test]
fn what_is_done_without_an_author_is_for_edges_alone() {
    for flag in ["--ready-silence 1h", "--stale-ede", "--expire soa", "--follow-behind 10m"] {
        assert_eq!(config(flag).err(), Some(PlanError::EdgeFlagsWithoutEdge), "{flag}");
        assert_eq!(
            config(&format!("--zone-dir d {flag}")).err(),
            Some(PlanError::EdgeFlagsWithoutEdge),
            "{flag}"
        );
    }
}
