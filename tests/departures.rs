//! `docs/departures.md` lists exactly the departures that the program knows of.
//!
//! After a change to `src/cache/explain/departures.rs`: `UPDATE_REFERENCE=1 cargo test --test departures` writes it.

use std::path::Path;

use larder::cache::departures_markdown;

#[test]
fn the_document_lists_exactly_the_departures_that_explain_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/departures.md");
    let want = departures_markdown();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &want).unwrap();
    }
    let got = std::fs::read_to_string(&path).unwrap();
    for (number, (got, want)) in got.lines().zip(want.lines()).enumerate() {
        assert_eq!(got, want, "docs/departures.md:{}", number + 1);
    }
    assert_eq!(got, want);
}
