//! The verbs and flags of `aspen-dns`, with their help.

use std::path::PathBuf;

use aspen_dns::dnssec::Time;
use aspen_dns::limits::API_WAIT_S_MAX;
use aspen_dns::name::Name;
use aspen_dns::record::RecordType;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::feed_flags::FeedCommand;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "aspen-dns", version, about = ABOUT, after_help = EXAMPLES)]
pub(crate) struct Flags {
    /// URL of the node's API, http or https.
    #[arg(
        long,
        env = "ASPEN_API",
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8053"
    )]
    pub(crate) api: String,

    /// API key. Without it, the key in DATA_DIR/api-key is used.
    #[arg(long, env = "ASPEN_API_KEY", global = true, value_name = "KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,

    /// Data directory of the node, where its API key lies.
    #[arg(
        long,
        env = "ASPEN_DATA_DIR",
        global = true,
        value_name = "DIR",
        default_value = "./aspen-data"
    )]
    pub(crate) data_dir: PathBuf,

    /// Certificates, a PEM file, of the authority that signed those of nodes asked by https; they
    /// are trusted instead of the system's.
    #[arg(long, env = "ASPEN_CA", global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// Print JSON instead of text.
    #[arg(long, env = "ASPEN_JSON", global = true, value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Zones: import, export, list, create, delete, show, check.
    #[command(subcommand)]
    Zone(ZoneCommand),
    /// Records: set, get, delete, list.
    #[command(subcommand)]
    Record(RecordCommand),
    /// Apply a file of changes as one atomic commit.
    #[command(after_help = BATCH_HELP)]
    Batch {
        /// The file; "-" is standard input.
        file: PathBuf,
    },
    /// Tickets, with which edges follow this authority.
    #[command(subcommand)]
    Ticket(TicketCommand),
    /// An edge that follows behind on purpose: status, hold, release, resume.
    #[command(subcommand)]
    Follow(FollowCommand),
    /// Feeds, one for each audience: list, create, show, remove, allow, deny, expire, rotate; freeze and thaw all; roll back.
    #[command(subcommand)]
    Feed(FeedCommand),
    /// The store of a node: check, backup, restore, copy to another engine.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print what the node does: role, revisions, zones, replication.
    Status,
    /// Print the edges that follow this node, or others that do: what they serve, how far behind that is, where
    /// they are; and those that have fallen silent.
    #[command(after_help = FLEET_HELP)]
    Fleet {
        /// Forget an edge that is silent: its name, or 8 digits of its key or more.
        #[arg(long, value_name = "EDGE")]
        forget: Option<String>,
    },
    /// Compare what edges answer with their authority, zone by zone; exit 1 when they differ.
    #[command(after_help = VERIFY_HELP)]
    Verify {
        /// What to compare, and how.
        #[command(flatten)]
        verify: VerifyFlags,
    },
    /// Wait until the node serves a revision, and edges behind it do; exit 1 at the timeout.
    #[command(after_help = WAIT_HELP)]
    Wait {
        /// The revision. Without it: the newest that the node has heard of.
        #[arg(long, value_name = "R")]
        revision: Option<u64>,
        /// Edges that are to serve it too: all that are heard now, so many, or these (names, or 8 digits of their
        /// keys or more).
        #[arg(long, value_name = "all|N|EDGE,…")]
        edges: Option<String>,
        /// Seconds to wait at most.
        #[arg(long, value_name = "S", default_value_t = 30.0, value_parser = parse_seconds)]
        timeout: f64,
    },
}

