//! Moving agents from one preset to another, and back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aiswitch_coordinator::{
    Actor, AgentSpec, EnvNotice, Replay, Role, SNAPSHOTS_KEPT_MAX, SnapshotId, SwitchError, SwitchOptions,
    SwitchProbe, SwitchStep, TaskStatus, Turn, env_methods,
};
use aiswitch_rpc::protocol::{EnvRollback, EnvRollbackParams, EnvSnapshotParams, EnvSwitch, EnvSwitchParams};
use aiswitch_rpc::{Options, connect};
use serde_json::{Value, json};

use crate::support::id;

mod bench;

use bench::{Bench, name};

/// Waits for a file, at most half a minute.
async fn appears(path: impl AsRef<Path>) {
    let there = async {
        while !path.as_ref().exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), there).await.expect("it appears");
}

#[tokio::test]
async fn a_switch_binds_the_agent_and_is_written_down_with_a_snapshot_of_references() {
    let bench = Bench::new();
    let coordinator = bench.coordinator();
    let first = coordinator.switch_agent_env(&id("a"), &name("old"), bench.options()).await.unwrap();
    let second = coordinator.switch_agent_env(&id("a"), &name("new"), bench.options()).await.unwrap();
    assert_eq!((first.record.from, second.record.from), (None, Some(name("old"))));
    assert_eq!(second.record.step, SwitchStep::Committed);
    assert_eq!(bench.answer("a").await, "new at https://new.example");

    let records = bench.state().read().unwrap();
    let before = records.snapshot(&id("a"), second.record.id).unwrap();
    let variables: Vec<_> =
        before.variables.iter().map(|(name, value)| (name.as_str(), value.value.as_str())).collect();
    assert_eq!(variables, [("KEY", "env:OLD"), ("X_BASE_URL", "https://old.example")]);
    let text = std::fs::read_to_string(bench.home.env_file()).unwrap();
    assert!(!text.contains("old-old-old") && !text.contains("new-new-new"), "{text}");
    assert_eq!(bench.home.env_file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        bench.audit(),
        "operator env.switch a allowed to preset `old`\noperator env.switch a allowed to preset `new`\n"
    );
}

#[tokio::test]
async fn a_preset_that_does_not_prove_itself_is_taken_back_and_no_secret_is_told() {
    let bench = Bench::new();
    let coordinator = bench.coordinator();
    coordinator.switch_agent_env(&id("a"), &name("old"), bench.options()).await.unwrap();
    let error = coordinator.switch_agent_env(&id("a"), &name("bad"), bench.options()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "agent `a` stays under preset `old`, since it did not prove itself under preset `bad`"
    );
    let SwitchError::RolledBack { record, problem, .. } = error else { panic!("{error:?}") };
    assert_eq!(problem.message, "it ended with exit code 3: key [REDACTED] refused");
    assert_eq!((record.step, record.reason), (SwitchStep::RolledBack, Some(problem.message)));
    assert_eq!(bench.answer("a").await, "old at https://old.example");
    let text = std::fs::read_to_string(bench.home.env_file()).unwrap();
    assert!(!text.contains("bad-bad-bad"), "{text}");
}

#[tokio::test]
async fn a_rollback_brings_back_the_very_variables_though_the_preset_was_changed_or_removed() {
    let mut bench = Bench::new();
    for preset in ["old", "new"] {
        bench.coordinator().switch_agent_env(&id("a"), &name(preset), bench.options()).await.unwrap();
    }
    let unchanged = bench.coordinator().rollback_env(&id("a"), None, bench.options()).await.unwrap();
    assert_eq!(unchanged.record.to.unwrap().snapshot, None, "the preset is as it was, and stays a preset");
    bench.coordinator().switch_agent_env(&id("a"), &name("new"), bench.options()).await.unwrap();
    bench.preset("old", json!({"variables": {"KEY": "env:NEW", "X_BASE_URL": "https://changed.example"}}));
    let back = bench.coordinator().rollback_env(&id("a"), None, bench.options()).await.unwrap();
    assert_eq!(back.record.from, Some(name("new")));
    assert_eq!(bench.answer("a").await, "old at https://old.example");
    bench.presets.remove(&name("old"));
    assert_eq!(bench.answer("a").await, "old at https://old.example");
    // The one before the first switch was under no preset.
    let first = bench.state().read().unwrap().switches[0].id;
    bench.coordinator().rollback_env(&id("a"), Some(first), bench.options()).await.unwrap();
    assert!(bench.state().read().unwrap().bindings.is_empty());
    assert!(bench.audit().ends_with("operator env.rollback a allowed to no preset\n"), "{}", bench.audit());
}

