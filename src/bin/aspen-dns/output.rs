//! Prints results: text for people, JSON for programs.

use std::io::Write as _;

use serde_json::Value;

/// Prints `text`; a reader that went away is no error.
pub(crate) fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Prints a JSON value on one line.
pub(crate) fn print_json(value: &Value) -> anyhow::Result<()> {
    print(format!("{value}\n"))
}

/// Prints a write's result: the whole value as JSON, or the sentence and the revision.
///
/// What the node warns of, such as signatures that the write broke, goes to standard error.
pub(crate) fn print_revision(value: &Value, said: &str, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        return print_json(value);
    }
    for warning in value["warnings"].as_array().into_iter().flatten() {
        eprintln!("{}", warning.as_str().unwrap_or("?"));
    }
    print(format!("{said}, revision {}\n", value["revision"]))
}

/// Writes the lines of a master file for one record document.
pub(crate) fn record_lines(document: &Value) -> String {
    let text = |field: &str| document[field].as_str().unwrap_or("?").to_owned();
    let (domain, rtype) = (text("domain"), text("type"));
    let dot = if domain.ends_with('.') { "" } else { "." };
    let mut lines = String::new();
    for rdata in document["rdata"].as_array().into_iter().flatten() {
        let rdata = rdata.as_str().unwrap_or("?");
        let ttl = &document["ttl_seconds"];
        lines.push_str(&format!("{domain}{dot}\t{ttl}\tIN\t{rtype}\t{rdata}\n"));
    }
    lines
}

/// Writes rows as columns that line up, two spaces apart.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(table(&rows), "a    b\nccc  d\n");
    }

    #[test]
    fn a_record_document_becomes_lines_of_a_master_file() {
        let document = serde_json::json!({
            "domain": "a.example", "type": "A", "ttl_seconds": 60, "rdata": ["192.0.2.1", "192.0.2.2"],
        });
        assert_eq!(
            record_lines(&document),
            "a.example.\t60\tIN\tA\t192.0.2.1\na.example.\t60\tIN\tA\t192.0.2.2\n"
        );
    }
}
