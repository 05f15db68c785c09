//! Asks two servers the same questions about a zone and lists where they differ.
//!
//! `compare_servers FILE ORIGIN ADDR ADDR [ABSENT]`: every RRset of the master file, and `ABSENT`
//! (10,000) names that are not in it. Compared are rcode, AA, answer and authority sections, as
//! sets, over TCP; addresses in the additional section are not, since servers are free to add
//! more than a referral needs. Exit status 1 if there is a difference.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use aspen_dns::name::Name;
use aspen_dns::record::RecordType;
use aspen_dns::record::master::{MasterOptions, read_zone};
use hickory_proto::op::Message;

/// Asks all questions of both servers.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, origin, first, second, rest @ ..] = args.as_slice() else {
        return Err("compare_servers FILE ORIGIN ADDR ADDR [ABSENT]".into());
    };
    let absent: u64 = rest.first().map_or(Ok(10_000), |text| text.parse())?;
    let text = std::fs::read(file)?;
    let options = MasterOptions::default();
    let zone = read_zone(&text, &Name::from_text(origin)?, options, &mut |_| {})?;
    let mut servers = [Server::connect(first.parse()?)?, Server::connect(second.parse()?)?];
    let (mut asked, mut differences) = (0_u64, 0_u64);
    let mut compare = |qname: &Name, qtype: RecordType| -> Result<(), Box<dyn std::error::Error>> {
        let [a, b] = &mut servers;
        let (left, right) = (a.ask(qname, qtype)?, b.ask(qname, qtype)?);
        asked += 1;
        if left != right {
            differences += 1;
            println!("{qname} {qtype}\n  {first}: {left:?}\n  {second}: {right:?}");
        }
        Ok(())
    };
    for rrset in &zone.rrsets {
        compare(&rrset.owner, rrset.rtype)?;
    }
    let owners: BTreeSet<&Name> = zone.rrsets.iter().map(|rrset| &rrset.owner).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for index in 0..absent {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(index | 1);
        // Half of them stand beside the zone's names, half below some depth of nothing.
        let label = format!("x{:012x}", random >> 16);
        let mut name = zone.apex.with_label(label.as_bytes())?;
        if index % 2 == 1 {
            name = name.with_label(b"a")?.with_label(b"b")?;
        }
        if !owners.contains(&name) {
            compare(&name, RecordType::A)?;
        }
    }
    println!("asked {asked} questions, {differences} differences");
    if differences > 0 { Err("the servers differ".into()) } else { Ok(()) }
}

/// What is compared of a reply.
#[derive(Debug, Eq, PartialEq)]
struct Answer {
    /// The rcode and the AA bit.
    head: (u16, bool),
    /// The answer section.
    answers: BTreeSet<String>,
    /// The authority section.
    authorities: BTreeSet<String>,
}

/// A kept TCP connection to a server, made anew when the server closes it.
struct Server {
    /// The server.
    addr: SocketAddr,
    /// The connection.
    stream: TcpStream,
}

impl Server {
    /// Connects to a server.
    fn connect(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(Self { addr, stream })
    }

    /// Asks one question.
    fn ask(
        &mut self,
        qname: &Name,
        qtype: RecordType,
    ) -> Result<Answer, Box<dyn std::error::Error>> {
        let mut query = vec![0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend_from_slice(qname.as_wire());
        query.extend_from_slice(&qtype.0.to_be_bytes());
        query.extend_from_slice(&[0, 1]);
        let len = u16::try_from(query.len() - 2)?;
        query[..2].copy_from_slice(&len.to_be_bytes());
        let reply = self.exchange(&query).or_else(|_| {
            *self = Self::connect(self.addr)?;
            self.exchange(&query)
        })?;
        let message = Message::from_vec(&reply)?;
        let lines = |records: &[hickory_proto::rr::Record]| {
            let line = |record: &hickory_proto::rr::Record| record.to_string().to_lowercase();
            records.iter().map(line).collect()
        };
        Ok(Answer {
            head: (message.metadata.response_code.into(), message.metadata.authoritative),
            answers: lines(&message.answers),
            authorities: lines(&message.authorities),
        })
    }

    /// Sends a framed query and reads the framed reply.
    fn exchange(&mut self, query: &[u8]) -> std::io::Result<Vec<u8>> {
        self.stream.write_all(query)?;
        let mut len = [0; 2];
        self.stream.read_exact(&mut len)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
        self.stream.read_exact(&mut reply)?;
        Ok(reply)
    }
}
