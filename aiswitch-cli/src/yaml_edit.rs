//! Changing `presets.yaml` and `agents.yaml` so that a person's comments and order stay; pure.
//!
//! Lines are changed where they stand, and what comes out is read again: a change is made only if it says exactly what
//! was wanted. A preset whose own lines cannot be changed one by one is written anew, which loses the comments within it.

use std::collections::BTreeMap;
use std::ops::Range;

use aiswitch_coordinator::{Preset, PresetName};
use aiswitch_env::ValueSource;

use crate::config::parse_presets;

/// How far what is new stands in, in columns.
const INDENT: usize = 2;

/// Words that YAML, of one version or another, takes for something else than text.
const NOT_BARE: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];

type Presets = BTreeMap<PresetName, Preset>;

/// The text of `presets.yaml` with the presets as wanted; `None` if its lines cannot be changed so.
pub(crate) fn rewrite(text: &str, wanted: &Presets) -> Option<String> {
    let mut presets = parse_presets(text).ok()?;
    let mut text = text.to_owned();
    let names: Vec<PresetName> = presets.keys().chain(wanted.keys()).cloned().collect();
    for name in names {
        if presets.get(&name) == wanted.get(&name) {
            continue;
        }
        let (old, new) = (presets.get(&name).cloned(), wanted.get(&name).cloned());
        match &new {
            Some(new) => presets.insert(name.clone(), new.clone()),
            None => presets.remove(&name),
        };
        let is_right = |text: &String| parse_presets(text).is_ok_and(|read| read == presets);
        text = match (old, new) {
            (Some(old), Some(new)) => change_variables(&text, &name, &old, &new)
                .filter(is_right)
                .or_else(|| replace_preset(&text, &name, Some(&new)).filter(is_right)),
            (_, new) => replace_preset(&text, &name, new.as_ref()).filter(is_right),
        }?;
    }
    Some(text)
}

/// Changes the lines of those variables that differ.
fn change_variables(text: &str, name: &PresetName, old: &Preset, new: &Preset) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // What else differs is found out when the text is read again.
    for variable in old.variables.keys().chain(new.variables.keys()) {
        let value = new.variables.get(variable);
        if old.variables.get(variable) == value {
            continue;
        }
        let presets = find(&lines, 0..lines.len(), "presets")?;
        let preset = find(&lines, presets.below(), name.as_ref())?;
        let variables = find(&lines, preset.below(), "variables")?;
        let entry = find(&lines, variables.below(), variable);
        let first = variables.below().find(|at| is_content(&lines[*at]))?;
        let indent = indent_of(&lines[first]);
        let line =
            value.map(|value| format!("{:indent$}{}: {}", "", scalar(variable), scalar(&value.written())));
        let place = entry.map_or(variables.lines.end..variables.lines.end, |entry| entry.lines);
        // An end of line comment goes with the value that it speaks of.
        lines.splice(place, line);
    }
    Some(joined(&lines))
}

/// Writes a whole preset anew, adds it, or takes it out.
fn replace_preset(text: &str, name: &PresetName, preset: Option<&Preset>) -> Option<String> {
    replace_entry(text, "presets", name.as_ref(), |indent| {
        preset.map(|preset| block(indent, name, preset)).unwrap_or_default()
    })
}

/// The text with the entry `key` of a mapping at its top as `block` makes its lines for an indent: anew, added, or taken out.
///
/// The caller reads what comes out before it is kept.
pub(crate) fn replace_entry(
    text: &str,
    section: &str,
    key: &str,
    block: impl FnOnce(usize) -> Vec<String>,
) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let found = if let Some(found) = find(&lines, 0..lines.len(), section) {
        found
    } else {
        lines.push(format!("{section}:"));
        find(&lines, 0..lines.len(), section)?
    };
    // `presets: {}` has no lines below; it can only be replaced if that loses nothing.
    if found.lines.len() == 1 {
        lines[found.lines.start] = format!("{section}:");
    }
    let below = found.below();
    let indent = below.clone().find(|at| is_content(&lines[*at])).map_or(INDENT, |at| indent_of(&lines[at]));
    let entry = find(&lines, below, key);
    let place = entry.map_or(found.lines.end..found.lines.end, |entry| entry.lines);
    lines.splice(place, block(indent));
    let is_empty = find(&lines, 0..lines.len(), section).is_some_and(|found| found.lines.len() == 1);
    if is_empty {
        lines[found.lines.start] = format!("{section}: {{}}");
    }
    Some(joined(&lines))
}

