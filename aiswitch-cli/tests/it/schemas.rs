//! What `--json` prints is what `aiswitch schema` says of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{configure, show};
use crate::sandbox::Sandbox;

/// Checks a value by a schema, in which every key has to stand.
fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let described = described(root, schema, value)?;
    let keys = value.as_object().into_iter().flat_map(|object| object.keys());
    match keys.into_iter().find(|key| !described.contains(*key)) {
        Some(key) => Err(format!("`{key}` is not described: {value}")),
        None => Ok(()),
    }
}

/// The keys of a value that a schema describes, if the value is as it says.
fn described(root: &Value, schema: &Value, value: &Value) -> Result<BTreeSet<String>, String> {
    let mut keys = BTreeSet::new();
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#')).ok_or(format!("there is no {name}"))?;
        keys.extend(described(root, target, value)?);
    }
    let types = schema["type"].as_str().into_iter().chain(array(&schema["type"]).filter_map(Value::as_str));
    let types: Vec<&str> = types.collect();
    if !types.is_empty() && !types.iter().any(|name| is_of_type(name, value)) {
        return Err(format!("{value} is none of {types:?}"));
    }
    let is_allowed = |allowed: &Value| allowed == value;
    if schema.get("const").is_some_and(|only| only != value)
        || (schema["enum"].is_array() && !array(&schema["enum"]).any(is_allowed))
    {
        return Err(format!("{value} is not what {schema} allows"));
    }
    for required in array(&schema["required"]).filter_map(Value::as_str) {
        if value.get(required).is_none() {
            return Err(format!("`{required}` is missing: {value}"));
        }
    }
    for (key, of_key) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(key) {
            check(root, of_key, value).map_err(|fault| format!("{key}: {fault}"))?;
            keys.insert(key.clone());
        }
    }
    if let (Some(of_item), Some(items)) = (schema.get("items"), value.as_array()) {
        items.iter().try_for_each(|item| check(root, of_item, item))?;
    }
    if let (Some(of_others), Some(object)) = (schema["additionalProperties"].as_object(), value.as_object()) {
        let of_others = Value::Object(of_others.clone());
        for (key, value) in object.iter().filter(|(key, _)| schema["properties"].get(*key).is_none()) {
            check(root, &of_others, value)?;
            keys.insert(key.clone());
        }
    }
    for all in array(&schema["allOf"]) {
        keys.extend(described(root, all, value)?);
    }
    for choice in ["oneOf", "anyOf"] {
        let mut faults = Vec::new();
        let fits = |one| described(root, one, value).map_err(|fault| faults.push(fault)).ok();
        match (array(&schema[choice]).find_map(fits), schema[choice].is_array()) {
            (Some(more), _) => keys.extend(more),
            (None, true) => return Err(faults.join("; or ")),
            (None, false) => {}
        }
    }
    Ok(keys)
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[test]
fn what_is_printed_as_json_is_what_its_schema_says() {
    let sandbox = Sandbox::new();
    let rules = "alerts:\n  ended: {metric: task_count, above: 0, keep_firing_for: 1h}\n  slow: {metric: cpus, system: true, above: 0, for: 1h}\n";
    configure(&sandbox, "alerts.yaml", rules);
    configure(&sandbox, "agents.yaml", "agents:\n  bad: {driver: command, command: [/bin/false]}\n");
    let run = show(&sandbox, &["run", "-a", "echo,bad", "--output-format", "stream-json", "hello"]);
    let last = run.json_lines().pop().unwrap();
    let printed = |args: &[&str]| show(&sandbox, args).json();
    for (document, values) in [
        ("event", run.json_lines()),
        ("report", vec![last["report"].clone(), printed(&["run", "-a", "echo", "--json", "hi"])]),
        (
            "period-report",
            vec![printed(&["report", "--json"]), printed(&["report", "--json", "-a", "nobody"])],
        ),
        ("tokens", vec![printed(&["tokens", "--json"]), printed(&["tokens", "agents", "--json"])]),
        ("metrics", vec![printed(&["metrics", "--json"]), printed(&["metrics", "query", "cpus", "--json"])]),
        ("env-history", vec![printed(&["env", "history", "--json"])]),
    ] {
        let schema = printed(&["schema", document]);
        for value in values {
            assert_eq!(check(&schema, &schema, &value), Ok(()), "{document}");
            let mut other = value;
            other["unheard_of"] = json!(1);
            assert!(check(&schema, &schema, &other).is_err(), "{document}");
        }
    }
    let (schema, report) = (printed(&["schema", "period-report"]), printed(&["report", "--json"]));
    for (list, least) in
        [("days", 1), ("agents", 2), ("models", 1), ("runs", 2), ("alerts", 2), ("series", 2)]
    {
        assert!(report[list].as_array().unwrap().len() >= least, "{list}: {report}");
    }
    for (key, bad) in [
        ("/total", Value::Null),
        ("/agents/0/tasks", json!("1")),
        ("/runs/0/status", json!("done")),
        ("/alerts/0/state", json!("fires")),
        ("/alerts/0/since", json!(1)),
        ("/series/0/steps/0", json!("1")),
    ] {
        let mut other = report.clone();
        *other.pointer_mut(key).unwrap() = bad;
        assert!(check(&schema, &schema, &other).is_err(), "{key}");
    }
}
