//! What the front ends count, and the sum of it.
//!
//! Each worker has a [`Recorder`] that alone writes its [`Counters`]: a plain load, an addition
//! and a plain store, without a locked instruction and without a cache line that two cores write.
//! Whoever wants to know sums the counters of all workers with [`ServeStats::collect`].
//!
//! **Invariant:** one writer for each [`Counters`]: its [`Recorder`] is not `Clone` and counts
//! through `&mut self`. No counter ever falls.
//! **Not here:** the text that a monitoring system reads (`node::metrics`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::limits::LATENCY_SAMPLE_BATCHES;
use crate::record::RecordType;
use crate::responder::{DropReason, ReplyFacts, Verdict};
use crate::serve::event::{ConnectionEvent, NoReplyReason};
use crate::wire::kind::ReplyKind;

/// Query types that are counted by themselves. All others are counted together.
pub const COUNTED_TYPES: [RecordType; 24] = [
    RecordType::A,
    RecordType::NS,
    RecordType::CNAME,
    RecordType::SOA,
    RecordType::PTR,
    RecordType::HINFO,
    RecordType::MX,
    RecordType::TXT,
    RecordType::AAAA,
    RecordType::LOC,
    RecordType::SRV,
    RecordType::NAPTR,
    RecordType::DNAME,
    RecordType::DS,
    RecordType::SSHFP,
    RecordType::RRSIG,
    RecordType::NSEC,
    RecordType::DNSKEY,
    RecordType::TLSA,
    RecordType::SVCB,
    RecordType::HTTPS,
    RecordType::ANY,
    RecordType::URI,
    RecordType::CAA,
];

/// The counters of one worker. Anybody may read them; its [`Recorder`] writes them.
#[derive(Debug)]
#[repr(align(128))] // two cache lines: processors fetch them in pairs
pub struct Counters {
    /// What the front end is called.
    front_end: &'static str,
    /// Queries that came in, dropped ones included.
    queries: Counter,
    /// Replies with TC set.
    truncated: Counter,
    /// Answered queries by type, then all others.
    by_type: [Counter; COUNTED_TYPES.len() + 1],
    /// Replies by RCODE, then all others.
    by_rcode: [Counter; RCODES + 1],
    /// Replies by kind.
    by_kind: [Counter; ReplyKind::ALL.len()],
    /// Queries without an answer.
    drops: [Counter; NoReplyReason::ALL.len()],
    /// Batches by the binary logarithm of their size, rounded up.
    batches: [Counter; BATCH_BUCKETS],
    /// Queries of timed batches by the binary logarithm of their nanoseconds, rounded up.
    latency: [Counter; LATENCY_BUCKETS],
    /// Nanoseconds of all queries of timed batches.
    latency_ns_sum: Counter,
    /// What happened to connections.
    connections: [Counter; ConnectionEvent::ALL.len()],
}

impl Counters {
    /// Makes counters that stand at zero.
    fn new(front_end: &'static str) -> Self {
        Self {
            front_end,
            queries: Counter::default(),
            truncated: Counter::default(),
            by_type: Default::default(),
            by_rcode: Default::default(),
            by_kind: Default::default(),
            drops: Default::default(),
            batches: Default::default(),
            latency: Default::default(),
            latency_ns_sum: Counter::default(),
            connections: Default::default(),
        }
    }
}

/// The one writer of one worker's counters.
#[derive(Debug)]
pub struct Recorder {
    /// What it writes.
    counters: Arc<Counters>,
    /// Batches until one is timed.
    batches_until_sample: u32,
}

impl Recorder {
    /// Makes new counters for a worker of the front end that is called `front_end`.
    pub fn new(front_end: &'static str) -> Self {
        Self { counters: Arc::new(Counters::new(front_end)), batches_until_sample: 0 }
    }

