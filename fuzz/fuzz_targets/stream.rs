//! However a stream is cut, the same frames come out of it, and what reads is written again so that
//! it reads the same.
#![no_main]

use aspen_dns::feed::frame::{ClientFrame, FrameReader, ServerFrame};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((step, octets)) = input.split_first() else { return };
    let whole = frames(FrameReader::of_server(), octets, octets.len());
    assert_eq!(frames(FrameReader::of_server(), octets, usize::from(*step)), whole);
    for (kind, body) in whole {
        if let Ok(frame) = ServerFrame::from_octets(kind, &body) {
            let mut written = Vec::new();
            frame.put(&mut written);
            let (kind, body) = frames(FrameReader::of_server(), &written, written.len()).remove(0);
            assert_eq!(ServerFrame::from_octets(kind, &body), Ok(frame));
        }
        if let Ok(frame) = ClientFrame::from_octets(kind, &body) {
            let mut written = Vec::new();
            frame.put(&mut written);
            if let Some((kind, body)) =
                frames(FrameReader::of_client(), &written, written.len()).into_iter().next()
            {
                assert_eq!(ClientFrame::from_octets(kind, &body), Ok(frame));
            }
        }
    }
});

/// Reads frames from octets that come in pieces.
fn frames(mut reader: FrameReader, octets: &[u8], step: usize) -> Vec<(u8, Bytes)> {
    let mut frames = Vec::new();
    for piece in octets.chunks(step.max(1)) {
        reader.push(piece);
        while let Ok(Some(frame)) = reader.poll() {
            frames.push(frame);
        }
    }
    frames
}
