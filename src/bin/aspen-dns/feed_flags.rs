//! The verbs and flags of `aspen-dns feed`, with their help.

use aspen_dns::name::Name;
use clap::{Args, Subcommand};

/// Verbs on feeds.
#[derive(Debug, Subcommand)]
pub(crate) enum FeedCommand {
    /// List the feeds, and those that have ended.
    List,
    /// Make a feed for one audience, and print its ticket, alone on its line.
    #[command(after_help = CREATE_HELP)]
    Create(CreateFlags),
    /// Print a feed: its zones, its list, who follows it and who was refused.
    Show {
        /// Its name.
        feed: String,
    },
    /// End a feed for good: who follows it is cut off, and its tickets lead nowhere.
    #[command(alias = "revoke", after_help = REMOVE_HELP)]
    Remove {
        /// Its name.
        feed: String,
    },
    /// Put endpoints on the list of a feed, which is for those on it alone from then on.
    #[command(after_help = ALLOW_HELP)]
    Allow {
        /// The feed.
        feed: String,
        /// Keys of endpoints, 64 hexadecimal digits each.
        #[arg(required_unless_present = "everybody")]
        keys: Vec<String>,
        /// Take the list away: the feed is for whoever has its ticket.
        #[arg(long, conflicts_with = "keys")]
        everybody: bool,
    },
    /// Take endpoints off the list of a feed: they are cut off at once.
    Deny {
        /// The feed.
        feed: String,
        /// Keys of endpoints, 64 hexadecimal digits each.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Put a feed with new keys in the place of one: its edges go on to it by themselves; print the new ticket.
    #[command(after_help = ROTATE_HELP)]
    Rotate {
        /// The feed.
        feed: String,
        /// Until when the old one stays, as `feed expire` takes it: a week by default.
        #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
        keep: Option<String>,
    },
    /// Say when a feed ends by itself, by the clock of its authority.
    #[command(after_help = EXPIRE_HELP)]
    Expire {
        /// The feed.
        feed: String,
        /// never, YYYYMMDDHHmmSS in UTC, seconds since 1970, or so long from now on: +90s, +30m, +12h, +7d.
        #[arg(allow_hyphen_values = true)]
        when: String,
    },
    /// Stop all feeds: every edge keeps what it serves, whatever is committed, until they are thawed.
    #[command(after_help = FREEZE_HELP)]
    Freeze,
    /// Let out what was committed while the feeds were frozen.
    Thaw,
    /// Print whether the feeds are frozen.
    Frozen,
    /// Make zones what they were at a revision, as one new revision that all edges get.
    #[command(after_help = ROLLBACK_HELP)]
    Rollback(RollbackFlags),
}

/// What a new feed is to be.
#[derive(Args, Debug)]
pub(crate) struct CreateFlags {
    /// Its name: letters, digits, points, "-" and "_".
    pub(crate) feed: String,
    /// Only these zones.
    #[arg(long, value_delimiter = ',', value_name = "APEX")]
    pub(crate) zones: Vec<Name>,
    /// Only these endpoints.
    #[arg(long, value_delimiter = ',', value_name = "KEY")]
    pub(crate) allow: Vec<String>,
    /// End it then: as `feed expire` takes it.
    #[arg(long, value_name = "WHEN")]
    pub(crate) expires: Option<String>,
}

/// What is gone back to.
#[derive(Args, Debug)]
pub(crate) struct RollbackFlags {
    /// The revision, as writes print it and `aspen-dns status` shows it.
    pub(crate) revision: u64,
    /// Only this zone; several times for several.
    #[arg(long = "zone", value_delimiter = ',', value_name = "APEX")]
    pub(crate) zones: Vec<Name>,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How a feed is made.
const CREATE_HELP: &str = "\
A ticket is a capability: whoever holds it can read everything that its feed carries. Treat it as a password (pass it
on by a way that nobody listens to, keep files with it readable by their owner alone, make one feed for each
audience, so that one can be revoked without the others). With a list, a ticket is of use to the endpoints on it alone;
the key of an edge is printed by `aspen-node --show-endpoint --data-dir DIR`, also before its first start.

Examples:
  aspen-dns feed create partner --zones example.com,example.net
  aspen-dns feed create lab --expires +7d
  aspen-dns feed create dc1 --allow \"$(ssh edge1 aspen-node --show-endpoint --data-dir /var/lib/aspen)\"";
/// What the end of a feed does.
const REMOVE_HELP: &str = "\
Its edges are cut off, are told that the feed was revoked, and go on answering what they have. A feed that is made
anew under the same name has other keys: it needs new tickets.";
/// What a list does.
const ALLOW_HELP: &str = "\
The first key makes the list: everybody else is cut off at once, also those who follow. Whom the list keeps out is
shown by `aspen-dns feed show FEED`, with the key. Edges that hand the feed on keep to the list, too.

Examples:
  aspen-dns feed allow partner \"$(aspen-node --show-endpoint --data-dir edge)\"
  aspen-dns feed allow partner --everybody";
/// What a rotation does.
const ROTATE_HELP: &str = "\
The new feed has the zones, the list and the time of the old one, under its name; the old one is called FEED~1 and ends
after a week, at --keep, or by `feed remove FEED~1`. Once the new one is written as a whole, edges that follow the old
one are told its ticket; each reads it beside the old one, goes over to it in one step when it has as much, and keeps
the new ticket, whatever its --ticket says. An edge that is off until the old feed has ended needs the new ticket.
Whoever may follow the old feed is told the new ticket: to shut somebody out, have a list, and take it off before.

Examples:
  aspen-dns feed deny partner KEY && aspen-dns feed rotate partner
  aspen-dns feed rotate main --keep +30d";
/// What the end of a time does.
const EXPIRE_HELP: &str = "\
The clock of the authority decides, whatever the clocks of edges say. At that time the feed ends as by `feed remove`,
and is listed as expired. One that has ended is not brought back by a later time.

Examples:
  aspen-dns feed expire lab +12h
  aspen-dns feed expire lab 20270101000000
  aspen-dns feed expire lab never";

/// What a freeze does.
const FREEZE_HELP: &str = "\
Writes go on, and the authorities answer with them; edges hear that their author lives, and nothing else. It holds
over restarts, and of several authorities on one store for all. A wait for edges says that they are frozen.

Examples:
  aspen-dns feed freeze
  aspen-dns record set www.example.com A 300 192.0.2.1      # an edge answers as before
  aspen-dns feed thaw && aspen-dns wait --edges all";
/// What a rollback does.
const ROLLBACK_HELP: &str = "\
All zones, or those that are named, get the records and settings that they had: RRsets that changed since, zones that
were made (they are deleted), deleted (they come back), replaced by an import, enabled or disabled. It is one commit with
risen serials, so that edges and secondaries follow; going back to the revision before it undoes it. What others
write meanwhile comes before it, and is undone, or after it. While the feeds are frozen, edges get it at the thaw.

How far back it goes: as far as the log of changes does (65,536 commits, 256 MiB, or what etcd has not compacted), for
zones that were deleted or replaced as a whole also 7 days and 4,000,000 RRsets of all of them; a refusal says from
which revision on.

Examples:
  aspen-dns feed rollback 4711 --dry-run
  aspen-dns feed rollback 4711
  aspen-dns feed rollback 4711 --zone example.com --zone example.net";
