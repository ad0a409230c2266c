//! Limits of a day and what is set aside: each test runs both stores.

use std::sync::atomic::{AtomicUsize, Ordering};

use aiswitch_lock::ProcessMark;
use aiswitch_tokens::{
    Amount, Cost, CostSource, NanoUsd, Quota, QuotaLevel, QuotaMode, QuotaScope, ReserveRequest, Reserved,
    TOKENS_MAX, Usage, UsageError, UsageRecord, UsageStore,
};
use jiff::{SignedDuration, Timestamp};

use crate::store::{record, stores};

const NOON: &str = "2026-11-23T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn limit(scope: QuotaScope, tokens: u64, mode: QuotaMode) -> Quota {
    Quota { scope, tokens: Some(tokens), usd: None, mode, zone: "UTC".into() }
}

fn agent(name: &str) -> QuotaScope {
    QuotaScope::Agent(name.into())
}

fn request(agent: &str, tokens: Option<u64>) -> ReserveRequest {
    ReserveRequest {
        agent: agent.into(),
        preset: None,
        estimate: tokens.map(|tokens| Amount { tokens, usd: NanoUsd(0) }),
        owner: ProcessMark::own(),
        until: at(NOON) + SignedDuration::from_hours(1),
    }
}

fn granted(store: &dyn UsageStore, request: &ReserveRequest) -> bool {
    match store.reserve(request, at(NOON)).unwrap() {
        Reserved::Granted { .. } => true,
        Reserved::Denied { .. } => false,
        Reserved::Unlimited => panic!("there is a limit"),
    }
}

/// A record of an agent at noon, with so many tokens.
fn used(name: &str, agent: &str, tokens: u64) -> UsageRecord {
    let usage = Usage { input_tokens: Some(tokens), output_tokens: Some(0), ..Usage::default() };
    UsageRecord { agent: agent.into(), usage: Some(usage), ..record(name, NOON, 0) }
}

