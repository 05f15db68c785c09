//! The zone of the measurements as a master file.

use std::io::Write as _;
use std::path::Path;

/// Writes a zone: an A record for each name, for every fifth an AAAA, for one in ten an MX, for
/// one in twenty a TXT.
pub fn write(file: &Path, names: u32) {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).expect("a file"));
    let mut random = 42_u64;
    let mut next = move || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let head = "$ORIGIN example.com.\n$TTL 3600\n\
        @ SOA ns1 hostmaster 1 3600 900 604800 300\n@ NS ns1\n@ NS ns2\n\
        ns1 A 192.0.2.1\nns2 A 192.0.2.2\n";
    let mut write = |text: String| out.write_all(text.as_bytes()).expect("the disk has room");
    write(head.to_owned());
    for i in 0..names {
        let [_, a, b, c] = i.to_be_bytes();
        write(format!("h{i} 300 A 10.{a}.{b}.{c}\n"));
        if i % 5 == 0 {
            write(format!("h{i} 300 AAAA 2001:db8::{:x}:{:x}\n", i >> 16, i & 0xffff));
        }
        match next() % 20 {
            0 | 1 => write(format!("h{i} 3600 MX 10 h{}\n", next() % u64::from(names))),
            2 => write(format!("h{i} 3600 TXT \"v=bench1 token={:016x}\"\n", next())),
            _ => {}
        }
    }
}
