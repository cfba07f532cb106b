//! What random runs have found, as they were cut down: each went wrong once.

use crate::{
    PLAIN, Wrong,
    dice::Dice,
    known::Rules,
    play,
    rules::Model,
    script::{Ask, Fields, Play, Step, What},
    world::World,
};

type Lines<'l> = &'l [(&'static str, &'static str)];

fn fields(lines: Lines<'_>) -> Fields {
    let line = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
    lines.iter().map(line).collect()
}

/// A request, and what the origin answers to it.
fn ask(method: &'static str, asked: Lines<'_>, what: What, answered: Lines<'_>) -> Step {
    Step::Ask(Ask {
        method,
        path: "/a",
        fields: fields(asked),
        changed: false,
        plays: vec![Play {
            what,
            takes: 0,
            ranges: true,
            fields: fields(answered),
        }],
    })
}

#[tokio::test(start_paused = true)]
async fn runs_that_went_wrong_once_go_right() {
    let whole = What::Whole(200);
    let begin: Lines<'_> = &[("range", "bytes=0-9")];
    let rest: Lines<'_> = &[("range", "bytes=10-")];
    let strong = ("etag", "{strong}");
    let mut wrong = Vec::new();
    for (name, steps) in [
        (
            "a range that is not there was an error for everybody",
            vec![
                ask(
                    "GET",
                    &[("range", "bytes=9999-")],
                    whole,
                    &[("cache-control", "max-age=60")],
                ),
                ask("GET", &[], whole, &[]),
            ],
        ),
        (
            "a part of something else came to a client that asked for more of what it has",
            vec![
                ask("GET", begin, whole, &[strong]),
                ask(
                    "GET",
                    &[begin[0], ("if-range", "{strong}")],
                    whole,
                    &[("etag", "\"odd\"")],
                ),
            ],
        ),
        (
            "a part forgot what the other part had said about its use",
            vec![
                ask(
                    "GET",
                    begin,
                    whole,
                    &[strong, ("cache-control", "no-cache")],
                ),
                ask("GET", rest, whole, &[strong, ("expires", "{t+100}")]),
                ask("GET", begin, whole, &[strong]),
            ],
        ),
        (
            "a part forgot what the other part varies by",
            vec![
                ask("GET", begin, whole, &[strong, ("vary", "x-other")]),
                ask(
                    "GET",
                    rest,
                    whole,
                    &[strong, ("cache-control", "max-age=60")],
                ),
                ask("GET", &[begin[0], ("x-other", "1")], whole, &[strong]),
            ],
        ),
        (
            "what came before the clock was set back hid what came after",
            vec![
                ask("GET", &[], whole, &[("vary", "accept-language, x-other")]),
                Step::Clock(-3600),
                ask(
                    "GET",
                    &[("x-other", "1")],
                    whole,
                    &[("vary", "accept-language"), ("cache-control", "max-age=60")],
                ),
                ask("GET", &[], whole, &[]),
            ],
        ),
    ] {
        let mut world = World::new(PLAIN);
        let mut model = Model::new(Rules::plain());
        if let Err(Wrong { why, story }) = play(&mut world, &mut model, &steps, true).await {
            wrong.push(format!("{name}: {why}\n{story}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same seed is the same run, here and in a year.
#[test]
fn a_seed_is_a_run() {
    let mut dice = Dice::new(1);
    assert_eq!(dice.next(), 0x910a_2dec_8902_5cc1);
}
