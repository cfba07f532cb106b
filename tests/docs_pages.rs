//! `larder docs` as a command: pages from the config that everybody starts with, what makes a folder out of date, and what a
//! running proxy adds.

mod support;

use std::{fs, path::Path};

use support::{Origin, Play, Setup, larder};

/// `larder docs` over this config with these arguments; whether it succeeded, and what it said.
fn docs(config: &Path, args: &[&str]) -> (bool, String) {
    let output = larder()
        .args(["docs", "--config"])
        .arg(config)
        .args(args)
        .output()
        .expect("the binary runs");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

fn example() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.toml")
}

#[test]
fn the_example_has_a_page_for_each_upstream_and_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let out = folder.path().join("pages");
    let out_arg = out.to_str().expect("a path in text");
    let (done, said) = docs(&example(), &["--check", "--out", out_arg]);
    assert!(!done, "nothing is there yet: {said}");
    assert!(said.contains("README.md is missing"), "{said}");
    let (done, said) = docs(&example(), &["--offline", "--out", out_arg]);
    assert!(done, "{said}");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("it is written");
    let index = read("README.md");
    for name in ["pricing", "booking", "catalogue"] {
        assert!(index.contains(&format!("[{name}]({name}.md)")), "{index}");
    }
    let pricing = read("pricing.md");
    for want in [
        "| Owner | Vendor desk \\<support@vendor.example\\> |",
        "Fresh for 5s, whatever the vendor says",
        "visitors wait at most 300ms while a copy is at hand",
        "In an outage a copy is served for 24h",
        "a document of this site (200, application/json)",
        "No credentials are sent.",
        "No quota is configured.",
        "| Review by | **none**",
    ] {
        assert!(pricing.contains(want), "{want} in {pricing}");
    }
    docs(&example(), &["--offline", "--out", out_arg]);
    assert_eq!(read("pricing.md"), pricing);
    let (done, said) = docs(&example(), &["--check", "--out", out_arg]);
    assert!(done, "{said}");
}

#[test]
fn a_folder_is_out_of_date_when_the_config_says_something_else() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let config = folder.path().join("proxy.toml");
    let toml = |owner: &str, name: &str| {
        format!(
            "[upstream.{name}]\nendpoints = [\"https://api.example\"]\nowner = \"{owner}\"\ncredentials = {{ header = \"X-Key\", value = {{ env = \"LARDER_TEST_UNSET_SECRET\" }} }}\n[[route]]\npath = \"/\"\nupstream = \"{name}\"\n"
        )
    };
    fs::write(&config, toml("A", "api")).expect("written");
    let out = folder.path().join("pages");
    let out_arg = out.to_str().expect("a path in text");
    let (done, said) = docs(&config, &["--offline", "--out", out_arg]);
    assert!(done, "a secret need not be set: {said}");
    let page = fs::read_to_string(out.join("api.md")).expect("written");
    assert!(
        page.contains("environment variable `LARDER_TEST_UNSET_SECRET`"),
        "{page}"
    );

    fs::write(&config, toml("B", "api")).expect("written");
    let (done, said) = docs(&config, &["--check", "--out", out_arg]);
    assert!(!done && said.contains("api.md is out of date"), "{said}");
    let before = fs::read_to_string(out.join("api.md")).expect("still there");
    assert_eq!(before, page, "a check writes nothing");

    fs::write(&config, toml("B", "other")).expect("written");
    fs::write(out.join("notes.md"), "# Mine\n").expect("written");
    let (_, said) = docs(&config, &["--check", "--out", out_arg]);
    assert!(
        said.contains("api.md is of an upstream that is no more"),
        "{said}"
    );
    let (done, said) = docs(&config, &["--offline", "--out", out_arg]);
    assert!(done, "{said}");
    assert!(!out.join("api.md").exists());
    assert!(out.join("notes.md").exists(), "what others wrote stays");
    assert!(docs(&config, &["--check", "--out", out_arg]).0);

    fs::write(out.join("other.md"), "# Mine\n").expect("written");
    let (done, said) = docs(&config, &["--offline", "--out", out_arg]);
    assert!(!done && said.contains("is left alone"), "{said}");
}