#[tokio::test]
async fn a_rollback_needs_a_snapshot_of_the_agent_that_is_whole() {
    let bench = Bench::new();
    let coordinator = bench.coordinator();
    let nothing = coordinator.rollback_env(&id("a"), None, bench.options()).await.unwrap_err();
    assert_eq!(nothing.to_string(), "there is no switch of agent `a` to take back");
    let (snapshot, _) = coordinator.create_env_snapshot(&id("a"), &bench.options()).await.unwrap();
    let foreign =
        coordinator.rollback_env(&id("live"), Some(snapshot.id), bench.options()).await.unwrap_err();
    assert_eq!(foreign.to_string(), format!("agent `live` has no snapshot {}", snapshot.id));
    coordinator.switch_agent_env(&id("a"), &name("old"), bench.options()).await.unwrap();
    coordinator.switch_agent_env(&id("a"), &name("new"), bench.options()).await.unwrap();
    let text = std::fs::read_to_string(bench.home.env_file()).unwrap();
    std::fs::write(bench.home.env_file(), text.replace("https://old.example", "https://evil.example"))
        .unwrap();
    let SwitchError::Invalid(validation) =
        coordinator.rollback_env(&id("a"), None, bench.options()).await.unwrap_err()
    else {
        panic!("it is refused")
    };
    assert_eq!(validation.problems[0].kind(), "snapshot_damaged");
}

#[tokio::test]
async fn every_problem_is_listed_before_anything_is_touched() {
    let mut bench = Bench::new();
    bench.agents.push(
        AgentSpec { sandbox: aiswitch_agent::Sandbox::Offline, ..AgentSpec::command(["/no/such/program"]) }
            .build(id("off")),
    );
    bench.preset(
        "broken",
        json!({"variables": {
            "A": "env:UNSET", "B": "file:/no/such/file", "C_TOKEN": "in clear", "D": "sk-0123456789",
            "E_KEY": "ENC[v1,xxxx]", "X_BASE_URL": "https://gateway.example:8443/v1",
        }}),
    );
    bench.preset("loop", json!({"extends": "loop"}));
    let options = SwitchOptions { session_id: Some("s1".into()), ..bench.options() };
    let kinds = |agent: &str, preset: &str| -> Vec<&str> {
        let found = bench.coordinator().validate_env_switch(&id(agent), &name(preset), &options).unwrap();
        found.problems.iter().map(aiswitch_coordinator::SwitchProblem::kind).collect()
    };
    assert_eq!(
        kinds("off", "broken"),
        [
            "variable_missing",
            "variable_unreadable",
            "variable_unreadable",
            "variable_unreadable",
            "variable_unreadable",
            "host_barred",
            "cannot_resume"
        ]
    );
    assert_eq!(kinds("off", "loop"), ["preset", "cannot_resume"]);
    assert_eq!(kinds("of", "nwe"), ["unknown_preset", "unknown_agent"]);
    assert_eq!(kinds("live", "new"), [""; 0]);
    let fresh = SwitchOptions { session_id: None, ..options.clone() };
    let cannot = bench.coordinator().validate_env_switch(&id("off"), &name("bad"), &fresh).unwrap();
    assert_eq!(cannot.problems[0].kind(), "cannot_start");
    let refused = bench.coordinator().switch_agent_env(&id("off"), &name("broken"), options).await;
    assert!(matches!(refused, Err(SwitchError::Invalid(_))), "{refused:?}");
    assert!(!bench.home.env_file().exists() && bench.audit().is_empty());
}

#[tokio::test]
async fn a_dry_look_tells_what_would_become_of_each_variable() {
    let bench = Bench::new();
    bench.coordinator().switch_agent_env(&id("a"), &name("old"), bench.options()).await.unwrap();
    let found = bench.coordinator().validate_env_switch(&id("a"), &name("bad"), &bench.options()).unwrap();
    assert_eq!(
        serde_json::to_value(&found.changes).unwrap(),
        json!([
            {"name": "KEY", "change": "changed", "redirects": false},
            {"name": "X_BASE_URL", "change": "unset", "redirects": true},
        ])
    );
}

#[tokio::test]
async fn nobody_but_the_operator_moves_an_agent() {
    let mut bench = Bench::new();
    bench.actor = Actor::Agent(id("claude"));
    let coordinator = bench.coordinator();
    for refused in [
        coordinator.switch_agent_env(&id("a"), &name("old"), bench.options()).await.map(drop),
        coordinator.create_env_snapshot(&id("a"), &bench.options()).await.map(drop),
    ] {
        assert!(matches!(refused, Err(SwitchError::OperatorOnly { .. })), "{refused:?}");
    }
    assert!(!bench.home.env_file().exists());
    assert_eq!(
        bench.audit(),
        "agent:claude env.switch a denied to preset `old`\nagent:claude env.snapshot a denied\n"
    );
}

