//! Batches over real sockets: nothing is lost, whatever leaves together.

use std::time::Duration;

use super::super::control::control_space;
use super::*;

/// A batch of at most 16 datagrams, and its address.
fn batch() -> (MessageBatch, SocketAddr) {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server.set_read_timeout(Some(Duration::from_secs(5))).expect("not zero");
    let addr = server.local_addr().expect("bound");
    (MessageBatch::new(server, 16).expect("bound"), addr)
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("not zero");
    client
}

/// Receives `left` datagrams in all, and sends for each its first octet, so often as `len` says.
fn answer(batch: &mut MessageBatch, mut left: usize, len: impl Fn(u8) -> usize) -> SendReport {
    let mut sum = SendReport::default();
    while left > 0 {
        let count = batch.receive(Wait::First).expect("sent");
        for index in 0..count {
            let slot = batch.slot(index);
            slot.reply.clear();
            slot.reply.resize(len(slot.query[0]), slot.query[0]);
        }
        left -= count;
        let report = batch.send();
        sum.refused += report.refused;
        sum.queue_full += report.queue_full;
    }
    sum
}

/// Receives `count` datagrams: the first octet and the length of each, sorted.
fn heard(client: &UdpSocket, count: usize) -> Vec<(u8, usize)> {
    let mut octets = vec![0; 70_000];
    let mut heard: Vec<_> = (0..count)
        .map(|_| {
            let len = client.recv(&mut octets).expect("a reply");
            assert!(octets[..len].iter().all(|octet| *octet == octets[0]));
            (octets[0], len)
        })
        .collect();
    heard.sort_unstable();
    heard
}

#[test]
fn our_sizes_are_those_of_the_system() {
    for len in [0, 1, 2, 12, 20] {
        // SAFETY: the function only computes.
        let space = unsafe { libc::CMSG_SPACE(len as libc::c_uint) };
        assert_eq!(control_space(len), space as usize, "{len}");
    }
}

#[test]
fn one_reply_that_is_refused_does_not_hold_back_the_others() {
    let ((mut batch, addr), client) = (batch(), client());
    for number in 0..4 {
        client.send_to(&[number], addr).expect("loopback");
    }
    // No datagram is that long: the system refuses it.
    let report = answer(&mut batch, 4, |number| if number == 1 { 70_000 } else { 1 });
    assert_eq!(report, SendReport { refused: 1, queue_full: 0 });
    assert_eq!(heard(&client, 3), [(0, 1), (2, 1), (3, 1)]);
}

#[test]
fn replies_that_leave_together_arrive_as_they_are_at_each_asker() {
    for has_segments in [true, false] {
        let ((mut batch, addr), clients) = (batch(), [client(), client()]);
        batch.has_segments &= has_segments;
        for number in 0..16 {
            clients[usize::from(number % 2)].send_to(&[number], addr).expect("loopback");
        }
        let len = |number: u8| [70, 70, 70, 71, 1_232, 0][usize::from(number / 2 % 6)];
        assert_eq!(answer(&mut batch, 16, len), SendReport::default());
        for (parity, client) in clients.iter().enumerate() {
            let numbers = (0..16).filter(|number| usize::from(number % 2) == parity);
            let expected: Vec<_> =
                numbers.map(|n| (n, len(n))).filter(|(_, len)| *len > 0).collect();
            assert_eq!(heard(client, expected.len()), expected, "{has_segments}");
        }
    }
}

/// Receives four datagrams of one client, which then wait for their replies of 70 octets each.
fn received(batch: &mut MessageBatch, client: &UdpSocket, addr: SocketAddr) {
    for number in 1..5 {
        client.send_to(&[number], addr).expect("loopback");
    }
    // Loopback has delivered before a send returns.
    assert_eq!(batch.receive(Wait::First).expect("sent"), 4);
    for index in 0..4 {
        batch.slot(index).reply.clear();
        batch.slot(index).reply.resize(70, 0);
    }
    assert_eq!(batch.order_replies(), 4);
}

#[test]
fn replies_of_one_size_to_one_asker_are_one_message_where_the_kernel_cuts_it() {
    let ((mut batch, addr), client) = (batch(), client());
    received(&mut batch, &client, addr);
    assert_eq!(batch.prepare_send(0, true), 1);
    assert_eq!(batch.prepare_send(3, true), 1);
    assert_eq!(batch.prepare_send(0, false), 4);
}

#[test]
fn a_message_that_is_refused_leaves_reply_by_reply_and_the_next_batch_together_again() {
    let ((mut batch, addr), client) = (batch(), client());
    let has_segments = batch.has_segments;
    received(&mut batch, &client, addr);
    // Nobody can be sent to port 0.
    batch.sources.iter_mut().for_each(|source| source.0[2..4].fill(0));
    assert_eq!(batch.send(), SendReport { refused: 4, queue_full: 0 });
    assert_eq!(batch.has_segments, has_segments);
}