/// Verbs on zones.
#[derive(Debug, Subcommand)]
pub(crate) enum ZoneCommand {
    /// Make the zone what a master file says; creates it when it is new.
    #[command(after_help = "\
Examples:
  aspen-dns zone import example.com.zone
  aspen-dns zone import db.internal --zone corp.example.")]
    Import {
        /// The master file (RFC 1035 section 5); "-" is standard input.
        file: PathBuf,
        /// Apex and initial origin. [default: the file's name without .zone]
        #[arg(long, value_name = "APEX")]
        zone: Option<Name>,
    },
    /// Print a zone as a master file.
    Export {
        /// The apex.
        zone: Name,
    },
    /// List the zones.
    List,
    /// Create a zone.
    #[command(after_help = "\
Examples:
  aspen-dns zone create example.com --nameserver ns1.example.com --nameserver ns2.example.net")]
    Create {
        /// The apex.
        zone: Name,
        /// Settings.
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Delete a zone with all its records.
    Delete {
        /// The apex.
        zone: Name,
    },
    /// Print a zone's settings and state.
    Show {
        /// The apex.
        zone: Name,
    },
    /// Read zones and report every error and warning, those of DNSSEC too; needs no node.
    #[command(after_help = CHECK_HELP)]
    Check {
        /// What to check, and how.
        #[command(flatten)]
        check: CheckFlags,
    },
}

/// What to check, and how.
#[derive(Args, Debug)]
pub(crate) struct CheckFlags {
    /// Master files. DS records of a zone are checked against the keys of zones below it.
    #[arg(required_unless_present = "zone")]
    pub(crate) files: Vec<PathBuf>,
    /// Check a zone of the running node instead of a file.
    #[arg(long, value_name = "APEX", conflicts_with_all = ["files", "origin"])]
    pub(crate) zone: Option<Name>,
    /// Initial origin. [default: the file's name without .zone]
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: Option<Name>,
    /// DS records of the parent: a file, a record, or its RDATA; may be repeated.
    #[arg(long, value_name = "FILE|RECORD")]
    pub(crate) ds: Vec<String>,
    /// Check signatures as of this time: YYYYMMDDHHmmSS in UTC, or seconds since 1970.
    /// [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) time: Option<Time>,
    /// Warn of signatures that expire within so many days.
    #[arg(long, value_name = "DAYS", default_value_t = 3)]
    pub(crate) expiry_days: u32,
}

/// What to compare, and how.
#[derive(Args, Debug)]
pub(crate) struct VerifyFlags {
    /// URL of an edge's API; may be repeated. The authority is the node of --api.
    #[arg(long, value_name = "URL", required = true)]
    pub(crate) edge: Vec<String>,
    /// API key of the edges: one for all, or one for each in the same order.
    #[arg(long, value_name = "KEY", conflicts_with = "edge_data_dir")]
    pub(crate) edge_key: Vec<String>,
    /// Data directories of edges, where their API keys lie, in the same order.
    #[arg(long, value_name = "DIR")]
    pub(crate) edge_data_dir: Vec<PathBuf>,
    /// Count all records anew instead of believing sums: at the edge those that it answers with.
    #[arg(long)]
    pub(crate) recount: bool,
    /// Edges have tickets for some of the zones: what they lack is no difference.
    #[arg(long)]
    pub(crate) partial: bool,
}

/// Settings of a new zone.
#[derive(Args, Debug)]
pub(crate) struct SettingFlags {
    /// A name server for the NS RRset that is made up when the zone has none; may be repeated.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) nameserver: Vec<Name>,
    /// TTL, in seconds, of records that are given none.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) default_ttl: Option<u32>,
    /// How the SOA serial rises with each commit.
    #[arg(long, value_enum)]
    pub(crate) serial_policy: Option<SerialPolicyFlag>,
    /// A note for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Do not serve the zone: its names are REFUSED.
    #[arg(long)]
    pub(crate) disabled: bool,
}

/// How a serial rises, as the flag spells it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SerialPolicyFlag {
    /// By one.
    Increment,
    /// To the time in seconds, or by one.
    Unixtime,
    /// To the date in the form YYYYMMDDnn, or by one.
    Date,
}

/// Verbs on RRsets.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordCommand {
    /// Set an RRset: it then holds exactly the records given.
    #[command(after_help = "\
Each argument after the TTL is one record in presentation form. If that does not read, all of
them together are one record. TXT data without quotes is taken as it is. Data that begins with a
dash comes after \"--\".

Examples:
  aspen-dns record set www.example.com A 300 192.0.2.1 192.0.2.2
  aspen-dns record set example.com MX 3600 \"10 mail.example.com.\"
  aspen-dns record set _acme-challenge.example.com TXT 60 gfj9Xq...Rg85nM")]
    Set {
        /// Owner name, absolute.
        name: Name,
        /// Type: a mnemonic, or TYPE12345.
        #[arg(value_name = "TYPE")]
        rtype: RecordType,
        /// TTL in seconds.
        ttl: u32,
        /// The records.
        #[arg(required = true, allow_negative_numbers = true)]
        rdata: Vec<String>,
    },
    /// Print an RRset; exit 1 when there is none.
    Get {
        /// Owner name.
        name: Name,
        /// Type.
        #[arg(value_name = "TYPE")]
        rtype: RecordType,
    },
    /// Delete an RRset; exit 1 when there is none.
    Delete {
        /// Owner name.
        name: Name,
        /// Type.
        #[arg(value_name = "TYPE")]
        rtype: RecordType,
    },
    /// List the records of a zone.
    List {
        /// The apex.
        zone: Name,
        /// Only this owner name.
        #[arg(long)]
        name: Option<Name>,
        /// Only this type.
        #[arg(long = "type", value_name = "TYPE")]
        rtype: Option<RecordType>,
    },
}

