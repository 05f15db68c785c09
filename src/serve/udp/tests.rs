//! What a UDP worker counts and survives, and how its sockets are chosen among.

use super::*;
use crate::publish::Publisher;
use crate::responder::ResponderConfig;
use crate::serve::ServeStats;
use crate::zone::HashSeed;

/// Datagrams with their source ports; sending fails as it is told to.
struct Script {
    arrivals: Vec<(u16, &'static [u8])>,
    replies: Vec<Vec<u8>>,
    report: SendReport,
    error: Option<io::ErrorKind>,
    receive_drops: u32,
}

impl Exchange for Script {
    fn receive(&mut self, _: Wait) -> io::Result<usize> {
        self.error.map_or(Ok(self.arrivals.len()), |kind| Err(kind.into()))
    }

    fn slot(&mut self, index: usize) -> Datagram<'_> {
        let (source_port, query) = self.arrivals[index];
        let source = SocketAddr::from(([192, 0, 2, 1], source_port));
        Datagram { query, source, reply: &mut self.replies[index] }
    }

    fn queries(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.arrivals.iter().map(|arrival| arrival.1)
    }

    fn send(&mut self) -> SendReport {
        self.report
    }

    fn receive_drops(&self) -> u32 {
        self.receive_drops
    }
}

fn worker() -> UdpWorker {
    UdpWorker {
        reader: Publisher::new(HashSeed(1)).reader(),
        responder: Arc::new(Responder::new(ResponderConfig::default())),
        recorder: Recorder::new(NAME),
        batch: QueryBatch::default(),
        errors_in_a_row: 0,
        receive_drops: 0,
    }
}

#[test]
fn a_worker_gives_up_over_what_never_passes_and_over_nothing_else() {
    let mut script = Script {
        arrivals: Vec::new(),
        replies: Vec::new(),
        report: SendReport::default(),
        error: None,
        receive_drops: 0,
    };
    let mut worker = worker();
    worker.errors_in_a_row = UDP_RECEIVE_ERRORS_MAX;
    for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionRefused] {
        script.error = Some(kind);
        assert_eq!(worker.turn(&mut script, Wait::First).ok(), Some(0));
    }
    assert_eq!(worker.errors_in_a_row, 0);
    script.error = Some(io::ErrorKind::NotConnected);
    assert_eq!(worker.turn(&mut script, Wait::First).ok(), Some(0));
    worker.errors_in_a_row = UDP_RECEIVE_ERRORS_MAX;
    assert!(worker.turn(&mut script, Wait::First).is_err());
}

#[test]
fn nothing_is_sent_to_port_zero_and_lost_replies_are_counted() {
    const QUERY: &[u8] = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";
    let mut script = Script {
        arrivals: vec![(0, QUERY), (53, QUERY), (53, QUERY)],
        replies: vec![b"of the batch before".to_vec(); 3],
        report: SendReport { queue_full: 1, refused: 1 },
        error: None,
        receive_drops: 0,
    };
    let mut worker = worker();
    assert_eq!(worker.turn(&mut script, Wait::First).expect("a script"), 3);
    let lens: Vec<_> = script.replies.iter().map(Vec::len).collect();
    assert_eq!((lens[0], lens[1] > 0), (0, true));
    let stats = ServeStats::collect(&[worker.recorder.counters()]);
    let udp = stats.front_end(NAME).expect("one worker");
    assert_eq!(udp.queries, 3);
    for reason in
        [NoReplyReason::SourcePortZero, NoReplyReason::SendQueueFull, NoReplyReason::SendRefused]
    {
        assert_eq!(udp.dropped(reason), 1, "{reason:?}");
    }
}

#[test]
fn what_the_kernel_drops_is_counted_once_over_the_end_of_its_numbers_too() {
    let mut script = Script {
        arrivals: Vec::new(),
        replies: Vec::new(),
        report: SendReport::default(),
        error: None,
        receive_drops: 0,
    };
    let mut worker = worker();
    for (drops, sum) in [(0, 0), (5, 5), (5, 5), (u32::MAX, u64::from(u32::MAX)), (2, 1 << 32 | 2)]
    {
        script.receive_drops = drops;
        assert_eq!(worker.turn(&mut script, Wait::First).ok(), Some(0));
        let stats = ServeStats::collect(&[worker.recorder.counters()]);
        let udp = stats.front_end(NAME).expect("one worker");
        assert_eq!(
            (udp.dropped(NoReplyReason::ReceiveQueueFull), udp.queries),
            (sum, sum),
            "{drops}"
        );
    }
}

#[test]
fn what_cannot_answer_from_the_address_asked_is_refused() {
    use UdpExchange::{Batched, Single};
    for (exchange, is_wildcard, has_messages, moves) in [
        (Batched, false, true, Ok(Moves::Messages(UDP_BATCH_MAX))),
        (Batched, true, true, Ok(Moves::Messages(UDP_BATCH_MAX))),
        (Batched, false, false, Ok(Moves::Datagrams)),
        (Batched, true, false, Err(WildcardError)),
        (Single, false, true, Ok(Moves::Datagrams)),
        (Single, true, true, Ok(Moves::Messages(1))),
        (Single, false, false, Ok(Moves::Datagrams)),
        (Single, true, false, Err(WildcardError)),
    ] {
        let chosen = Moves::choose(exchange, is_wildcard, has_messages);
        assert_eq!(chosen, moves, "{exchange:?} {is_wildcard} {has_messages}");
    }
}

