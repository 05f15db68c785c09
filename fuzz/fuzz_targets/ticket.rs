//! Any text is a ticket that reads back the same, or an error.
#![no_main]

use aspen_dns::ticket::DnsClientTicket;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    // A mutated ticket never has the right checksum, so every input is also tried with one.
    for text in [text.to_owned(), with_checksum(octets)] {
        if let Ok(ticket) = text.parse::<DnsClientTicket>() {
            ticket.check().expect("a ticket that exists keeps its limits");
            let again = ticket.to_string();
            assert_eq!(again.parse::<DnsClientTicket>().as_ref(), Ok(&ticket));
        }
    }
});

/// Returns the ticket that has `content` and the checksum that fits.
fn with_checksum(content: &[u8]) -> String {
    let mut crc = u32::MAX;
    for octet in content {
        crc ^= u32::from(*octet);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut text = String::from("aspendns");
    let (mut word, mut bits) = (0_u32, 0);
    for octet in content.iter().copied().chain((!crc).to_be_bytes()) {
        word = word << 8 | u32::from(octet);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(
                b"abcdefghijklmnopqrstuvwxyz234567"[(word >> bits & 31) as usize],
            ));
        }
        word &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(
            b"abcdefghijklmnopqrstuvwxyz234567"[(word << (5 - bits) & 31) as usize],
        ));
    }
    text
}
