//! `aspen-dns ticket`: makes tickets, and shows what one says.

use std::process::ExitCode;

use anyhow::Context as _;
use aspen_dns::ticket::DnsClientTicket;
use data_encoding::HEXLOWER;

use serde_json::json;
use ureq::http::Method;

use crate::client::Client;
use crate::flags::TicketCommand;
use crate::output;

/// Does one verb that needs a node.
pub(crate) fn run(client: &Client, command: TicketCommand, is_json: bool) -> anyhow::Result<()> {
    let TicketCommand::Create { zones, feed } = command else { return Ok(()) };
    let zones: Vec<String> = zones.iter().map(aspen_dns::name::Name::to_fqdn).collect();
    let body = match feed {
        Some(feed) => json!({ "feed": feed }),
        None if zones.is_empty() => json!({}),
        None => json!({ "zones": zones }),
    };
    let answer = client.json(Method::POST, "/api/v1/aspen/tickets", Some(&body))?;
    if is_json {
        return output::print_json(&answer);
    }
    let ticket = answer["ticket"].as_str().context("the answer holds no ticket")?;
    output::print(format!("{ticket}\n"))
}

/// Prints what `text` says.
pub(crate) fn show(text: &str, is_json: bool) -> anyhow::Result<ExitCode> {
    let ticket: DnsClientTicket = text.trim().parse().context("not a ticket")?;
    let peers: Vec<_> = ticket
        .peers
        .iter()
        .map(|peer| {
            let addrs: Vec<String> = peer.addrs.iter().map(ToString::to_string).collect();
            json!({ "id": HEXLOWER.encode(&peer.id), "addresses": addrs, "relay": peer.relay })
        })
        .collect();
    let zones: Option<Vec<String>> = ticket
        .zone_filter
        .as_ref()
        .map(|zones| zones.iter().map(aspen_dns::name::Name::to_fqdn).collect());
    let value = json!({
        "cluster_id": ticket.cluster_id,
        "namespace": HEXLOWER.encode(&ticket.namespace),
        "author": HEXLOWER.encode(&ticket.author),
        "peers": peers,
        "zones": zones,
    });
    if is_json {
        output::print_json(&value)?;
    } else {
        let mut rows = vec![
            vec!["cluster".to_owned(), ticket.cluster_id.clone()],
            vec!["namespace".to_owned(), HEXLOWER.encode(&ticket.namespace)],
            vec!["author".to_owned(), HEXLOWER.encode(&ticket.author)],
            vec!["zones".to_owned(), zones.map_or("all".to_owned(), |zones| zones.join(" "))],
        ];
        for peer in &ticket.peers {
            let mut places: Vec<String> = peer.addrs.iter().map(ToString::to_string).collect();
            places.extend(peer.relay.clone());
            rows.push(vec![
                "peer".to_owned(),
                format!("{} {}", HEXLOWER.encode(&peer.id), places.join(" ")),
            ]);
        }
        output::print(output::table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}