/// What either way to move datagrams has to do, where the system can be made to fail.
#[cfg(target_os = "linux")]
mod on_linux {
    use super::*;

    /// A socket whose send queue holds small datagrams and no large one: that is sent in pieces,
    /// each of which needs room.
    fn narrow_socket() -> UdpSocket {
        let socket = UdpSocket::bind("[::1]:0").expect("loopback");
        mmsg::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU, &1_280_i32)
            .expect("the least");
        socket2::SockRef::from(&socket).set_send_buffer_size(1).expect("raised to the least");
        socket
    }

    /// Sends `queries`, the first from a lower port than the others, to an exchange that echoes
    /// them, a 7 as 60,000 octets; returns what it reports and what the askers hear.
    fn echo(
        mut exchange: impl Exchange,
        server: SocketAddr,
        queries: &[u8],
    ) -> (SendReport, Vec<u8>) {
        let mut askers = [(); 2].map(|()| UdpSocket::bind("[::1]:0").expect("loopback"));
        askers.sort_by_key(|asker| asker.local_addr().expect("bound").port());
        for (index, octet) in queries.iter().enumerate() {
            askers[index.min(1)].send_to(&[*octet], server).expect("loopback");
        }
        let (mut sum, mut left) = (SendReport::default(), queries.len());
        while left > 0 {
            let count = exchange.receive(Wait::First).expect("sent");
            for index in 0..count {
                let slot = exchange.slot(index);
                slot.reply.clear();
                slot.reply.resize(if slot.query == [7] { 60_000 } else { 1 }, slot.query[0]);
            }
            let report = exchange.send();
            sum.queue_full += report.queue_full;
            sum.refused += report.refused;
            left -= count;
        }
        let mut heard = Vec::new();
        let mut reply = [0; 65_535];
        for asker in askers {
            asker.set_nonblocking(true).expect("a socket");
            while asker.recv(&mut reply).is_ok() {
                heard.push(reply[0]);
            }
        }
        (sum, heard)
    }

    #[test]
    fn a_full_send_queue_loses_what_it_counts_and_nothing_else() {
        let socket = narrow_socket();
        let server = socket.local_addr().expect("bound");
        let single = Single::new(socket).expect("a socket");
        let report = SendReport { queue_full: 1, refused: 0 };
        assert_eq!(echo(single, server, &[1, 7, 2]), (report, vec![1, 2]));

        let socket = narrow_socket();
        let server = socket.local_addr().expect("bound");
        let batch = mmsg::MessageBatch::new(socket, 8).expect("a socket");
        // There is no room for those behind it either: all of the batch is accounted for.
        let report = SendReport { queue_full: 2, refused: 0 };
        assert_eq!(echo(batch, server, &[1, 7, 2]), (report, vec![1]));
    }

    /// Returns how many of 64 queries from askers of their own, sent from `cpu`, each socket gets.
    fn spread(sockets: &[UdpSocket], cpu: usize) -> Vec<usize> {
        let server = sockets[0].local_addr().expect("bound");
        let sender = std::thread::spawn(move || {
            pin_to_cpu(cpu);
            for _ in 0..64 {
                let asker = UdpSocket::bind("127.0.0.1:0").expect("loopback");
                asker.send_to(b"query", server).expect("loopback");
            }
        });
        sender.join().expect("loopback");
        let count = |socket: &UdpSocket| {
            socket.set_nonblocking(true).expect("a socket");
            std::iter::from_fn(|| socket.recv(&mut [0; 8]).ok()).count()
        };
        sockets.iter().map(count).collect()
    }

    #[test]
    fn queries_go_to_the_worker_of_the_cpu_that_received_them() {
        let own = rustix::thread::sched_getaffinity(None).expect("our own");
        let cpus: Vec<_> =
            (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| own.is_set(*cpu)).collect();
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = bind_workers(addr, 3).expect("loopback");
        let by_hash = spread(&sockets, cpus[0]);
        assert_eq!(by_hash.iter().sum::<usize>(), 64);
        assert!(by_hash.iter().all(|count| *count > 0), "{by_hash:?}");
        for cpu in cpus.into_iter().take(4) {
            // Two workers stay on CPUs that nothing comes in on; the last one on ours.
            let sockets = bind_workers(addr, 3).expect("loopback");
            steer(&sockets, UdpSteering::Cpu, &[1_000, 1_001, cpu]).expect("a program");
            assert_eq!(spread(&sockets, cpu), [0, 0, 64], "CPU {cpu}");
            let sockets = bind_workers(addr, 3).expect("loopback");
            steer(&sockets, UdpSteering::Cpu, &[]).expect("a program");
            assert_eq!(spread(&sockets, cpu)[cpu % 3], 64, "CPU {cpu}");
        }
    }

    #[test]
    fn one_worker_needs_no_steering() {
        let sockets = bind_workers(SocketAddr::from(([127, 0, 0, 1], 0)), 1).expect("loopback");
        assert!(steer(&sockets, UdpSteering::Cpu, &[0]).is_ok());
    }
}