    /// Returns the counters, for reading.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Counts one query by what the responder made of it.
    #[inline]
    pub fn count_verdict(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Drop(DropReason::Response) => {
                self.count_dropped_query(NoReplyReason::Response);
            }
            Verdict::Drop(DropReason::TooShort) => {
                self.count_dropped_query(NoReplyReason::TooShort);
            }
            Verdict::Reply(facts) => self.count_reply(facts),
            Verdict::Transfer(asked) => self.count_reply(&asked.refusal),
            Verdict::Hand(handed) => self.count_reply(&handed.refusal),
        }
    }

    /// Counts one answered query.
    #[inline]
    fn count_reply(&mut self, facts: &ReplyFacts) {
        let counters = &*self.counters;
        counters.queries.add(1);
        counters.by_type[type_index(facts.qtype)].add(1);
        counters.by_rcode[usize::from(facts.rcode).min(RCODES)].add(1);
        counters.by_kind[facts.kind as usize].add(1);
        if facts.is_truncated {
            counters.truncated.add(1);
        }
    }

    /// Counts one query that the responder never saw, or did not want.
    #[inline]
    pub fn count_dropped_query(&mut self, reason: NoReplyReason) {
        self.count_dropped_queries(reason, 1);
    }

    /// Counts queries that the responder never saw.
    #[inline]
    pub fn count_dropped_queries(&mut self, reason: NoReplyReason, count: u64) {
        self.counters.queries.add(count);
        self.count_lost_replies(reason, count);
    }

    /// Counts replies that did not get out; their queries are counted already.
    #[inline]
    pub fn count_lost_replies(&mut self, reason: NoReplyReason, count: u64) {
        self.counters.drops[reason as usize].add(count);
    }

    /// Counts what happened to a connection.
    pub fn count_connection(&mut self, event: ConnectionEvent) {
        self.counters.connections[event as usize].add(1);
    }

    /// Starts a batch, and returns the time if it is one to be timed.
    #[inline]
    pub fn start_batch(&mut self) -> Option<Instant> {
        if self.batches_until_sample > 0 {
            self.batches_until_sample -= 1;
            return None;
        }
        self.batches_until_sample = LATENCY_SAMPLE_BATCHES - 1;
        Some(Instant::now())
    }

    /// Counts a batch whose answers have been sent. Each of its queries waited for the whole
    /// batch, so each has the batch's latency.
    #[inline]
    pub fn finish_batch(&mut self, started_at: Option<Instant>, queries: usize) {
        let counters = &*self.counters;
        counters.batches[bucket(queries as u64).min(BATCH_BUCKETS - 1)].add(1);
        if let Some(started_at) = started_at {
            let ns = u64::try_from(started_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let index = bucket(ns).saturating_sub(LATENCY_LOG2_MIN).min(LATENCY_BUCKETS - 1);
            counters.latency[index].add(queries as u64);
            counters.latency_ns_sum.add(ns.saturating_mul(queries as u64));
        }
    }
}

/// What all front ends have counted, at about one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServeStats {
    /// One entry for each kind of front end, in the order in which they were added.
    pub front_ends: Vec<FrontEndStats>,
}

/// What the workers of one kind of front end have counted together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrontEndStats {
    /// What the front end is called: `udp`, `tcp` or a name of its own.
    pub name: &'static str,
    /// Its workers.
    pub workers: u32,
    /// Queries that came in, dropped ones included.
    pub queries: u64,
    /// Replies with TC set.
    pub truncated: u64,
    /// Answered queries by type; `None` stands for all types outside [`COUNTED_TYPES`].
    pub by_type: Vec<(Option<RecordType>, u64)>,
    /// Replies by RCODE; `None` stands for all RCODEs above 23.
    pub by_rcode: Vec<(Option<u16>, u64)>,
    /// Replies by kind.
    pub by_kind: Vec<(ReplyKind, u64)>,
    /// Queries without an answer, by reason.
    pub drops: Vec<(NoReplyReason, u64)>,
    /// Batches by size: so many had at most this many queries, and more than the row before.
    pub batches: Vec<(u64, u64)>,
    /// Latency from the receipt of a batch to the sending of its answers, sampled: so many queries
    /// took at most this long, and longer than the row before. The last row has all the rest.
    pub latency: Vec<(Duration, u64)>,
    /// The latency of all sampled queries together.
    pub latency_sum: Duration,
    /// What happened to connections.
    pub connections: Vec<(ConnectionEvent, u64)>,
}