#[tokio::test]
async fn a_live_agent_ends_its_turn_and_goes_on_under_the_new_preset() {
    let bench = Bench::new();
    let (coordinator, live) = (bench.coordinator(), bench.live());
    live.start().await.unwrap();
    let options = SwitchOptions {
        live: Some(live.clone()),
        unbound: Some(name("old")),
        probe: SwitchProbe::Start,
        ..bench.options()
    };
    let key = async || live.send_task(bench.task("key"), Replay::Never).await.unwrap();
    assert_eq!(key().await.answer.as_deref(), Some("old-old-old"));
    let (turn, switched) = tokio::join!(live.send_task(bench.task("until go"), Replay::Never), async {
        appears(bench.folder.path().join("ready")).await;
        let (to, agent) = (name("new"), id("live"));
        let mut switch = std::pin::pin!(coordinator.switch_agent_env(&agent, &to, options.clone()));
        // It is under way, and waits for the turn.
        tokio::select! {
            early = &mut switch => panic!("{early:?}"),
            () = appears(bench.home.env_file()) => {}
        }
        assert_eq!(bench.state().read().unwrap().switches[0].step, SwitchStep::Begun);
        std::fs::write(bench.folder.path().join("go"), "").unwrap();
        switch.await
    });
    assert_eq!((turn.unwrap().status, turn_answer(&switched)), (TaskStatus::Completed, Some("s1".into())));
    assert_eq!(key().await.answer.as_deref(), Some("new-new-new"));

    let refused = coordinator.switch_agent_env(&id("live"), &name("bad"), options.clone()).await.unwrap_err();
    assert!(
        matches!(&refused, SwitchError::RolledBack { problem, .. } if problem.message.ends_with("key [REDACTED] refused")),
        "{refused:?}"
    );
    assert_eq!(key().await.answer.as_deref(), Some("new-new-new"));
    let options = SwitchOptions { turn: Turn::Cancel, ..options };
    coordinator.rollback_env(&id("live"), None, options).await.unwrap();
    assert_eq!(key().await.answer.as_deref(), Some("old-old-old"));
    live.stop().await.unwrap();
}

/// The session that a switch has resumed.
fn turn_answer(switched: &Result<aiswitch_coordinator::Switched, SwitchError>) -> Option<String> {
    switched.as_ref().unwrap().record.to.as_ref()?.session_id.clone()
}

#[tokio::test]
async fn a_switch_whose_caller_went_away_comes_to_its_end() {
    let bench = Bench::new();
    let (coordinator, agent, to) = (bench.coordinator(), id("a"), name("held"));
    let mut switch = Box::pin(coordinator.switch_agent_env(&agent, &to, bench.options()));
    tokio::select! {
        early = &mut switch => panic!("{early:?}"),
        () = appears(bench.home.env_file()) => {}
    }
    drop(switch);
    assert_eq!(bench.state().read().unwrap().switches[0].step, SwitchStep::Begun);
    std::fs::write(bench.folder.path().join("go"), "").unwrap();
    let bound = async {
        while bench.state().read().unwrap().bindings.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), bound).await.expect("it comes to its end");
}

#[tokio::test]
async fn a_broken_switch_is_the_old_preset_before_the_probe_and_the_new_one_after_it() {
    let bench = Bench::new();
    let coordinator = bench.coordinator();
    for preset in ["old", "new"] {
        coordinator.switch_agent_env(&id("a"), &name(preset), bench.options()).await.unwrap();
    }
    let whole: Value = serde_json::from_slice(&std::fs::read(bench.home.env_file()).unwrap()).unwrap();
    for (step, preset, said) in
        [("begun", "old", "the agent is under preset `old`"), ("probed", "new", "it counts")]
    {
        let mut broken = whole.clone();
        broken["switches"][1]["step"] = step.into();
        broken["switches"][1]["ended_at"] = Value::Null;
        broken["bindings"]["a"]["preset"] = "old".into();
        std::fs::write(bench.home.env_file(), broken.to_string()).unwrap();
        let notices = bench.state().settle().await.unwrap();
        assert_eq!(notices.len(), 1);
        assert!(notices[0].to_string().ends_with(said), "{}", notices[0]);
        assert_eq!(bench.state().read().unwrap().bindings[&id("a")].preset, name(preset));
        assert_eq!(bench.state().settle().await.unwrap(), [], "it is settled once");
    }
}

