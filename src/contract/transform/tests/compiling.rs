//! What is wrong with a program, and where.

use super::*;

#[test]
fn what_does_not_compile_says_what_and_where() {
    for (text, offset, message, hint) in [
        (
            ".a | upcase",
            5,
            "there is no function `upcase/0`",
            Some("did you mean `ascii_upcase/0`?"),
        ),
        (
            "map",
            0,
            "there is no function `map/0`",
            Some("`map` takes 1 arguments, not 0"),
        ),
        (
            ".a | frobnicate_it",
            5,
            "there is no function `frobnicate_it/0`",
            None,
        ),
        ("$x", 0, "there is no variable `$x` here", None),
        (
            ".a + $ENV.PATH",
            5,
            "`$ENV` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "env",
            0,
            "`env` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            ". | input",
            4,
            "`input` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "[inputs]",
            1,
            "`inputs` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "now",
            0,
            "`now` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "halt",
            0,
            "`halt` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "halt_error(1)",
            0,
            "`halt_error` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "repl",
            0,
            "`repl` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "localtime",
            0,
            "`localtime` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "include \"a\"; .",
            9,
            "a program cannot import or include other files",
            None,
        ),
        (
            ".a | ",
            5,
            "expected a filter, found the end of the program",
            None,
        ),
        (
            "",
            0,
            "expected a filter, found the end of the program",
            None,
        ),
        (".a | (.b", 5, "`(` is never closed", None),
        ("\"abc", 0, "`\"` is never closed", None),
        (".a b", 3, "`b` is not expected here", None),
        (
            "if . then 1",
            11,
            "expected `else` or `end`, found the end of the program",
            None,
        ),
        (".a & .b", 3, "`&` is not jq", None),
        (
            "_larder_call",
            0,
            "names that begin with `_larder_` are taken",
            None,
        ),
        ("break $x", 6, "there is no `label $x` here", None),
    ] {
        let got = Program::compile(text);
        let Err(error) = got else {
            panic!("{text}: it compiles");
        };
        let hint = hint.map(str::to_owned);
        let want = ProgramError {
            offset,
            message: message.to_owned(),
            hint,
        };
        assert_eq!(error, want, "{text}");
    }
}

#[test]
fn what_is_odd_to_compile_neither_panics_nor_overflows() {
    let long = "x".repeat(70_000);
    for text in [
        "(".repeat(50_000),
        "[".repeat(90) + &"]".repeat(90),
        ".|".repeat(4_000) + ".",
        "-".repeat(9_000) + "1",
        "1+".repeat(4_000) + "1",
        "1,".repeat(4_000) + "1",
        "1 as $x | ".repeat(2_000) + "1",
        "def f: ".repeat(2_000),
        "if . then ".repeat(6_000),
        "try ".repeat(16_000),
        "\"\\(".repeat(3_000),
        "reduce . as ".repeat(4_000),
        ".[".repeat(3_000),
        "\"\\ud800\"".to_owned(),
        "\u{0}".to_owned(),
        "é".to_owned(),
        long,
    ] {
        if let Ok(program) = Program::compile(&text) {
            // Whatever it gives: it ends.
            let _ = program.run_with(b"1", &Limits::default(), GRANT, Arc::new(|| false));
        }
    }
}