#[test]
fn a_page_lists_the_fields_that_the_contract_relies_on() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let config = folder.path().join("proxy.toml");
    let toml = r#"
        [upstream.api]
        endpoints = ["https://api.example"]
        review_by = 2099-01-31
        [[route]]
        name = "prices"
        path = "/prices/{sku}"
        upstream = "api"
        [route.contract]
        schema = "price.json"
        rules = [
            { field = "/price", required = true, above = 0, max = 10000 },
            { field = "/currency", equals = "EUR" },
        ]
    "#;
    let schema =
        r#"{"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}"#;
    fs::write(&config, toml).expect("written");
    fs::write(folder.path().join("price.json"), schema).expect("written");
    let out = folder.path().join("pages");
    let out_arg = out.to_str().expect("a path in text");
    let (done, said) = docs(&config, &["--offline", "--out", out_arg]);
    assert!(done, "{said}");
    let page = fs::read_to_string(out.join("api.md")).expect("written");
    for want in [
        "| Review by | 2099-01-31 |",
        "What breaks the contract reaches nobody",
        "Their schema is `price.json`.",
        "| `/price` | required; above 0; max 10000 | rule |",
        "| `/currency` | equals EUR | rule |",
        "| `/sku` | required; string | schema |",
    ] {
        assert!(page.contains(want), "{want} in {page}");
    }
}

#[test]
fn a_name_that_is_not_there_and_a_config_that_is_not_valid_are_told() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let out = folder.path().join("pages");
    let out_arg = out.to_str().expect("a path in text");
    let args = ["--offline", "--out", out_arg, "--upstream", "nobody"];
    let (done, said) = docs(&example(), &args);
    assert!(
        !done && said.contains("there are: pricing, booking, catalogue"),
        "{said}"
    );
    let args = ["--offline", "--out", out_arg, "--upstream", "booking"];
    assert!(docs(&example(), &args).0);
    assert!(out.join("booking.md").exists() && !out.join("README.md").exists());
    let config = folder.path().join("proxy.toml");
    fs::write(&config, "[upstream.a]\nendpoints = []\n").expect("written");
    let (done, said) = docs(&config, &["--offline", "--out", out_arg]);
    assert!(!done && said.contains("endpoints"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_proxy_adds_what_it_has_seen() {
    let origin = Origin::start(|_| {
        Play::answer(
            200,
            &[
                ("sunset", "Sun, 06 Nov 2050 08:49:37 GMT"),
                ("cache-control", "no-store"),
            ],
            "{}",
        )
    })
    .await;
    let toml = "[upstream.api]\nendpoints = [\"{vendor}\"]\n[[route]]\nname = \"all\"\npath = \"/{*rest}\"\nupstream = \"api\"\n";
    let proxy = Setup::before(&origin, toml).start().await;
    proxy.get("/a").await;
    let folder = tempfile::tempdir().expect("a scratch folder");
    let config = folder.path().join("proxy.toml");
    fs::write(&config, toml.replace("{vendor}", origin.url())).expect("written");
    let out = folder.path().join("pages");
    let admin = format!("http://{}", proxy.admin_client().addr());
    let (at, dir) = (admin.clone(), out.clone());
    let run = move || {
        let dir = dir.to_str().expect("a path in text").to_owned();
        docs(&config, &["--admin", &at, "--out", &dir])
    };
    let (done, said) = tokio::task::spawn_blocking(run.clone())
        .await
        .expect("no panic");
    assert!(done, "{said}");
    let page = fs::read_to_string(out.join("api.md")).expect("written");
    for want in [
        "Observed at ",
        "Its breaker is closed.",
        "1 attempts since its start; none of them failed.",
        "Its sunset is 2050-11-06T08:49:37Z",
        "Answers since its start: ",
    ] {
        assert!(page.contains(want), "{want} in {page}");
    }
    let index = fs::read_to_string(out.join("README.md")).expect("written");
    assert!(index.contains("| asked as usual |"), "{index}");
    proxy.stop().await;
    let (done, said) = tokio::task::spawn_blocking(run).await.expect("no panic");
    assert!(done, "{said}");
    let page = fs::read_to_string(out.join("api.md")).expect("written");
    let want = format!("Not observed: no running larder at {admin}");
    assert!(page.contains(&want), "{page}");
}
