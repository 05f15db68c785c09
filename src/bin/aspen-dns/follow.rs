//! `aspen-dns follow`: what an edge holds back that follows behind on purpose, and how it goes on.

use serde_json::Value;
use ureq::http::Method;

use crate::client::Client;
use crate::flags::FollowCommand;
use crate::output;

/// Does what the verb says.
pub(crate) fn run(client: &Client, command: &FollowCommand, is_json: bool) -> anyhow::Result<()> {
    let (method, path) = match command {
        FollowCommand::Status => (Method::GET, "/api/v1/aspen/follow"),
        FollowCommand::Hold => (Method::PUT, "/api/v1/aspen/follow/hold"),
        FollowCommand::Release => (Method::PUT, "/api/v1/aspen/follow/release"),
        FollowCommand::Resume => (Method::PUT, "/api/v1/aspen/follow/resume"),
    };
    let answer = client.json(method, path, None)?;
    if is_json {
        return output::print_json(&answer);
    }
    output::print(text(&answer))
}

/// Says how the edge follows, and what it holds back.
fn text(answer: &Value) -> String {
    let seconds = |field: &str| answer[field].as_u64().unwrap_or(0) / 1_000;
    let how = match answer["mode"].as_str() {
        Some("held") => "it stays where it is".to_owned(),
        Some("released") => "it follows at once".to_owned(),
        _ => format!("it follows {} s behind", seconds("delay_ms")),
    };
    let held = match answer["commits"].as_u64() {
        None | Some(0) => "; nothing is held back\n".to_owned(),
        Some(commits) => format!(
            "; {commits} commits are held back, revisions {} to {}, for up to {} s\n",
            answer["first_revision"],
            answer["last_revision"],
            seconds("age_ms")
        ),
    };
    let dropped = match answer["dropped"].as_u64() {
        None | Some(0) => String::new(),
        Some(dropped) => format!(
            "{dropped} segments found no room: a version of the document makes up for them\n"
        ),
    };
    format!("{how}{held}{dropped}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_held_back_is_told_in_a_sentence() {
        let mut answer = json!({"mode": "behind", "delay_ms": 600_000, "commits": 0, "dropped": 0});
        assert_eq!(text(&answer), "it follows 600 s behind; nothing is held back\n");
        answer["mode"] = json!("held");
        (answer["commits"], answer["age_ms"]) = (json!(3), json!(61_500));
        (answer["first_revision"], answer["last_revision"]) = (json!(5), json!(7));
        let told =
            "it stays where it is; 3 commits are held back, revisions 5 to 7, for up to 61 s\n";
        assert_eq!(text(&answer), told);
    }
}
