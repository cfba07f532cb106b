use serde_json::json;

use super::*;

#[test]
fn members_that_tell_of_pages_are_named_with_their_place() {
    for (name, document, want) in [
        (
            "at the top",
            json!({"next": "/b", "items": []}),
            "/next=\"/b\"",
        ),
        (
            "below links",
            json!({"_links": {"next": {"href": "/b"}}}),
            "/_links/next={…}",
        ),
        (
            "in a list of links",
            json!({"meta": {"total": 7, "per_page": 2}}),
            "/meta/per_page=2|/meta/total=7",
        ),
        (
            "a cursor",
            json!({"next_cursor": null, "has_more": false}),
            "/has_more=false|/next_cursor=null",
        ),
        (
            "a total alone is that of a bill",
            json!({"total": 12.5}),
            "",
        ),
        ("a list", json!([1]), ""),
    ] {
        let got: Vec<String> = page_members(&document)
            .into_iter()
            .map(|(place, value)| format!("{place}={value}"))
            .collect();
        assert_eq!(got.join("|"), want, "{name}");
    }
}