impl ServeStats {
    /// Sums the counters of each kind of front end.
    pub fn collect<'a>(counters: impl IntoIterator<Item = &'a Arc<Counters>>) -> Self {
        let mut stats = Self::default();
        for counters in counters {
            let known = stats.front_ends.iter_mut().find(|sum| sum.name == counters.front_end);
            match known {
                Some(sum) => sum.add(counters),
                None => {
                    let mut sum = FrontEndStats::new(counters.front_end);
                    sum.add(counters);
                    stats.front_ends.push(sum);
                }
            }
        }
        stats
    }

    /// Returns the sums of the front end of that name.
    pub fn front_end(&self, name: &str) -> Option<&FrontEndStats> {
        self.front_ends.iter().find(|sum| sum.name == name)
    }

    /// Returns the queries of all front ends.
    pub fn queries(&self) -> u64 {
        self.front_ends.iter().map(|sum| sum.queries).sum()
    }
}

impl FrontEndStats {
    /// Makes a sum of nothing.
    fn new(name: &'static str) -> Self {
        let types = COUNTED_TYPES.iter().copied().map(Some).chain([None]);
        let rcodes = (0..RCODES as u16).map(Some).chain([None]);
        let ns = (0..LATENCY_BUCKETS).map(|index| 1 << (index + LATENCY_LOG2_MIN));
        Self {
            name,
            workers: 0,
            queries: 0,
            truncated: 0,
            by_type: types.map(|rtype| (rtype, 0)).collect(),
            by_rcode: rcodes.map(|rcode| (rcode, 0)).collect(),
            by_kind: ReplyKind::ALL.map(|kind| (kind, 0)).to_vec(),
            drops: NoReplyReason::ALL.map(|reason| (reason, 0)).to_vec(),
            batches: (0..BATCH_BUCKETS).map(|index| (1 << index, 0)).collect(),
            latency: ns.map(|ns| (Duration::from_nanos(ns), 0)).collect(),
            latency_sum: Duration::ZERO,
            connections: ConnectionEvent::ALL.map(|event| (event, 0)).to_vec(),
        }
    }

    /// Adds one worker.
    fn add(&mut self, counters: &Counters) {
        self.workers += 1;
        self.queries += counters.queries.read();
        self.truncated += counters.truncated.read();
        add_row(&mut self.by_type, &counters.by_type);
        add_row(&mut self.by_rcode, &counters.by_rcode);
        add_row(&mut self.by_kind, &counters.by_kind);
        add_row(&mut self.drops, &counters.drops);
        add_row(&mut self.batches, &counters.batches);
        add_row(&mut self.latency, &counters.latency);
        self.latency_sum += Duration::from_nanos(counters.latency_ns_sum.read());
        add_row(&mut self.connections, &counters.connections);
    }

    /// Returns how many queries of that type were answered, if the type is counted by itself.
    pub fn queries_of(&self, rtype: RecordType) -> Option<u64> {
        self.by_type.iter().find(|row| row.0 == Some(rtype)).map(|row| row.1)
    }

    /// Returns how many queries got no answer for that reason.
    pub fn dropped(&self, reason: NoReplyReason) -> u64 {
        self.drops[reason as usize].1
    }

    /// Returns how often that happened to a connection.
    pub fn connections(&self, event: ConnectionEvent) -> u64 {
        self.connections[event as usize].1
    }

    /// Returns the connections that are open now.
    pub fn connections_open(&self) -> u64 {
        let closed: u64 =
            self.connections.iter().filter(|row| row.0.is_close()).map(|row| row.1).sum();
        self.connections(ConnectionEvent::Accepted).saturating_sub(closed)
    }
}

/// Adds a row of counters to a row of sums.
fn add_row<K>(sums: &mut [(K, u64)], counters: &[Counter]) {
    debug_assert_eq!(sums.len(), counters.len());
    for (sum, counter) in sums.iter_mut().zip(counters) {
        sum.1 += counter.read();
    }
}

/// A number that one thread raises and any thread reads.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    /// Raises the number. Only its one writer may, or additions get lost.
    #[inline]
    fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Returns the number.
    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Returns the binary logarithm of `number`, rounded up: 0 for 0 and 1, 1 for 2, 2 for 3 and 4.
#[inline]
fn bucket(number: u64) -> usize {
    (u64::BITS - number.saturating_sub(1).leading_zeros()) as usize
}