#[test]
fn fifty_that_reserve_at_once_where_ten_have_room_are_ten() {
    // 200 with AISWITCH_TEST_LONG set.
    #[expect(clippy::disallowed_methods, reason = "a test asks how long it may take")]
    let rounds = if std::env::var_os("AISWITCH_TEST_LONG").is_some() { 200 } else { 4 };
    for _ in 0..rounds {
        for (store, _folder) in stores() {
            store.set_quota_limit(&limit(agent("claude"), 1_000, QuotaMode::Hard)).unwrap();
            let passed = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..50 {
                    scope.spawn(|| {
                        let is_granted = granted(&*store, &request("claude", Some(100)));
                        passed.fetch_add(usize::from(is_granted), Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(passed.into_inner(), 10, "{store:?}");
        }
    }
}

#[test]
fn what_is_set_aside_is_free_again_when_settled_released_over_or_its_owner_ended() {
    for (store, _folder) in stores() {
        store.set_quota_limit(&limit(agent("claude"), 1_000, QuotaMode::Hard)).unwrap();
        let Reserved::Granted { id, amount, .. } =
            store.reserve(&request("claude", Some(900)), at(NOON)).unwrap()
        else {
            panic!("all of it is free");
        };
        assert_eq!(amount.tokens, 900);
        assert!(!granted(&*store, &request("claude", Some(200))));
        store.settle(&[id], &[used("m", "claude", 300)]).unwrap();
        let status = store.check_quota("claude", None, at(NOON)).unwrap().remove(0);
        assert_eq!((status.used.tokens, status.reserved.tokens), (300, 0));
        assert_eq!(status.tokens_remaining(), Some(700));

        let Reserved::Granted { id, .. } = store.reserve(&request("claude", Some(700)), at(NOON)).unwrap()
        else {
            panic!("700 are left");
        };
        assert!(!granted(&*store, &request("claude", Some(1))));
        store.settle(&[id], &[]).unwrap();

        let over = ReserveRequest { until: at(NOON), ..request("claude", Some(700)) };
        assert!(granted(&*store, &over));
        // A process whose number nobody has, of this machine and this boot.
        let own = ProcessMark::own().to_string();
        let ended = format!("4194305 {}", own.split_once(' ').unwrap().1);
        let orphan = ReserveRequest { owner: ProcessMark::of(ended), ..request("claude", Some(700)) };
        assert!(granted(&*store, &orphan), "the one before is over");
        assert!(granted(&*store, &request("claude", Some(700))), "the owner of the one before has ended");
        assert!(!granted(&*store, &request("claude", Some(1))), "this one lives");
        assert_eq!(store.check_quota("claude", None, at(NOON)).unwrap()[0].reserved.tokens, 700);
    }
}

#[test]
fn a_limit_is_for_its_agent_its_preset_or_all_and_for_its_own_day() {
    for (store, _folder) in stores() {
        store.set_quota_limit(&limit(agent("claude"), 100, QuotaMode::Hard)).unwrap();
        let work = ReserveRequest { preset: Some("work".into()), ..request("codex", Some(60)) };
        assert_eq!(store.reserve(&work, at(NOON)).unwrap(), Reserved::Unlimited);
        store.set_quota_limit(&limit(QuotaScope::Preset("work".into()), 100, QuotaMode::Hard)).unwrap();
        assert!(granted(&*store, &work));
        assert!(!granted(&*store, &work));
        store.set_quota_limit(&limit(QuotaScope::Global, 130, QuotaMode::Hard)).unwrap();
        assert!(granted(&*store, &request("claude", Some(70))));
        let Reserved::Denied { status, .. } = store.reserve(&request("any", Some(1)), at(NOON)).unwrap()
        else {
            panic!("all is set aside");
        };
        assert_eq!(status.to_string(), "all agents: 0 of 130 tokens of today are used and 130 set aside");

        let berlin = Quota { zone: "Europe/Berlin".into(), ..limit(agent("other"), 100, QuotaMode::Hard) };
        store.set_quota_limit(&berlin).unwrap();
        let yesterday = UsageRecord { at: at("2026-11-22T22:59:59Z"), ..used("y", "other", 80) };
        let today = UsageRecord { at: at("2026-11-22T23:00:00Z"), ..used("t", "other", 7) };
        store.track_usage(&[yesterday, today]).unwrap();
        let statuses = store.check_quota("other", None, at(NOON)).unwrap();
        assert_eq!(statuses.iter().map(|status| status.used.tokens).collect::<Vec<_>>(), [0, 7]);
        assert_eq!(statuses[1].since, at("2026-11-22T23:00:00Z"));

        let scopes: Vec<QuotaScope> = store.quotas().unwrap().into_iter().map(|quota| quota.scope).collect();
        let expected =
            [QuotaScope::Global, agent("claude"), agent("other"), QuotaScope::Preset("work".into())];
        assert_eq!(scopes, expected);
        assert!(store.remove_quota(&QuotaScope::Global).unwrap());
        assert!(!store.remove_quota(&QuotaScope::Global).unwrap());
    }
}

#[test]
fn a_soft_limit_tells_and_one_that_is_off_does_nothing() {
    for (store, _folder) in stores() {
        store.set_quota_limit(&limit(agent("claude"), 100, QuotaMode::Off)).unwrap();
        assert_eq!(store.reserve(&request("claude", Some(500)), at(NOON)).unwrap(), Reserved::Unlimited);
        store.set_quota_limit(&limit(agent("claude"), 100, QuotaMode::Soft)).unwrap();
        let near = |tokens| match store.reserve(&request("claude", Some(tokens)), at(NOON)).unwrap() {
            Reserved::Granted { near, .. } => near.first().map(aiswitch_tokens::QuotaStatus::level),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [near(79), near(1), near(500)],
            [None, Some(QuotaLevel::Near), Some(QuotaLevel::Exceeded)]
        );
    }
}

#[test]
fn money_is_limited_beside_tokens_and_what_has_no_price_is_counted_apart() {
    for (store, _folder) in stores() {
        let quota = Quota { usd: Some(NanoUsd(1_000)), ..limit(agent("claude"), 1_000, QuotaMode::Hard) };
        store.set_quota_limit(&quota).unwrap();
        let cost = Cost { usd: Some(NanoUsd(600)), source: CostSource::Reported };
        let priced = UsageRecord { cost, ..used("p", "claude", 10) };
        store.track_usage(&[priced, used("u", "claude", 10)]).unwrap();
        let status = store.check_quota("claude", None, at(NOON)).unwrap().remove(0);
        assert_eq!((status.used, status.unpriced), (Amount { tokens: 20, usd: NanoUsd(600) }, 1));
        assert_eq!((status.usd_remaining(), status.level()), (Some(NanoUsd(400)), QuotaLevel::Within));
        let costing = |nanos| ReserveRequest {
            estimate: Some(Amount { tokens: 1, usd: NanoUsd(nanos) }),
            ..request("claude", None)
        };
        assert!(!granted(&*store, &costing(401)));
        assert!(granted(&*store, &costing(400)));
    }
}

#[test]
fn without_an_estimate_the_average_of_the_last_runs_is_set_aside() {
    for (store, _folder) in stores() {
        store.set_quota_limit(&limit(agent("claude"), 1_000, QuotaMode::Hard)).unwrap();
        let reserve = || store.reserve(&request("claude", None), at(NOON)).unwrap();
        let Reserved::Granted { id, amount, .. } = reserve() else { panic!("nothing is used") };
        assert_eq!(amount, Amount::UNKNOWN, "a guess beyond the limit keeps the first from nothing");
        assert!(matches!(reserve(), Reserved::Denied { .. }), "and the second waits for what it really uses");
        let run = |name: &str, tokens| UsageRecord { run: Some("r".into()), ..used(name, "claude", tokens) };
        store.settle(&[id], &[run("a", 100), run("b", 201), used("of no run", "claude", 9)]).unwrap();
        let Reserved::Granted { amount, .. } = reserve() else { panic!("690 are left") };
        assert_eq!((amount.tokens, amount.usd), (151, Amount::UNKNOWN.usd));
    }
}

#[test]
fn limits_that_are_none_are_refused() {
    for (store, _folder) in stores() {
        let good = limit(agent("claude"), 1, QuotaMode::Hard);
        for (wrong, told) in [
            (Quota { tokens: None, ..good.clone() }, "a quota limits neither tokens nor money"),
            (Quota { scope: agent(""), ..good.clone() }, "a record has no name"),
            (
                Quota { zone: "Mars/Olympus".into(), ..good.clone() },
                "zone `Mars/Olympus` is not one of the IANA list",
            ),
            (Quota { tokens: Some(TOKENS_MAX + 1), ..good.clone() }, "1000000000001 tokens are more than"),
            (Quota { usd: Some(NanoUsd(u64::MAX)), ..good.clone() }, "$18446744073.709551615 is more than"),
        ] {
            let refused = store.set_quota_limit(&wrong).unwrap_err().to_string();
            assert!(refused.starts_with(told), "{refused}");
        }
        let nameless = store.reserve(&request("", Some(1)), at(NOON)).unwrap_err();
        assert!(matches!(nameless, UsageError::EmptyLabel { field: "agent" }));
        assert_eq!(store.quotas().unwrap(), []);
    }
}
