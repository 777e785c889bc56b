use std::thread;

use super::*;

fn at(seconds: u64) -> Instant {
    Instant { nanos: seconds * 1_000_000_000 }
}

fn account(tenant: u64, user: u64) -> Account {
    Account {
        tenant: TenantId(tenant),
        user: UserId(user),
        tenant_name: format!("t{tenant}").into(),
        user_name: format!("u{user}").into(),
        team: None,
        key: None,
    }
}

fn of(name: &str) -> Whose {
    if name == "*" { Whose::Each } else { Whose::Of(name.to_owned()) }
}

fn each_user(limits: Limits) -> Quota {
    Quota { user: Some(of("*")), limits, ..Quota::default() }
}

fn reserve(
    ledger: &Arc<Ledger>,
    account: &Account,
    tokens: u32,
    now: u64,
) -> Result<Reservation, AccessError> {
    ledger.reserve(account, Price::default(), (Tokens(tokens), Tokens(0)), at(now))
}

fn settle(reservation: Result<Reservation, AccessError>, tokens: u32) {
    reservation.unwrap().settle(Tokens(tokens), Tokens(0));
}

fn refused(result: Result<Reservation, AccessError>) -> (&'static str, &'static str, Option<u64>) {
    match result {
        Err(AccessError::OverQuota { limit, of, retry_after }) => {
            (limit, of, retry_after.map(|wait| wait.as_secs()))
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("let through"),
    }
}

#[test]
fn rates_fill_evenly_and_what_was_used_beyond_is_owed() {
    let limits = Limits { tokens_per_minute: Some(600), requests_per_minute: Some(3), ..Limits::default() };
    let ledger = Ledger::new(vec![each_user(limits)]);
    let reserve = |tokens, now| reserve(&ledger, &account(1, 1), tokens, now);
    settle(reserve(500, 0), 100);
    settle(reserve(500, 0), 800);
    // 300 are owed, and 10 come back each second: 100 are there after 40 s.
    assert_eq!(refused(reserve(100, 0)), ("tokens_per_minute", "user", Some(40)));
    assert_eq!(refused(reserve(601, 0)).2, None, "more than there can ever be");
    settle(reserve(100, 40), 100);
    for _ in 0..2 {
        settle(reserve(0, 40), 0);
    }
    assert_eq!(refused(reserve(0, 40)).0, "requests_per_minute");
    super::tests::reserve(&ledger, &account(1, 2), 600, 40).unwrap();
}

#[test]
fn all_levels_are_taken_from_or_none() {
    let day = |most| Limits { tokens_per_day: Some(most), ..Limits::default() };
    let one = Limits { concurrent: Some(1), ..Limits::default() };
    let in_t1 = Quota { tenant: Some("t1".to_owned()), ..Quota::default() };
    let ledger = Ledger::new(vec![
        Quota { limits: day(1_000), ..in_t1.clone() },
        each_user(day(700)),
        Quota { user: Some(of("u9")), limits: one, ..in_t1 },
    ]);
    let reserve = |user, tokens| reserve(&ledger, &account(1, user), tokens, 0);
    let held = reserve(1, 600).unwrap();
    assert_eq!(refused(reserve(1, 200)), ("tokens_per_day", "user", Some(12_342)));
    assert_eq!(refused(reserve(2, 500)).1, "tenant");
    // What was refused by one was taken from none.
    held.settle(Tokens(0), Tokens(0));
    settle(reserve(2, 500), 500);
    settle(reserve(1, 500), 500);
    super::tests::reserve(&ledger, &account(2, 1), 700, 0).unwrap();
    let only = reserve(9, 0).unwrap();
    assert_eq!(refused(reserve(9, 0)), ("concurrent", "user", Some(1)));
    drop(only);
    reserve(9, 0).unwrap();
}

/// Nobody has more for having many keys, nor a team for having many users.
#[test]
fn a_team_and_a_user_do_not_grow_with_what_is_below_them() {
    let minute = |most| Limits { tokens_per_minute: Some(most), ..Limits::default() };
    let ledger = Ledger::new(vec![
        Quota { team: Some(of("ward")), limits: minute(1_000), ..Quota::default() },
        Quota { team: Some(of("ward")), user: Some(of("*")), limits: minute(300), ..Quota::default() },
        Quota { key: Some(of("*")), limits: minute(200), ..Quota::default() },
    ]);
    let ask = |tenant, user, team: Option<&str>, key: Option<String>, tokens| {
        let (team, key) = (team.map(Into::into), key.map(Into::into));
        reserve(&ledger, &Account { team, key, ..account(tenant, user) }, tokens, 0)
    };
    let ward = Some("ward");
    assert_eq!(refused(ask(1, 1, ward, Some("k".to_owned()), 201)).1, "key");
    let of_keys = (0..50).filter(|i| ask(1, 1, ward, Some(format!("k{i}")), 100).is_ok()).count();
    assert_eq!(of_keys, 3, "300 for the user");
    let of_users = (2..50).filter(|user| ask(1, *user, ward, None, 100).is_ok()).count();
    assert_eq!(of_users, 7, "1,000 for the team, of which 300 are used");
    assert_eq!(refused(ask(1, 51, ward, None, 1)).1, "team");
    // A team of this name in another tenant is another one, and who is in none is not limited by it.
    ask(2, 1, ward, None, 300).unwrap();
    ask(1, 1, None, None, 9_000).unwrap();
}

/// What turns out to be more than was thought is allowed, or nothing is changed; and what is owed is owed at once.
#[test]
fn what_is_set_aside_can_be_changed() {
    let limits = Limits { tokens_per_day: Some(1_000), ..Limits::default() };
    let ledger = Ledger::new(vec![each_user(limits)]);
    let reserve = |tokens| reserve(&ledger, &account(1, 1), tokens, 0);
    let mut first = reserve(400).unwrap();
    let mut second = reserve(400).unwrap();
    first.change(Tokens(300), Tokens(300)).unwrap();
    let refused_with = second.change(Tokens(401), Tokens(0)).err();
    assert!(matches!(refused_with, Some(AccessError::OverQuota { of: "user", .. })), "{refused_with:?}");
    second.change(Tokens(100), Tokens(0)).unwrap();
    second.owe(Tokens(100), Tokens(700));
    // 1,400 of 1,000.
    assert_eq!(refused(reserve(1)), ("tokens_per_day", "user", Some(34_646)));
    first.change(Tokens(100), Tokens(0)).unwrap();
    drop(first);
    second.settle(Tokens(100), Tokens(700));
    settle(reserve(100), 100);
    assert_eq!(refused(reserve(1)).0, "tokens_per_day");
}

#[test]
fn money_is_set_aside_and_settled_to_the_billionth() {
    let limits = Limits { spend_per_month: Some(10_000), spend_per_day: Some(8_000), ..Limits::default() };
    let ledger = Ledger::new(vec![each_user(limits)]);
    let price = Price { input: 3, output: 7 };
    let ask = |input, output, day: u64| {
        ledger.reserve(&account(1, 1), price, (Tokens(input), Tokens(output)), at(day * 86_400))
    };
    ask(1_000, 700, 0).unwrap().settle(Tokens(1_000), Tokens(11));
    // 3,077 of the 8,000 of the day are used.
    assert_eq!(refused(ask(0, 704, 0)).0, "spend_per_day");
    ask(0, 703, 0).unwrap().settle(Tokens(0), Tokens(703));
    assert_eq!(refused(ask(1, 0, 0)).0, "spend_per_day");
    // A day later 7,998 have come back of the day, and a thirtieth of what is a month's.
    assert_eq!(refused(ask(800, 0, 1)).0, "spend_per_month");
    ask(700, 0, 1).unwrap();
}

#[test]
fn what_was_used_before_a_restart_counts_on_the_long_periods() {
    let limits = Limits {
        tokens_per_day: Some(1_000),
        spend_per_month: Some(3_000),
        requests_per_minute: Some(1),
        ..Limits::default()
    };
    let ledger = Ledger::new(vec![each_user(limits)]);
    let month = MONTH.as_secs();
    let remember = |tokens, spend, days_ago: u64| {
        ledger.remember(&account(1, 1), Cost { tokens, spend }, at(month - days_ago * 86_400));
    };
    remember(900, 3_000, 2);
    remember(400, 0, 0);
    remember(500, 0, 0);
    assert_eq!(refused(reserve(&ledger, &account(1, 1), 101, month)).0, "tokens_per_day");
    let price = Price { input: 201, output: 0 };
    let dear = ledger.reserve(&account(1, 1), price, (Tokens(1), Tokens(0)), at(month));
    assert_eq!(refused(dear).0, "spend_per_month", "two of thirty days have come back");
    reserve(&ledger, &account(1, 1), 100, month).unwrap();
}

/// The largest limits that can be configured, for years.
#[test]
fn no_number_is_too_large() {
    let limits = Limits {
        tokens_per_day: Some(1 << 53),
        spend_per_month: Some(u64::MAX),
        requests_per_minute: Some(1 << 53),
        ..Limits::default()
    };
    let ledger = Ledger::new(vec![each_user(limits)]);
    let price = Price { input: u64::MAX, output: u64::MAX };
    let ask =
        |seconds| ledger.reserve(&account(1, 1), price, (Tokens(u32::MAX), Tokens(u32::MAX)), at(seconds));
    drop(ask(0));
    assert!(refused(ask(1)).2.is_some());
    drop(ask(10_000_000_000));
}

#[test]
fn a_race_for_the_last_tokens_is_won_exactly() {
    let limits = Limits { tokens_per_day: Some(1_000), ..Limits::default() };
    let ledger = Ledger::new(vec![Quota { limits, ..Quota::default() }]);
    let won: u64 = thread::scope(|scope| {
        let racers: Vec<_> = (0..500)
            .map(|user| {
                let ledger = &ledger;
                scope.spawn(move || match reserve(ledger, &account(1, user), 30, 0) {
                    Ok(reservation) => {
                        reservation.settle(Tokens(30), Tokens(0));
                        1
                    }
                    Err(_) => 0,
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(won, 33, "33 times 30 are 990");
    settle(reserve(&ledger, &account(1, 1), 10, 0), 10);
    assert_eq!(refused(reserve(&ledger, &account(1, 1), 1, 0)).0, "tokens_per_day");
}

#[test]
fn what_is_left_is_shown_to_those_who_may_see_it() {
    let limits = Limits { requests_per_minute: Some(10), concurrent: Some(3), ..Limits::default() };
    let ledger = Ledger::new(vec![each_user(limits)]);
    let open = reserve(&ledger, &account(1, 7), 5, 0).unwrap();
    for _ in 0..4 {
        settle(reserve(&ledger, &account(1, 8), 5, 0), 5);
    }
    settle(reserve(&ledger, &account(2, 9), 5, 0), 5);
    let left = |most: usize, tenants: &[u64]| -> Vec<(u64, Holds, &str, i64)> {
        let all = ledger.left(at(0), most, |tenant| tenants.contains(&tenant.0));
        all.into_iter().map(|left| (left.tenant.0, left.whose, left.limit, left.left)).collect()
    };
    let user = |user: u64| Holds::User(UserId(user));
    let (requests, at_once) = ("requests_per_minute", "concurrent");
    let of_one = [
        (1, user(7), at_once, 2),
        (1, user(7), requests, 9),
        (1, user(8), at_once, 3),
        (1, user(8), requests, 6),
    ];
    assert_eq!(left(100, &[1]), of_one);
    assert_eq!(left(100, &[1, 2]).len(), 6);
    assert_eq!(left(100, &[]), []);
    // Of very many those with the least share.
    assert_eq!(left(2, &[1, 2]), [of_one[0].clone(), of_one[3].clone()]);
    drop(open);
    assert_eq!(left(1, &[1]), [of_one[3].clone()]);
}
