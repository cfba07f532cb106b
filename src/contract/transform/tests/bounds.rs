//! Every program ends, and leaves nothing behind.

use super::*;

/// Programs that do not end, or not before there is no room left.
const ENDLESS: [&str; 45] = [
    "def f: f; f",
    "def f: f, f; f",
    "def f: 1 + f; f",
    "def f: f | f; f",
    "def f: [f]; f",
    "def f: {a: f}; f",
    "def f: f as $x | $x; f",
    "def f($n): f($n + 1); f(0)",
    "def f($n): $n + f($n + 1); f(0)",
    "def f(g): f(g | . + 1); f(.)",
    "def f(g; h): f(g | h; h | g); f(.; .)",
    "def f(g): [f(g | . + 1)]; f(.)",
    "def a: def b: a; b; a",
    "def a(f): def b(g): a(g | f); b(f | f); a(.)",
    "last(range(1e15))",
    "[limit(1e12; repeat(1))]",
    "[limit(1e12; repeat(1))] | length",
    ". as $x | [range(1e9)] | length",
    "[range(1e9)]",
    "reduce range(1e12) as $i (0; . + 1)",
    "last(foreach range(1e12) as $i (0; . + $i; .))",
    "reduce range(60) as $i (\"x\"; . + .)",
    "reduce range(60) as $i ([0]; . + .)",
    "reduce range(60) as $i (0; [., .]) | tojson",
    "reduce range(60) as $i (0; [., .]) | [..] | length",
    "reduce range(60) as $i (0; [., .]) | last(..)",
    "(reduce range(60) as $i (0; [., .])) == (reduce range(60) as $i (0; [., .]))",
    "[(reduce range(60) as $i (0; [., .])), (reduce range(60) as $i (0; [., .]))] | sort",
    "reduce range(60) as $i (0; [., .]) | flatten",
    "reduce range(60) as $i (0; [., .]) | walk(. + 1)",
    "reduce range(60) as $i (0; [., .]) | contains(reduce range(60) as $i (0; [., .]))",
    "reduce range(60) as $i (0; [., .])",
    "reduce range(1e6) as $i (0; [.])",
    "reduce range(1e6) as $i (0; {a: .})",
    "reduce range(1e9) as $i (1; . * 1000000007)",
    "\"x\" * 1e12",
    "null | [limit(1000000; recurse(.[0]))] | last",
    "path(def r: .[0] | r; null | r)",
    "[path(def r: .[0:] | r; r)]",
    "path(last(recurse(.a)))",
    "def r: (.a | r) |= 1; r",
    "until(false; . + 1)",
    "[while(true; . + 1)]",
    "[recurse(. + 1)]",
    ".[1e12] = 1",
];

#[test]
fn every_program_ends_in_bounds() {
    let small = Grant {
        steps: 150_000,
        bytes: 4 << 20,
        contexts: 20_000,
        ..GRANT
    };
    for text in ENDLESS {
        let body = if text.contains("1e12] = 1") {
            "[]"
        } else {
            "null"
        };
        let got = run_with(text, body, small);
        let Err(breach) = got else {
            panic!("{text}: {got:?}");
        };
        assert_eq!(breach.kind, Kind::Transform, "{text}: {breach}");
    }
}

#[test]
fn what_hangs_together_in_a_chain_never_gets_too_long_to_be_dropped() {
    for (text, body, want) in [
        ("def f: 1 + f; f", "1", Stop::Stack),
        ("def f(g): f(g | . + 1); f(.)", "1", Stop::Stack),
        ("def f(g; h): f(g | h; h | g); f(.; .)", "1", Stop::Stack),
        (
            "def a(f): def b(g): a(g | f); b(f | f); a(.)",
            "1",
            Stop::Stack,
        ),
        ("reduce range(1e6) as $i (0; [.])", "1", Stop::Depth),
        ("path(last(recurse(.a)))", "null", Stop::Depth),
        ("[path(def r: .[0:] | r; r)]", "[]", Stop::Depth),
        ("[path(def r: .[0:] | r; r)]", "\"\"", Stop::Depth),
        ("def f: f, f; f", "1", Stop::Memory),
    ] {
        let got = run(text, body).map_err(|breach| breach.message);
        assert_eq!(got, Err(format!("the program {}", want.words())), "{text}");
    }
}

#[test]
fn where_a_program_stops_does_not_depend_on_the_machine() {
    let grant = Grant {
        steps: 100_000,
        ..GRANT
    };
    for (steps, want) in [(1_000, true), (200_000, false)] {
        let grant = Grant { steps, ..grant };
        let got = run_with("reduce range(1000) as $i (0; . + $i)", "null", grant);
        assert_eq!(got.is_err(), want, "{steps}: {got:?}");
    }
}

#[test]
fn time_ends_what_steps_have_not() {
    let limits = Limits::default();
    let grant = Grant {
        steps: u64::MAX / 2,
        ..GRANT
    };
    let looks = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let seen = Arc::clone(&looks);
    // Time is up at the third look at the clock.
    let is_late = Arc::new(move || seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2);
    let got = program("def f: f; f").run_with(b"1", &limits, grant, is_late);
    assert_eq!(
        got.map_err(|breach| breach.message),
        Err("the program took longer than time_max".to_owned())
    );
    assert_eq!(looks.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[test]
fn what_a_run_holds_is_given_back() {
    let evaluated = on_own_stack(STACK, || {
        let held = meter::run(GRANT, Arc::new(|| false), || {
            let filter = program("[range(100000)] | map({a: tostring}) | def f: f, f; f");
            let context = Ctx::<Jq>::new(Scope::new(&filter.0.filter.lut), Vars::new([]));
            filter.0.filter.id.run((context, Value::NULL)).count()
        });
        (held, meter::held())
    });
    let Ok((stopped, held)) = evaluated else {
        panic!("{evaluated:?}");
    };
    assert!(stopped.is_err(), "{stopped:?}");
    assert_eq!(held, (0, 0));
}
