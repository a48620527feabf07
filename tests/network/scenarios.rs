//! Scenarios in virtual time: the shipped ones hold, and wrong files are refused with their lines.

use cairn::sim::scenario::{self, Report, Scenario, Virtual};

/// The shipped scenarios, by name.
fn shipped() -> Vec<(String, String)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let text = |path: &std::path::PathBuf| {
        (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
    };
    files.iter().map(text).collect()
}

/// Runs a scenario; answers the report and a hash over all that happened.
fn run(scenario: &Scenario, seed: u64) -> (Report, String) {
    let mut world = Virtual::new(scenario, seed).unwrap();
    let report = scenario::run(scenario, seed, &mut world, &mut |_| ()).unwrap();
    (report, world.trace())
}

#[test]
fn the_shipped_scenarios_hold() {
    let shipped = shipped();
    let names: Vec<&str> = shipped.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["eclipse", "fee-spike", "late-joiner", "partition", "selfish-miner"]);
    let docs = include_str!("../../docs/scenarios.md");
    for (name, text) in &shipped {
        let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (report, _) = run(&scenario, scenario.seed);
        assert!(report.holds && report.checks.len() >= 3, "{name}: {report:#?}");
        assert!(report.checks.iter().all(|check| text.lines().nth(check.line - 1).unwrap().starts_with("at = ")));
        assert!(docs.contains(&format!("scenarios/{name}.toml")), "docs/scenarios.md does not tell of {name}");
    }
}

#[test]
fn a_seed_repeats_a_run_and_another_changes_it() {
    let (_, text) = shipped().into_iter().find(|(name, _)| name == "partition").unwrap();
    let scenario = Scenario::parse(&text).unwrap();
    let runs = [3, 3, 4].map(|seed| run(&scenario, seed));
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0].1, runs[2].1);
}

const SMALL: &str = "\
title = 't'
about = 'a'
[[nodes]]
name = 'a'
[[nodes]]
name = 'b'
count = 2
";

fn small(rest: &str) -> Scenario {
    Scenario::parse(&format!("{SMALL}{rest}")).unwrap()
}

#[test]
fn a_check_that_does_not_hold_is_reported() {
    let scenario = small(
        "[[events]]\nat = '1s'\nmine = { node = 'a', blocks = 2 }\n\
         [[checks]]\nat = '2s'\nheight = { nodes = 'b', at_least = 2 }\n\
         [[checks]]\nat = '2s'\nwithin = '1s'\nnote = 'never'\nheight = { nodes = 'b', at_most = 1 }\n\
         [[checks]]\nat = '2s'\nmempool = { at_least = 1 }\n",
    );
    let (report, _) = run(&scenario, 1);
    assert!(!report.holds);
    let checks: Vec<_> = report.checks.iter().map(|check| (check.line, check.holds, check.seen.as_str())).collect();
    assert_eq!(checks, [(12, true, "2"), (20, false, "0"), (15, false, "2")]);
    assert_eq!(report.checks[2].note.as_deref(), Some("never"));
    // A second late: the time that it was given.
    assert_eq!(report.checks[2].at.as_millis(), 3_000);
}

/// Every event does what its name says.
#[test]
fn events_mean_what_they_say() {
    let scenario = small(
        "[[events]]\nat = '0s'\ncut = ['a', 'b']\n\
         [[checks]]\nat = '3s'\npeers = { of = 'a', at_most = 0 }\n\
         [[checks]]\nat = '3s'\npeers = { of = 'b', among = 'b', at_least = 1 }\n\
         [[events]]\nat = '4s'\nheal = ['a', 'b']\n\
         [[checks]]\nat = '4s'\nwithin = '3s'\npeers = { of = 'a', among = 'b', at_least = 2 }\n\
         [[events]]\nat = '10s'\nslow = { between = ['a', 'b'], delay = '2s' }\n\
         [[events]]\nat = '11s'\nmine = { node = 'a' }\n\
         [[checks]]\nat = '12s'\nheight = { nodes = 'b', at_most = 0 }\n\
         [[checks]]\nat = '12s'\nwithin = '8s'\nagree = 'all'\n\
         [[events]]\nat = '20s'\nstop = 'b-2'\n\
         [[events]]\nat = '21s'\npay = { name = 'p', through = ['a', 'b-2'], count = 2 }\n\
         [[checks]]\nat = '22s'\nmempool = { nodes = 'a', at_least = 1, at_most = 1 }\n\
         [[events]]\nat = '23s'\nmine = { node = 'a' }\n\
         [[events]]\nat = '24s'\nstart = 'b-2'\n\
         [[checks]]\nat = '24s'\nwithin = '30s'\nconfirmed = { payments = 'p', by = 'b-2', at_least = 1, at_most = 1 }\n\
         [[checks]]\nat = '54s'\nshare = { miner = 'a', at_least = 1 }\n",
    );
    let (report, _) = run(&scenario, 1);
    assert!(report.holds, "{report:#?}");
    assert_eq!((report.blocks, report.payments, report.checks.len()), (2, 1, 8));
    // A message that waits two seconds is not there after one, and is after some more.
    let agreed = report.checks.iter().find(|check| check.text == "all agree").unwrap();
    assert!(agreed.at.as_millis() > 13_000, "{agreed:?}");
}

