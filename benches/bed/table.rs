//! Medians, and the load of the machine, for the tables that are printed.

/// Returns the middle value.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Writes `median [min..max]` with so many decimals; nothing if there is no value.
pub fn spread(values: impl Iterator<Item = f64> + Clone, decimals: usize) -> String {
    let Some(median) = median(values.clone()) else { return String::new() };
    let min = values.clone().fold(f64::MAX, f64::min);
    let max = values.fold(f64::MIN, f64::max);
    format!("{median:.decimals$} [{min:.decimals$}..{max:.decimals$}]")
}

/// Writes a ratio, nothing if there is nothing to compare with.
pub fn ratio(value: Option<f64>, base: Option<f64>) -> String {
    value.zip(base).map_or(String::new(), |(value, base)| format!("{:.2}", value / base))
}

/// Returns the load averages over 1, 5 and 15 minutes.
pub fn load_average() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Prints what a figure depends on: the load, the processors and the kernel.
pub fn print_machine() {
    // Not what this process may use: it keeps itself to one.
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cpus = read("/sys/devices/system/cpu/online");
    let release = read("/proc/sys/kernel/osrelease");
    println!("load {}; CPUs {}, Linux {}", load_average(), cpus.trim(), release.trim());
}