/// Verbs on tickets.
#[derive(Debug, Subcommand)]
pub(crate) enum TicketCommand {
    /// Print a ticket, alone on its line.
    #[command(after_help = "\
A ticket is a capability: whoever holds it can read everything its feed carries. Treat it as a password. With
--zones, the feed carries these zones and no others; with --feed, it is one that `aspen-dns feed create` made.

Examples:
  aspen-node --ticket \"$(aspen-dns ticket create)\" --data-dir edge
  aspen-dns ticket create --zones example.com,example.net")]
    Create {
        /// Only these zones.
        #[arg(long, value_delimiter = ',', value_name = "APEX")]
        zones: Vec<Name>,
        /// Of the feed of this name.
        #[arg(long, value_name = "FEED", conflicts_with = "zones")]
        feed: Option<String>,
    },
    /// Print what a ticket says; needs no node.
    Show {
        /// The ticket.
        ticket: String,
    },
}

/// Verbs on how an edge follows.
#[derive(Debug, Subcommand)]
pub(crate) enum FollowCommand {
    /// Print what the edge holds back.
    Status,
    /// Stay where the edge is: nothing further is answered, over restarts with --follow-behind too.
    Hold,
    /// Catch up at once, and follow as other edges do.
    Release,
    /// Follow behind again, as the edge was told at its start.
    Resume,
}

/// Verbs on the file of a store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read all of a store that no node has open, and report what is damaged.
    #[command(after_help = "\
Every page, checksum, key and value is read; nothing is changed. The first 20 findings are printed.

Examples:
  aspen-dns store check /var/lib/aspen
  aspen-dns store check backup/store.redb --json

Exit status: 0 no findings, 1 findings or not readable, 2 wrong usage.")]
    Check {
        /// The file, or the data directory that it is in. [default: --data-dir]
        #[arg(value_name = "DATA_DIR|FILE")]
        path: Option<PathBuf>,
    },
    /// Write all that the node's store keeps to a file, of one moment, while the node runs.
    #[command(after_help = BACKUP_HELP)]
    Backup {
        /// The file; `-` is standard output.
        file: PathBuf,
    },
    /// Make the zones of the node those of a backup, while it runs; edges follow.
    #[command(after_help = RESTORE_HELP)]
    Restore {
        /// The backup.
        file: PathBuf,
        /// Leave zones alone that the backup does not have; without it they are deleted.
        #[arg(long)]
        keep_others: bool,
        /// Only tell what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Copy a store to another engine, or to a file and back, while no node has it open; and compare the copy.
    #[command(after_help = COPY_HELP)]
    Copy {
        /// What is copied: redb=DATA_DIR, etcd=URL[,URL…] or backup=FILE.
        #[arg(value_name = "FROM")]
        from: String,
        /// Where to, of the same forms. There must be no store yet.
        #[arg(value_name = "TO")]
        to: String,
        /// Who we are to etcd.
        #[cfg(feature = "node")]
        #[command(flatten)]
        etcd: Box<aspen_dns::node::flags::etcd::EtcdFlags>,
    },
}

/// Follows the help of `store backup`.
const BACKUP_HELP: &str = "\
Zones with settings, serials and records, disabled ones too, and the keys of feeds that are kept in the store (not
those in the data directory: copy DATA_DIR/mesh and DATA_DIR/api-key beside it). The file has a checksum.

Examples:
  aspen-dns store backup monday.backup
  aspen-dns store backup - | ssh vault 'cat > aspen.backup'

Exit status: 0 written whole, 1 not, 2 wrong usage.";

/// Follows the help of `store restore`.
const RESTORE_HELP: &str = "\
The file is read whole before anything changes. Each zone that differs is imported in one commit, and its serial
rises; equal ones are left alone. It goes on when this command is ended. If a zone cannot be restored, those that the
backup does not have stay. For a node without a store, or with another engine: `store copy`.

Examples:
  aspen-dns store restore monday.backup --dry-run
  aspen-dns store restore monday.backup --keep-others

