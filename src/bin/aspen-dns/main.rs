//! `aspen-dns`: the command line of a node, a client of its HTTP API.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backup;
mod batch;
mod check;
mod client;
mod feed;
mod feed_flags;
mod flags;
mod fleet;
mod follow;
mod freeze;
mod output;
mod record;
mod rollback;
mod status;
#[cfg_attr(not(feature = "node"), path = "no_store.rs")]
mod store;
mod ticket;
mod tls;
mod verify;
mod zone;

use std::process::ExitCode;

use clap::Parser as _;

use crate::client::Client;
use crate::flags::{Command, Flags};

fn main() -> ExitCode {
    match run(Flags::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("aspen-dns: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the flags ask for.
fn run(flags: Flags) -> anyhow::Result<ExitCode> {
    let is_json = flags.json;
    // These need no node.
    match &flags.command {
        Command::Zone(flags::ZoneCommand::Check { check }) => {
            return check::run(|| Client::new(&flags), check, is_json);
        }
        Command::Ticket(flags::TicketCommand::Show { ticket }) => {
            return ticket::show(ticket, is_json);
        }
        Command::Store(flags::StoreCommand::Check { path }) => {
            return store::check(path.as_ref().unwrap_or(&flags.data_dir), is_json);
        }
        Command::Store(copy @ flags::StoreCommand::Copy { .. }) => {
            return store::copy(copy, is_json);
        }
        _ => {}
    }
    let client = Client::new(&flags)?;
    match flags.command {
        Command::Zone(command) => zone::run(&client, command, is_json)?,
        Command::Record(command) => record::run(&client, command, is_json)?,
        Command::Batch { file } => batch::run(&client, &file, is_json)?,
        Command::Feed(command) => feed::run(&client, command, is_json)?,
        Command::Ticket(command) => ticket::run(&client, command, is_json)?,
        Command::Store(command) => return backup::run(&client, &command, is_json),
        Command::Follow(command) => follow::run(&client, &command, is_json)?,
        Command::Verify { verify } => return verify::run(&client, &verify, is_json),
        Command::Status => status::run(&client, is_json)?,
        Command::Fleet { forget } => fleet::run(&client, forget.as_deref(), is_json)?,
        Command::Wait { revision, edges, timeout } => {
            status::wait(&client, (revision, edges.as_deref()), timeout, is_json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