/// The lines of a preset.
fn block(indent: usize, name: &PresetName, preset: &Preset) -> Vec<String> {
    let outer = indent + INDENT;
    let mut lines = vec![format!("{:indent$}{}:", "", scalar(name.as_ref()))];
    lines.extend(preset.description.iter().map(|text| format!("{:outer$}description: {}", "", scalar(text))));
    if !preset.tags.is_empty() {
        let tags: Vec<String> = preset.tags.iter().map(|tag| quoted(tag)).collect();
        lines.push(format!("{:outer$}tags: [{}]", "", tags.join(", ")));
    }
    lines.extend(
        preset.extends.iter().map(|parent| format!("{:outer$}extends: {}", "", scalar(parent.as_ref()))),
    );
    lines.extend(mapping(outer, "variables", &preset.variables));
    let agents = preset.agents.iter().filter(|(_, variables)| !variables.is_empty());
    let mut agents =
        agents.flat_map(|(agent, variables)| mapping(outer + INDENT, agent, variables)).peekable();
    if agents.peek().is_some() {
        lines.push(format!("{:outer$}agents:", ""));
        lines.extend(agents);
    }
    lines
}

/// The lines of a mapping of variables.
fn mapping(indent: usize, key: &str, variables: &BTreeMap<String, ValueSource>) -> Vec<String> {
    let inner = indent + INDENT;
    let end = if variables.is_empty() { " {}" } else { "" };
    let mut lines = vec![format!("{:indent$}{}:{end}", "", scalar(key))];
    lines.extend(
        variables
            .iter()
            .map(|(name, value)| format!("{:inner$}{}: {}", "", scalar(name), scalar(&value.written()))),
    );
    lines
}

/// Text as a YAML scalar of one line: bare where that is safe, else in the double quotes that YAML shares with JSON.
pub(crate) fn scalar(text: &str) -> String {
    let is_reference =
        ["ENC[", "env:", "file:/", "https://", "http://"].iter().any(|start| text.starts_with(start));
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_-./:[],+".contains(c);
    let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !NOT_BARE.contains(&text.to_ascii_lowercase().as_str());
    if (is_reference && text.chars().all(is_safe) && !text.ends_with(':')) || is_name {
        return text.to_owned();
    }
    quoted(text)
}

/// Text in the double quotes that YAML shares with JSON; what YAML may not hold as it is, is escaped.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).expect("text is a JSON string");
    let is_odd = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}'..='\u{ffff}')
    };
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        if is_odd(c) {
            let escaped = format!("\\u{:04x}", u32::from(c));
            quoted.push_str(&escaped);
        } else {
            quoted.push(c);
        }
    }
    quoted
}

/// An entry of a block mapping.
struct Entry {
    /// From the line of its key to its last one.
    lines: Range<usize>,
}

impl Entry {
    /// What stands below the line of the key.
    fn below(&self) -> Range<usize> {
        self.lines.start + 1..self.lines.end
    }
}

/// Finds an entry of the block mapping that stands in these lines.
fn find(lines: &[String], within: Range<usize>, key: &str) -> Option<Entry> {
    let first = within.clone().find(|at| is_content(&lines[*at]))?;
    let indent = indent_of(&lines[first]);
    let is_entry = |at: usize| is_content(&lines[at]) && indent_of(&lines[at]) == indent;
    let start = within.clone().find(|at| is_entry(*at) && has_key(&lines[*at], key))?;
    let next = (start + 1..within.end).find(|at| is_content(&lines[*at]) && indent_of(&lines[*at]) <= indent);
    // Comments before the next entry are about that one.
    let end = (start..next.unwrap_or(within.end)).rev().find(|at| is_content(&lines[*at]))? + 1;
    Some(Entry { lines: start..end })
}