/// Returns the index of a type's counter.
#[inline]
fn type_index(rtype: RecordType) -> usize {
    TYPE_INDEX.get(usize::from(rtype.0)).map_or(COUNTED_TYPES.len(), |index| usize::from(*index))
}

/// RCODEs that are counted by themselves: 0 to BADCOOKIE, 23.
const RCODES: usize = 24;
/// Batches of 1, 2, up to 4, and so on; the last has the largest.
const BATCH_BUCKETS: usize = 8;
/// The binary logarithm of the first latency bucket: 1,024 ns.
const LATENCY_LOG2_MIN: usize = 10;
/// Latency buckets: 1 us, 2 us and so on, 17 ms, and the rest.
const LATENCY_BUCKETS: usize = 16;

/// The counter's index for each type up to the highest that is counted by itself.
static TYPE_INDEX: [u8; 258] = {
    let mut table = [COUNTED_TYPES.len() as u8; 258];
    let mut index = 0;
    while index < COUNTED_TYPES.len() {
        table[COUNTED_TYPES[index].0 as usize] = index as u8;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(rcode: u16, qtype: RecordType, is_truncated: bool) -> Verdict {
        let kind = if rcode == 0 { ReplyKind::Answer } else { ReplyKind::Error };
        Verdict::Reply(ReplyFacts { rcode, qtype, is_truncated, kind, zone: None })
    }

    #[test]
    fn workers_of_one_front_end_are_summed_and_others_stand_apart() {
        let (mut one, mut two) = (Recorder::new("udp"), Recorder::new("udp"));
        let mut other = Recorder::new("tcp");
        one.count_verdict(&reply(0, RecordType::A, false));
        two.count_verdict(&reply(3, RecordType::A, true));
        two.count_verdict(&reply(999, RecordType(4_711), false));
        two.count_verdict(&Verdict::Drop(DropReason::Response));
        two.count_lost_replies(NoReplyReason::SendQueueFull, 5);
        other.count_connection(ConnectionEvent::Accepted);
        let all = [one.counters(), two.counters(), other.counters()];
        let stats = ServeStats::collect(&all);
        let udp = stats.front_end("udp").expect("two workers");
        assert_eq!((udp.workers, udp.queries, udp.truncated), (2, 4, 1));
        assert_eq!(udp.queries_of(RecordType::A), Some(2));
        assert_eq!(udp.by_type.last(), Some(&(None, 1)));
        assert_eq!((udp.by_rcode[0].1, udp.by_rcode[3].1), (1, 1));
        assert_eq!(udp.by_rcode.last(), Some(&(None, 1)));
        let kinds: Vec<u64> = udp.by_kind.iter().map(|row| row.1).collect();
        assert_eq!(kinds, [1, 0, 0, 0, 2]);
        assert_eq!(
            (udp.dropped(NoReplyReason::Response), udp.dropped(NoReplyReason::SendQueueFull)),
            (1, 5)
        );
        let tcp = stats.front_end("tcp").expect("one worker");
        assert_eq!((tcp.queries, tcp.connections_open()), (0, 1));
        assert_eq!(stats.queries(), 4);
    }

    #[test]
    fn every_type_has_a_counter() {
        for number in 0..=u16::MAX {
            let known = COUNTED_TYPES.iter().position(|rtype| rtype.0 == number);
            assert_eq!(type_index(RecordType(number)), known.unwrap_or(COUNTED_TYPES.len()));
        }
    }

    #[test]
    fn a_bucket_holds_what_is_at_most_its_bound() {
        for (number, index) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (64, 6), (65, 7)] {
            assert_eq!(bucket(number), index, "{number}");
        }
    }

    #[test]
    fn one_batch_of_many_is_timed() {
        let mut recorder = Recorder::new("udp");
        let timed = (0..2 * LATENCY_SAMPLE_BATCHES)
            .filter(|_| {
                let started_at = recorder.start_batch();
                recorder.finish_batch(started_at, 3);
                started_at.is_some()
            })
            .count();
        assert_eq!(timed, 2);
        let stats = ServeStats::collect(&[recorder.counters()]);
        assert_eq!(stats.front_ends[0].latency.iter().map(|row| row.1).sum::<u64>(), 6);
        assert_eq!(stats.front_ends[0].batches[2], (4, u64::from(2 * LATENCY_SAMPLE_BATCHES)));
    }
}