#[test]
fn wrong_files_are_refused_with_their_lines() {
    let event = |rest: &str| format!("{SMALL}[[events]]\nat = '1s'\n{rest}\n");
    let check = |rest: &str| format!("{SMALL}[[checks]]\nat = '1s'\n{rest}\n");
    let cases = [
        ("title = 3".to_owned(), "line 1"),
        ("titel = 'x'".to_owned(), "unknown field `titel`"),
        ("title = 'x'\nabout = 'y'\nnodes = []".to_owned(), "line 3: expected a node"),
        (SMALL.replace("'b'", "'all'"), "line 6: \"all\" is no name"),
        (SMALL.replace("'b'", "'a b'"), "line 6: \"a b\" is no name"),
        (SMALL.replace("'b'\ncount = 2", "'a'"), "line 6: there are several nodes called \"a\""),
        (SMALL.replace("'a'", "'b-2'"), "line 6: there are several nodes called \"b-2\""),
        (SMALL.replace("count = 2", "count = 64"), "line 6: expected 1 to 64 nodes"),
        (SMALL.replace("count = 2", "count = 9223372036854775807"), "line 6: expected 1 to 64 nodes"),
        (SMALL.replace("count = 2", "power = -1.0"), "line 6: power"),
        (SMALL.replace("count = 2", "connects = 'c'"), "line 7: there is no node \"c\", only a, b"),
        (event(""), "line 9: an event is one of"),
        (event("mining = true\nstop = 'a'"), "line 9: an event is one of"),
        (event("cut = ['a', 'c']"), "line 10: there is no node \"c\""),
        (event("cut = ['a', 'a']"), "line 10: a node has no link to itself"),
        (event("slow = { between = ['a', 'b'] }"), "line 10: expected a delay"),
        (event("slow = { between = ['a', 'b'], loss = 1.5 }"), "line 10: loss"),
        (event("slow = { between = ['a', 'b'], delay = '61s' }"), "line 10: delay"),
        (event("mine = { node = 'b' }"), "line 10: \"b\" means several nodes"),
        (event("mine = { node = 'a', blocks = 0 }"), "line 10: blocks"),
        (event("pay = { name = 'p', through = 'a', count = 2001 }"), "line 10: count"),
        (event("pay = { name = 'p', through = 'a', rate = 0 }"), "line 10: rate"),
        (event("stop = []"), "line 10: expected a node at least"),
        (event("stop = 3"), "line 10"),
        (event("mining = true").replace("1s", "61m"), "line 9: 61m is later than an hour"),
        (event("mining = true").replace("1s", "soon"), "line 9"),
        (check(""), "line 9: a check is one of"),
        (check("height = { nodes = 'a' }"), "line 9: expected at_least, at_most or both"),
        (check("height = { at_least = 2, at_most = 1 }"), "line 9: at_least is more than at_most"),
        (check("height = { at_leest = 2 }"), "unknown field `at_leest`"),
        (check("confirmed = { payments = 'p', at_least = 1 }"), "line 10: there are no payments called \"p\""),
        (check("agree = 'c'"), "line 10: there is no node \"c\""),
        (
            check("agree = 'a'\nwithin = '1h'")
                .replace("[[nodes]]\nname = 'a'", "[mining]\nevery = '1ms'\n[[nodes]]\nname = 'a'"),
            "line 4: a block every 1ms",
        ),
        (
            event("cut = ['a', 'b']").replace("name = 'a'", "name = 'a'\nstrategy = 'selfish'"),
            "line 11: a mines selfishly",
        ),
    ];
    for (text, expected) in cases {
        let error = Scenario::parse(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error:?} for\n{text}");
    }
}
