//! Members of etcd in processes of their own, on free ports of the loopback address. Uses the `etcd` of the
//! system; without one those who ask are told, and test nothing.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aspen_dns::store::etcd::EtcdConfig;

/// Members of one cluster, killed when dropped.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    members: Vec<Member>,
    /// Whether clients speak TLS to it, and show a certificate.
    has_tls: bool,
}

/// One member.
struct Member {
    client_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl Cluster {
    /// Starts `count` members on free ports, or says why not.
    pub fn start(count: usize) -> Option<Self> {
        Self::start_with(count, false)
    }

    pub fn start_with(count: usize, has_tls: bool) -> Option<Self> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("there is no etcd on this system: nothing tested");
            return None;
        }
        // Ports that are free now; all are held until all are known.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let held: Vec<_> = (0..count).map(|_| (free(), free())).collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let members = held
            .iter()
            .map(|(client, peer)| Member {
                client_port: port(client),
                peer_port: port(peer),
                child: None,
            })
            .collect();
        drop(held);
        let mut cluster = Self { dir: tempfile::tempdir().unwrap(), members, has_tls };
        (0..count).for_each(|index| cluster.start_member(index));
        Some(cluster)
    }

    pub fn start_member(&mut self, index: usize) {
        let name = |index: usize| format!("m{index}");
        let peer_url = |member: &Member| format!("http://127.0.0.1:{}", member.peer_port);
        let initial: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| format!("{}={}", name(index), peer_url(member)))
            .collect();
        let member = &self.members[index];
        let client_url = self.client_url(member);
        let mut command = Command::new("etcd");
        if self.has_tls {
            command.args(["--client-cert-auth", "--cert-file", &tls("node.pem")]);
            command.args(["--key-file", &tls("node.key"), "--trusted-ca-file", &tls("ca.pem")]);
        }
        let child = command
            .args(["--name", &name(index)])
            .arg("--data-dir")
            .arg(self.data_dir(index))
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url(member)])
            .args(["--initial-advertise-peer-urls", &peer_url(member)])
            .args(["--initial-cluster", &initial.join(",")])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(["--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.members[index].child = Some(child);
    }

    /// Returns where clients find a member.
    fn client_url(&self, member: &Member) -> String {
        let scheme = if self.has_tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", member.client_port)
    }

    /// Kills a member with SIGKILL.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.members[index].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Keeps a copy of what a member has on its disk, which is then as after a crash.
    pub fn keep(&mut self, index: usize) {
        self.kill(index);
        copy(&self.data_dir(index), &self.kept_dir(index));
        self.start_member(index);
    }

    /// Puts that copy back; the member is not started.
    pub fn put_back(&mut self, index: usize) {
        self.empty(index);
        copy(&self.kept_dir(index), &self.data_dir(index));
    }

    /// Kills a member and takes its disk away.
    pub fn empty(&mut self, index: usize) {
        self.kill(index);
        std::fs::remove_dir_all(self.data_dir(index)).unwrap();
    }

    fn data_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("m{index}"))
    }

    fn kept_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("m{index}-kept"))
    }

    /// Sends a signal to a member, as `kill` names it.
    pub fn signal(&self, index: usize, signal: &str) {
        let id = self.members[index].child.as_ref().expect("it runs").id().to_string();
        Command::new("kill").args([signal, &id]).status().expect("kill runs");
    }

    /// Returns which member leads.
    pub async fn leader(&self) -> Option<usize> {
        for (index, member) in self.members.iter().enumerate() {
            let url = format!("http://127.0.0.1:{}", member.client_port);
            let status = async {
                let mut client = etcd_client::Client::connect([url], None).await.ok()?;
                let status = client.status().await.ok()?;
                Some(status.leader() == status.header()?.member_id())
            };
            let leads = tokio::time::timeout(Duration::from_millis(500), status).await;
            if leads == Ok(Some(true)) {
                return Some(index);
            }
        }
        None
    }

    /// Returns where clients find the members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| self.client_url(member)).collect()
    }

    pub fn config(&self, prefix: &str) -> EtcdConfig {
        let endpoints = self.endpoints();
        EtcdConfig { prefix: prefix.as_bytes().to_vec(), ..EtcdConfig::new(endpoints) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|index| self.kill(index));
    }
}

/// Copies a directory.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success());
}

/// Returns the path of a file of `tests/data/tls`.
pub fn tls(file: &str) -> String {
    format!("{}/tests/data/tls/{file}", env!("CARGO_MANIFEST_DIR"))
}
