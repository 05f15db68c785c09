//! `aspen-dns store check` and `store copy` of a command line that was built without stores (cargo feature `node`).

use std::path::Path;
use std::process::ExitCode;

use crate::flags::StoreCommand;

/// Says who can do it.
pub(crate) fn check(path: &Path, _is_json: bool) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "{}: this aspen-dns cannot read stores; the one that was built with aspen-node can \
         (cargo feature `node`)",
        path.display()
    )
}

/// Says who can do it.
pub(crate) fn copy(_command: &StoreCommand, _is_json: bool) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "this aspen-dns cannot open stores; the one that was built with aspen-node can (cargo feature `node`)"
    )
}