fn has_key(line: &str, key: &str) -> bool {
    let line = line.trim_start();
    [key.to_owned(), format!("\"{key}\""), format!("'{key}'")].iter().any(|key| {
        let rest = line.strip_prefix(key.as_str()).and_then(|rest| rest.trim_start().strip_prefix(':'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    })
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#') && line != "---"
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
# my presets
presets:
  # for work
  work:
    variables:
      # the gateway
      A_BASE_URL: https://a.example   # EU
      A_KEY: env:A

  # for home
  home: {description: at home, variables: {B: 'x # y'}}
";

    fn wanted(change: impl FnOnce(&mut Presets)) -> Presets {
        let mut presets = parse_presets(TEXT).unwrap();
        change(&mut presets);
        presets
    }

    fn name(text: &str) -> PresetName {
        text.parse().unwrap()
    }

    #[test]
    fn a_changed_variable_leaves_every_other_line_as_it_is() {
        let presets = wanted(|presets| {
            let work = presets.get_mut(&name("work")).unwrap();
            work.variables.insert("A_KEY".into(), String::from("ENC[v1,abc+/]").into());
            work.variables.insert("NEW".into(), String::from("with \"quotes\"\nand lines").into());
        });
        let expected = TEXT.replace(
            "      A_KEY: env:A\n",
            "      A_KEY: ENC[v1,abc+/]\n      NEW: \"with \\\"quotes\\\"\\nand lines\"\n",
        );
        assert_eq!(rewrite(TEXT, &presets).unwrap(), expected);
    }

    #[test]
    fn a_preset_that_stands_in_one_line_is_written_anew_and_the_others_stay() {
        let presets = wanted(|presets| {
            presets
                .get_mut(&name("home"))
                .unwrap()
                .variables
                .insert("C_KEY".into(), String::from("env:C").into());
        });
        let text = rewrite(TEXT, &presets).unwrap();
        let (kept, _) = TEXT.split_once("  home:").unwrap();
        let new =
            "  home:\n    description: \"at home\"\n    variables:\n      B: \"x # y\"\n      C_KEY: env:C\n";
        assert_eq!(text, format!("{kept}{new}"));
    }

    #[test]
    fn presets_come_and_go() {
        let presets = wanted(|presets| {
            presets.remove(&name("work"));
        });
        let text = rewrite(TEXT, &presets).unwrap();
        assert_eq!(
            text,
            "# my presets\npresets:\n  # for work\n\n  # for home\n  home: {description: at home, variables: {B: 'x # y'}}\n"
        );
        assert_eq!(rewrite(&text, &Presets::new()).unwrap().lines().last(), Some("  # for home"));
        for empty in ["", "# nothing yet\n", "presets: {}\n"] {
            let text = rewrite(empty, &wanted(|_| {})).unwrap_or_else(|| panic!("{empty:?}"));
            assert_eq!(parse_presets(&text).unwrap(), wanted(|_| {}));
        }
    }

    fn any_variables() -> impl Strategy<Value = BTreeMap<String, ValueSource>> {
        let name = "[A-Z_]{1,3}|yes|.{1,4}";
        let value = prop_oneof![
            any::<String>(),
            "[#:'\" \\n\\t%&*!|>{}\\[\\],-]{0,6}",
            "(env:|file:|ENC\\[)[a-z:# ]{0,5}"
        ];
        prop::collection::btree_map(name, value.prop_map(ValueSource::from), 0..4)
    }

    fn any_presets() -> impl Strategy<Value = Presets> {
        let name = "[a-c]|yes|0".prop_map(|text| name(&text));
        let agents = prop::collection::btree_map("[a-z]{1,3}", any_variables(), 0..2)
            .prop_map(|agents| agents.into_iter().filter(|(_, own)| !own.is_empty()).collect());
        let text = prop::option::of(any::<String>());
        let preset = (text, prop::collection::vec(any::<String>(), 0..3), any_variables(), agents).prop_map(
            |(description, tags, variables, agents)| Preset {
                description,
                tags,
                extends: None,
                variables,
                agents,
            },
        );
        prop::collection::btree_map(name, preset, 0..4)
    }

    proptest! {
        #[test]
        fn any_presets_become_any_others(before in any_presets(), after in any_presets()) {
            let text = rewrite("# mine\n", &before).expect("an empty file can be changed");
            prop_assert_eq!(&parse_presets(&text).unwrap(), &before);
            let text = rewrite(&text, &after).expect("a file of its own can be changed");
            prop_assert!(text.starts_with("# mine\n"));
            prop_assert_eq!(parse_presets(&text).unwrap(), after);
        }

        #[test]
        fn a_text_of_any_form_is_changed_as_wanted_or_not_at_all(
            text in "(presets:( \\{\\})?\n)?([ ]{0,4}[a-c'\"]{1,2}:( [a-z#{}\\[\\]|>&*-]{0,3})?\n|#.{0,3}\n|  variables:\n){0,8}",
            wanted in any_presets(),
        ) {
            if let Some(text) = rewrite(&text, &wanted) {
                prop_assert_eq!(parse_presets(&text).unwrap(), wanted);
            }
        }
    }

    #[test]
    fn what_cannot_be_changed_by_lines_is_left_alone() {
        let flow = "presets: {work: {variables: {A: b}}, home: {}}\n";
        let mut presets = parse_presets(flow).unwrap();
        presets.remove(&name("home"));
        assert_eq!(rewrite(flow, &presets), None);
    }
}
