//! Changes for a long time: what becomes of memory and disk.

use std::path::Path;
use std::time::Instant;

use crate::load;

/// The parts of a run after which memory and disk are read.
const SAMPLES: u32 = 30;

/// Makes `count` changes at `rate` a second, prints memory and disk of both nodes as it goes, and
/// at the end how much they grew an hour in the last two thirds (least squares).
pub fn run(dir: &Path, names: u32, rate: f64, count: u32) {
    let (authority, edge) = crate::pair(dir, names);
    let places = [("authority", &authority), ("edge", &edge)];
    let mut rows: Vec<(f64, [f64; 4])> = Vec::new();
    let start = Instant::now();
    let share = count / SAMPLES;
    for sample in 0..SAMPLES {
        let (unseen, _) = load::changes_unwatched(
            &authority,
            &edge,
            names,
            rate,
            sample * share..(sample + 1) * share,
        );
        let mut row = [0.0; 4];
        for (index, (name, node)) in places.iter().enumerate() {
            row[index * 2] = node.rss_mib();
            row[index * 2 + 1] = disk_mib(&dir.join(name));
        }
        let hours = start.elapsed().as_secs_f64() / 3_600.0;
        println!(
            "{:.1} min, {} changes, {unseen} not seen: authority RSS {:.1} disk {:.1}, edge RSS \
             {:.1} disk {:.1} MiB",
            hours * 60.0,
            (sample + 1) * share,
            row[0],
            row[1],
            row[2],
            row[3]
        );
        rows.push((hours, row));
    }
    let late = &rows[rows.len() / 3..];
    for (index, what) in
        ["authority RSS", "authority disk", "edge RSS", "edge disk"].into_iter().enumerate()
    {
        let points: Vec<(f64, f64)> =
            late.iter().map(|(hours, row)| (*hours, row[index])).collect();
        println!("{what}: {:+.1} MiB an hour after the first third", slope(&points));
    }
    crate::print_load("after");
}

/// Returns how fast the second grows with the first, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let over: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let under: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    over / under
}

/// Returns what a directory and all below it take on the disk.
fn disk_mib(dir: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut left = vec![dir.to_owned()];
    let mut octets = 0;
    while let Some(dir) = left.pop() {
        // Files come and go meanwhile.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                left.push(entry.path());
            }
            octets += data.blocks() * 512;
        }
    }
    octets as f64 / f64::from(1 << 20)
}
