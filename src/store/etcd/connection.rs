//! The way to the cluster: one member at a time, another one when it fails.
//!
//! One that is silent is left, and with it whatever was asked of it: who waits asks the next one.
//!
//! **Invariant:** requests that are repeated here are reads; whether a write may be repeated is
//! decided where it is made (`etcd::commit`).
//! **Not here:** watching (`etcd::feed`).

use std::time::{Duration, Instant};

use etcd_client::{
    Certificate, Client, ConnectOptions, Error, GetOptions, GetResponse, Identity, TlsOptions, Txn,
    TxnResponse,
};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use super::pulse::Pulse;
use super::{EtcdTls, Password};
use crate::limits::{ETCD_REPLY_OCTETS_MAX, ETCD_RETRY_MS_MAX, ETCD_SILENCE_MS_MAX};
use crate::store::kv::KvError;
use crate::store::report::EngineReport;

/// The way to the cluster.
pub(super) struct Connection {
    /// The members' client URLs.
    endpoints: Vec<String>,
    /// Who we are to them.
    login: Login,
    /// The member in use.
    current: Mutex<Current>,
    /// Its epoch, for those who wait for another one.
    epochs: watch::Sender<Epochs>,
    /// What is known of the cluster.
    pulse: Pulse,
}

/// How often another member was taken into use.
#[derive(Clone, Copy, Debug, Default)]
struct Epochs {
    /// The epoch of the member in use.
    now: u64,
    /// Members of epochs below this one were silent when they were left: they answer nothing any more.
    silent_below: u64,
}

/// The member in use.
struct Current {
    /// Rises with every change of member.
    epoch: u64,
    /// Which of the endpoints it is.
    index: usize,
    /// Its client.
    client: Client,
    /// When it was said last that no member answers.
    said_at: Option<Instant>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The options hold a password.
        f.debug_struct("Connection").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// What a failed request says about its outcome.
pub(super) enum Failure {
    /// The cluster answered: the request was not carried out and would not be next time.
    Final(KvError),
    /// The answer is missing or says to try again; the request may have been carried out.
    Unsure(KvError),
}

impl Failure {
    /// Nobody has answered in time.
    fn silence() -> Self {
        Self::Unsure(KvError::Unavailable { reason: "etcd does not answer".into() })
    }

