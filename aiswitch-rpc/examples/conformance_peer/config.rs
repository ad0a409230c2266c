//! The configuration of a conformance case, as options of a connection.

use aiswitch_rpc::{CancelStyle, Framing, Integrity, JsonRpcMember, OnMalformed, Options};
use serde_json::Value;

/// Which side of a connection is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It answers.
    Server,
    /// It calls.
    Client,
    /// It does both.
    Peer,
}

/// Reads the name of a role.
///
/// # Errors
/// When there is no such role.
pub(crate) fn role(name: &str) -> Result<Role, String> {
    match name {
        "server" => Ok(Role::Server),
        "client" => Ok(Role::Client),
        "peer" => Ok(Role::Peer),
        other => Err(format!("role `{other}` is not known: use `server`, `client` or `peer`")),
    }
}

/// Reads framing, role and the members of `config`.
///
/// # Errors
/// When a value or a member is not known.
pub(crate) fn options(framing: &str, role: Role, config: &Value) -> Result<Options, String> {
    let framing = match framing {
        "ndjson" => Framing::Lines,
        "content-length" => Framing::ContentLength,
        other => return Err(format!("framing `{other}` is not known: use `ndjson` or `content-length`")),
    };
    let on_malformed = if role == Role::Client { OnMalformed::Report } else { OnMalformed::Reply };
    let side = if role == Role::Client { "client" } else { "server" };
    let mut options = Options::default().with_framing(framing).with_on_malformed(on_malformed);
    for (name, value) in config.as_object().into_iter().flatten() {
        let unknown = || format!("`{name}` cannot be {value}");
        let count = || value.as_u64().and_then(|count| usize::try_from(count).ok()).ok_or_else(unknown);
        options = match name.as_str() {
            "max_message" => options.with_frame_bytes_max(count()?),
            "max_outgoing" => options.with_outgoing_frame_bytes_max(count()?),
            "max_batch" => options.with_batch_max(count()?),
            "max_in_flight" => options.with_requests_in_flight_max(count()?),
            "batch" => match value.as_bool() {
                Some(true) => options,
                Some(false) => options.with_batch_max(0),
                None => return Err(unknown()),
            },
            "jsonrpc" => options.with_jsonrpc(match value.as_str() {
                Some("strict") => JsonRpcMember::Required,
                Some("optional") => JsonRpcMember::Optional,
                _ => return Err(unknown()),
            }),
            "cancel" => options.with_cancel(match value.as_str() {
                Some("$/cancelRequest") => CancelStyle::Lsp,
                Some("$/cancel_request") => CancelStyle::Acp,
                Some("notifications/cancelled") => CancelStyle::Mcp,
                Some("none") => CancelStyle::None,
                _ => return Err(unknown()),
            }),
            "integrity" => options.with_integrity(match (value.as_str(), role) {
                (Some("off"), _) => Integrity::Off,
                (Some("offer"), Role::Client) => Integrity::Offer,
                (Some("require"), Role::Client) => Integrity::Require,
                (Some("offer" | "require"), _) => Integrity::Accept,
                _ => return Err(unknown()),
            }),
            // One word for every role, or one for each, as the cases give their defaults.
            "on_malformed" => options.with_on_malformed(match value.get(side).unwrap_or(value).as_str() {
                Some("reply") => OnMalformed::Reply,
                Some("report") => OnMalformed::Report,
                _ => return Err(unknown()),
            }),
            _ => return Err(format!("`{name}` is not known")),
        };
    }
    Ok(options)
}