#[tokio::test]
async fn too_many_snapshots_are_shortened_by_the_oldest_and_it_is_said_and_a_bound_one_stays() {
    let mut bench = Bench::new();
    let coordinator = bench.coordinator();
    for preset in ["old", "new"] {
        coordinator.switch_agent_env(&id("a"), &name(preset), bench.options()).await.unwrap();
    }
    bench.preset("old", json!({"variables": {"KEY": "env:NEW"}}));
    let coordinator = bench.coordinator();
    let back = coordinator.rollback_env(&id("a"), None, bench.options()).await.unwrap();
    let bound = back.record.to.unwrap().snapshot.unwrap();
    let mut records: Value = serde_json::from_slice(&std::fs::read(bench.home.env_file()).unwrap()).unwrap();
    let filler = records["snapshots"][0].clone();
    let list = records["snapshots"].as_array_mut().unwrap();
    let oldest: SnapshotId = serde_json::from_value(list[0]["id"].clone()).unwrap();
    list.resize(SNAPSHOTS_KEPT_MAX, filler);
    std::fs::write(bench.home.env_file(), records.to_string()).unwrap();
    let (_, notices) = coordinator.create_env_snapshot(&id("a"), &bench.options()).await.unwrap();
    assert_eq!(notices, [EnvNotice::Dropped { id: oldest, agent: "a".into() }]);
    let kept = bench.state().read().unwrap();
    assert_eq!(kept.snapshots.len(), SNAPSHOTS_KEPT_MAX);
    assert!(kept.snapshot(&id("a"), bound).is_some());
}

#[tokio::test]
async fn records_that_are_damaged_or_of_a_later_version_are_named_and_left_alone() {
    let bench = Bench::new();
    bench.coordinator().create_env_snapshot(&id("a"), &bench.options()).await.unwrap();
    let whole = std::fs::read_to_string(bench.home.env_file()).unwrap();
    for (text, part) in [("{\"v\": 1,", "is damaged at line 1"), ("{\"v\": 2}", "has version 2")] {
        std::fs::write(bench.home.env_file(), text).unwrap();
        let error = bench.coordinator().create_env_snapshot(&id("a"), &bench.options()).await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(std::fs::read_to_string(bench.home.env_file()).unwrap(), text);
    }
    std::fs::write(bench.home.env_file(), whole).unwrap();
    bench.coordinator().create_env_snapshot(&id("a"), &bench.options()).await.unwrap();
}

#[tokio::test]
async fn the_methods_are_served_to_the_operator_alone() {
    let bench = Bench::new();
    for (role, is_served) in [(Role::Operator, true), (Role::Viewer, false), (Role::Agent, false)] {
        let methods = env_methods(&bench.coordinator(), &id("a"), role, &bench.options());
        let (near, far) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(near);
        let (_served, serving) = connect(reader, writer, methods, Options::default());
        let (reader, writer) = tokio::io::split(far);
        let (peer, asking) = connect(reader, writer, aiswitch_rpc::Router::new(), Options::default());
        let (serving, asking) = (tokio::spawn(serving.run()), tokio::spawn(asking.run()));
        let switch = |preset: &str, variables: &[(&str, &str)]| EnvSwitchParams {
            preset: preset.to_owned(),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())))
                .collect(),
        };
        let snapshot = peer.call::<aiswitch_rpc::protocol::EnvSnapshot>(&EnvSnapshotParams {}).await;
        let old = peer.call::<EnvSwitch>(&switch("old", &[])).await;
        if is_served {
            let bad = peer.call::<EnvSwitch>(&switch("bad", &[])).await.unwrap_err().to_string();
            assert!(
                bad.contains("agent `a` stays under preset `old`") && bad.contains("[REDACTED]"),
                "{bad}"
            );
            for (params, part) in [
                (switch("nwe", &[]), "preset `nwe` is not known"),
                (switch("No", &[]), "preset name `No`"),
                (switch("new", &[("KEY", "mine")]), "the variables come from the preset"),
            ] {
                let error = peer.call::<EnvSwitch>(&params).await.unwrap_err().to_string();
                assert!(error.contains(part), "{error}");
            }
            assert_eq!(bench.answer("a").await, "old at https://old.example");
            let back = EnvRollbackParams { snapshot_id: snapshot.unwrap().snapshot_id };
            peer.call::<EnvRollback>(&back).await.unwrap();
            assert!(bench.state().read().unwrap().bindings.is_empty());
            old.unwrap();
        } else {
            for error in [snapshot.unwrap_err().to_string(), old.unwrap_err().to_string()] {
                assert!(error.contains(&format!("no {role} may call `env.")), "{error}");
            }
        }
        serving.abort();
        asking.abort();
    }
    assert!(
        bench.audit().ends_with("agent:a env.snapshot a denied\nagent:a env.switch a denied\n"),
        "{}",
        bench.audit()
    );
}