    /// What went wrong.
    fn into_error(self) -> KvError {
        match self {
            Self::Final(error) | Self::Unsure(error) => error,
        }
    }
}

impl Connection {
    /// Finds a member that answers.
    pub(super) async fn open(endpoints: Vec<String>, login: Login) -> Result<Self, KvError> {
        let began = Instant::now();
        let deadline = began + Duration::from_millis(ETCD_RETRY_MS_MAX);
        let mut say_at = began + SAY_FIRST;
        loop {
            let error = match find_member(&endpoints, &login, 0).await {
                Ok((index, client)) => {
                    let pulse = Pulse::new(&endpoints[index]);
                    let current = Mutex::new(Current { epoch: 0, index, client, said_at: None });
                    let epochs = watch::Sender::default();
                    return Ok(Self { endpoints, login, current, epochs, pulse });
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Unsure(error)) => error,
            };
            let now = Instant::now();
            if now > deadline {
                return Err(error);
            }
            if now >= say_at {
                tracing::warn!(endpoints = %endpoints.join(","), %error, "waiting for etcd to answer");
                say_at = now + SAY_AGAIN;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns the client in use and its epoch.
    pub(super) async fn client(&self) -> (u64, Client) {
        let current = self.current.lock().await;
        (current.epoch, current.client.clone())
    }

    /// Goes over to the next member that answers, unless somebody did so since `epoch`.
    pub(super) async fn leave(&self, epoch: u64) {
        self.go_over(epoch, false).await;
    }

    /// As [`Connection::leave`]; if the member was silent, nobody waits for what was asked of it any more.
    async fn go_over(&self, epoch: u64, is_silent: bool) {
        let mut current = self.current.lock().await;
        if current.epoch != epoch {
            return;
        }
        match find_member(&self.endpoints, &self.login, current.index + 1).await {
            Ok((index, client)) => {
                tracing::info!(endpoint = %self.endpoints[index], "now using this etcd member");
                *current = Current { epoch: epoch + 1, index, client, said_at: None };
                self.epochs.send_modify(|epochs| {
                    epochs.now = epoch + 1;
                    if is_silent {
                        epochs.silent_below = epoch + 1;
                    }
                });
                self.pulse.goes_to(&self.endpoints[index]);
            }
            Err(Failure::Final(error) | Failure::Unsure(error)) => {
                // Everybody who wants something comes here, many times a second.
                if current.said_at.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                    tracing::warn!(%error, "no etcd member answers");
                    current.said_at = Some(Instant::now());
                }
            }
        }
    }

    /// Returns what is known of the cluster.
    pub(super) fn report(&self) -> EngineReport {
        self.pulse.report()
    }

    /// Waits until another member is in use than in an epoch.
    pub(super) async fn left(&self, epoch: u64) {
        // It is never an error: whoever waits borrows the sender.
        let _ = self.epochs.subscribe().wait_for(|epochs| epochs.now != epoch).await;
    }

    /// Waits until the member of an epoch was left because it was silent.
    async fn left_silent(&self, epoch: u64) {
        // As above.
        let _ = self.epochs.subscribe().wait_for(|epochs| epochs.silent_below > epoch).await;
    }

    /// Asks the member in use how it is, and goes over to the next one if it does not say, knows no leader, or is
    /// not heard by others; returns whether all is well.
    ///
    /// Nothing else notices one that is silent while nobody asks it for anything: a watch only listens, and what
    /// tries its connection takes twice [`KEEP_ALIVE`], which members want to be no shorter.
    pub(super) async fn ask_status(&self) -> bool {
        let (epoch, mut client) = self.client().await;
        let silence = Duration::from_millis(ETCD_SILENCE_MS_MAX);
        let asking = async {
            let status = client.status().await?;
            let is_heard = status.leader() != 0 && is_heard(&client).await?;
            Ok((status, is_heard))
        };
        match tokio::time::timeout(silence, asking).await {
            Ok(Ok((status, is_heard))) => {
                self.pulse.note(&status);
                if is_heard {
                    return true;
                }
                // It hears nobody, and so tells nothing new.
                self.go_over(epoch, true).await;
            }
            Ok(Err(error)) => match classify(&error) {
                Failure::Final(_) => return true,
                Failure::Unsure(_) => self.leave(epoch).await,
            },
            Err(_) => self.go_over(epoch, true).await,
        }
        false
    }

    /// Gets a key or a range, from whichever member answers in time.
    pub(super) async fn get(
        &self,
        key: Vec<u8>,
        options: GetOptions,
    ) -> Result<GetResponse, KvError> {
        self.try_get(key, options).await.map_err(Failure::into_error)
    }

    /// The same, for one who asks again where that may help.
    pub(super) async fn try_get(
        &self,
        key: Vec<u8>,
        options: GetOptions,
    ) -> Result<GetResponse, Failure> {
        self.read(|client| {
            let (key, options) = (key.clone(), options.clone());
            async move { kv(&client).get(key, Some(options)).await }
        })
        .await
    }

    /// Makes a transaction that only reads, at whichever member answers in time.
    pub(super) async fn read_txn(&self, txn: Txn) -> Result<TxnResponse, KvError> {
        self.read(|client| {
            let txn = txn.clone();
            async move { kv(&client).txn(txn).await }
        })
        .await
        .map_err(Failure::into_error)
    }

    /// Makes a transaction once.
    pub(super) async fn write_txn(&self, txn: Txn) -> Result<TxnResponse, Failure> {
        let (epoch, client) = self.client().await;
        let result = self.attempt(epoch, kv(&client).txn(txn)).await;
        if matches!(result, Err(Failure::Unsure(_))) {
            self.leave(epoch).await;
        }
        result
    }

    /// Repeats a read until it is answered or [`ETCD_RETRY_MS_MAX`] have passed.
    async fn read<T, F>(&self, request: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + Duration::from_millis(ETCD_RETRY_MS_MAX);
        loop {
            let (epoch, client) = self.client().await;
            match self.attempt(epoch, request(client)).await {
                Ok(response) => return Ok(response),
                Err(failure @ Failure::Final(_)) => return Err(failure),
                Err(failure) if Instant::now() > deadline => return Err(failure),
                Err(Failure::Unsure(_)) => {
                    self.leave(epoch).await;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Connection {
    /// Waits for one request to the member of an epoch, for as long as it may take and is not left as silent: whoever
    /// waited on would hear nothing, and ask the next one later by as much.
    async fn attempt<T>(
        &self,
        epoch: u64,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let answered = tokio::select! {
            biased;
            answered = tokio::time::timeout(REQUEST_TIMEOUT, request) => answered,
            () = self.left_silent(epoch) => return Err(Failure::silence()),
        };
        match answered {
            Ok(Ok(response)) => {
                self.pulse.beat();
                Ok(response)
            }
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(Failure::silence()),
        }
    }
}

/// Returns a client of the key-value service that takes large replies.
fn kv(client: &Client) -> etcd_client::KvClient {
    client.kv_client().max_decoding_message_size(ETCD_REPLY_OCTETS_MAX)
}

/// Tells apart what another attempt may mend and what not.
pub(super) fn classify(error: &Error) -> Failure {
    let refused = || Failure::Final(KvError::engine(Refusal(text_of(error))));
    let unsure = || Failure::Unsure(KvError::Unavailable { reason: text_of(error).into() });
    let Error::GRpcStatus(status) = error else {
        return match error {
            Error::InvalidArgs(_) | Error::InvalidUri(_) => refused(),
            _ => unsure(),
        };
    };
    match i32::from(status.code()) {
        GRPC_OUT_OF_RANGE if status.message().contains("compacted") => {
            Failure::Final(KvError::Compacted { compacted: 0 })
        }
        GRPC_OUT_OF_RANGE if status.message().contains("future revision") => {
            Failure::Final(KvError::Ahead { after: 0, revision: 0 })
        }
        GRPC_INVALID_ARGUMENT
        | GRPC_NOT_FOUND
        | GRPC_PERMISSION_DENIED
        | GRPC_OUT_OF_RANGE
        | GRPC_UNIMPLEMENTED => refused(),
        // A token that has run out; the next connection gets another one.
        GRPC_UNAUTHENTICATED if !status.message().contains("invalid auth token") => refused(),
        GRPC_RESOURCE_EXHAUSTED if !status.message().contains("too many requests") => refused(),
        _ => unsure(),
    }
}

/// Returns what a member has said, without what carried it.
fn text_of(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => {
            format!("etcd says: {} ({:?})", status.message(), status.code())
        }
        other => format!("etcd: {other}"),
    }
}

/// What no further attempt mends.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

/// Who we are to members, and how they are spoken to.
pub(super) struct Login {
    /// What holds for every member.
    options: ConnectOptions,
    /// What holds for those with https URLs; the others refuse to be told.
    tls: TlsOptions,
}

impl Login {
    /// Makes a login of a user, if there is one, and certificates.
    pub(super) fn new(user: Option<&(String, Password)>, tls: EtcdTls) -> Self {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(PROBE_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some((name, Password(password))) = user {
            options = options.with_user(name, password);
        }
        let config = TlsOptions::new();
        let config = match tls.ca {
            Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
            None => config.with_native_roots(),
        };
        let tls = match (tls.certificate, tls.key) {
            (Some(certificate), Some(key)) => config.identity(Identity::from_pem(certificate, key)),
            _ => config,
        };
        Self { options, tls }
    }

    /// Returns how one member is spoken to.
    fn options(&self, endpoint: &str) -> ConnectOptions {
        match endpoint.starts_with("https://") {
            true => self.options.clone().with_tls(self.tls.clone()),
            false => self.options.clone(),
        }
    }
}

/// Whether a member hears from the others what is newest, as it must for whatever is asked of it: one that knows a
/// leader may be cut off on the way to it.
async fn is_heard(client: &Client) -> Result<bool, Error> {
    let newest = GetOptions::new().with_count_only();
    match kv(client).get(PROBE_KEY, Some(newest)).await {
        Ok(_) => Ok(true),
        // It has heard, and says who may not read what.
        Err(Error::GRpcStatus(status)) if i32::from(status.code()) == GRPC_PERMISSION_DENIED => {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Returns the first member from `first` on that answers, knows a leader and is heard by others. The next one is
/// asked when one fails, or has not answered soon: a silent one keeps nobody waiting.
async fn find_member(
    endpoints: &[String],
    login: &Login,
    first: usize,
) -> Result<(usize, Client), Failure> {
    let mut untried = (0..endpoints.len()).map(|offset| (first + offset) % endpoints.len());
    let mut probes = JoinSet::new();
    let mut last = Failure::Unsure(KvError::Closed);
    loop {
        if let Some(index) = untried.next() {
            let (endpoint, options) = (endpoints[index].clone(), login.options(&endpoints[index]));
            probes.spawn(async move { (index, probe(endpoint, options).await) });
        }
        let probed = tokio::select! {
            probed = probes.join_next() => probed,
            () = tokio::time::sleep(PROBE_AHEAD), if untried.len() > 0 => continue,
        };
        match probed {
            Some(Ok((index, Ok(Some(client))))) => return Ok((index, client)),
            Some(Ok((_, Err(failure)))) => last = failure,
            Some(Ok((_, Ok(None))) | Err(_)) => {}
            None => return Err(last),
        }
    }
}

/// Asks a member how it is; none if it knows no leader.
async fn probe(endpoint: String, options: ConnectOptions) -> Result<Option<Client>, Failure> {
    let asking = async {
        let mut client = Client::connect([endpoint], Some(options)).await?;
        let is_well = client.status().await?.leader() != 0 && is_heard(&client).await?;
        Ok(is_well.then_some(client))
    };
    match tokio::time::timeout(PROBE_TIMEOUT, asking).await {
        Ok(probed) => probed.map_err(|error| classify(&error)),
        Err(_) => Err(Failure::silence()),
    }
}

/// How long one request may take; an election takes one second with etcd's defaults.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a member may take to say that it lives.
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);
/// For how long a member is asked before the next one is, too.
const PROBE_AHEAD: Duration = Duration::from_millis(150);
/// A key that nobody has.
const PROBE_KEY: &str = "aspen-dns";
/// How often a silent connection is tried, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// The pause between two attempts.
pub(super) const PAUSE: Duration = Duration::from_millis(30);

/// After how long a start says that no member answers yet.
const SAY_FIRST: Duration = Duration::from_millis(800);
/// How often it says so again.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// gRPC status codes that another attempt does not mend, and one that it may.
const GRPC_INVALID_ARGUMENT: i32 = 3;
/// See above.
const GRPC_NOT_FOUND: i32 = 5;
/// See above.
const GRPC_PERMISSION_DENIED: i32 = 7;
/// See above: quota, or too many requests.
const GRPC_RESOURCE_EXHAUSTED: i32 = 8;
/// See above: a revision that is compacted.
const GRPC_OUT_OF_RANGE: i32 = 11;
/// See above.
const GRPC_UNIMPLEMENTED: i32 = 12;
/// See above.
const GRPC_UNAUTHENTICATED: i32 = 16;