Exit status: 0 restored, 1 not, or not all zones, 2 wrong usage.";

/// Follows the help of `store copy`.
const COPY_HELP: &str = "\
All is copied as it is: settings, disabled zones, serials, keys of feeds. The copy begins a new history: start the
node with it and the same data directory, and tickets stay valid, edges read all zones anew and go on.
An etcd prefix, user and certificate are given as to aspen-node, and hold for both sides. Stop the node that has
the embedded store open, and see to it that nobody writes to etcd meanwhile.

Examples:
  aspen-dns store copy redb=/var/lib/aspen etcd=http://10.0.0.1:2379,http://10.0.0.2:2379
  aspen-dns store copy etcd=http://10.0.0.1:2379 redb=/var/lib/aspen-new
  aspen-dns store copy backup=monday.backup redb=/var/lib/aspen-new

Exit status: 0 copied and found equal, 1 not, 2 wrong usage.";

/// Reads a number of seconds for which the node may be asked to wait.
fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.0..=f64::from(API_WAIT_S_MAX)).contains(seconds))
        .ok_or_else(|| format!("not a number of seconds from 0 to {API_WAIT_S_MAX}"))
}

/// The first line of the help.
const ABOUT: &str = "Reads and writes the zones of an Aspen DNS node";
/// The end of the help.
const EXAMPLES: &str = "\
Examples:
  aspen-dns zone import example.com.zone
  aspen-dns record set www.example.com A 300 192.0.2.1
  aspen-dns record get www.example.com A --json
  aspen-dns ticket create
  aspen-dns wait --timeout 5

Writes print the revision that they made. Exit status: 0 done, 1 not done, 2 wrong usage.";
/// What a check finds.
const CHECK_HELP: &str = "\
Besides the syntax: missing, expired, wrong or needless signatures, broken chains of NSEC or NSEC3
records, DNSKEY, DS, CDS and CDNSKEY records that do not match, ZONEMD digests, missing glue, hosts
without address. Each finding names the rule that is broken and how to mend it.

Examples:
  aspen-dns zone check example.com.zone --ds dsset-example.com.
  aspen-dns zone check example.com.zone --time 20270101000000 --json
  aspen-dns zone check com.zone example.com.zone
  aspen-dns zone check --zone example.com

Exit status: 0 no errors, 1 errors, 2 wrong usage. Warnings alone are no errors.";
/// How nodes are compared.
const VERIFY_HELP: &str = "\
Each zone comes to a sum of hashes of its records, and their number. Zones that change meanwhile are
asked for again, a few times. Without --edge-key and --edge-data-dir edges get the authority's key.

Examples:
  aspen-dns verify --edge http://198.51.100.7:8053 --edge-key KEY
  aspen-dns verify --edge 127.0.0.1:8054 --edge-data-dir edge --recount --json

Exit status: 0 no differences, 1 differences or no answer, 2 wrong usage.";
/// What is waited for.
const WAIT_HELP: &str = "\
Examples:
  aspen-dns wait --revision 42 --timeout 5
  aspen-dns --api http://198.51.100.7:8053 --api-key KEY wait
  aspen-dns record set _acme-challenge.example.com TXT 60 \"$VALUE\" && aspen-dns wait --edges all
  aspen-dns wait --edges ams-1,fra-1 --timeout 60

Edges that are silent are not among all; how many there are is said.";
/// What is told of edges.
const FLEET_HELP: &str = "\
An edge is silent when nothing was heard of it for 5 s; it is listed for a day, or until it is forgotten. LAG is for
how long it has lacked something that is committed, by this node: clocks of edges do not count.
VIA is the edge that tells of it, if it does not follow this node itself.

Examples:
  aspen-dns fleet
  aspen-dns fleet --json
  aspen-dns fleet --forget ams-1";
/// What a batch file may hold.
const BATCH_HELP: &str = "\
Lines of the form
  set NAME TYPE TTL RDATA      several lines for one NAME and TYPE make one RRset
  delete NAME TYPE
  # a comment
or JSON as POST /api/v1/aspen/batch takes it: {\"operations\": [{\"op\": \"set\", \"domain\": …,
\"type\": …, \"ttl_seconds\": …, \"rdata\": […]}, {\"op\": \"delete\", \"domain\": …, \"type\": …}]}

Examples:
  aspen-dns batch changes.txt
  printf 'set a.example.com A 60 192.0.2.1\\ndelete b.example.com A\\n' | aspen-dns batch -";
