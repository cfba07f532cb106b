//! From tables to the model: every value read, checked, resolved; then the checks that look at several tables at once.

mod contract;
mod drift;
mod headers;
mod limits;
mod policy;
mod process;
mod route;
mod schema;
mod rules;
mod sibling;
mod tags;
mod upstream;
mod transform;
mod version;

use std::{net::SocketAddr, sync::Arc};

use super::{
    AdminConfig, Config, DevConfig, Fixed, RouteConfig, ServerConfig, UpstreamConfig,
    reader::{Context, Table},
    values::{listed, nearest},
};

/// Compiles the whole file. What comes out is only good where no error was reported.
pub(super) fn compile(cx: &Context<'_>, root: &Table<'_>) -> Config {
    let server = process::server(&root.table("server"));
    let admin = process::admin(&root.table("admin"));
    let store = process::store(&root.table("store"));
    let log = process::log(&root.table("log"));
    let policies = policy::policies(root);
    let upstreams = upstream::upstreams(root);
    let routes = route::routes(root, &upstreams, &policies);
    let dev = dev(&root.table("dev"), &upstreams);
    check_addresses(root, &server, admin.as_ref());
    if !cx.findings.has_errors() {
        version::check(root, &upstreams, &routes);
        warn_unused(root, &upstreams, &routes);
    }
    Config {
        server,
        admin,
        store,
        log,
        upstreams,
        routes,
        dev,
        warnings: Vec::new(),
        fixed: Fixed::default(),
    }
}

fn dev(table: &Table<'_>, upstreams: &[Arc<UpstreamConfig>]) -> DevConfig {
    let upstream = table.text("upstream");
    if let Some(name) = &upstream
        && !upstreams.iter().any(|upstream| *upstream.name == **name)
    {
        let known = || upstreams.iter().map(|upstream| &*upstream.name);
        report_unknown_name(table, "upstream", name, known);
    }
    DevConfig {
        upstream: upstream.map(Arc::from),
        stub_file: table.path("stub_file"),
        control: Some(table.address("control")),
    }
}

/// A key names something that is not in the file.
fn report_unknown_name<'n, I>(table: &Table<'_>, key: &str, name: &str, known: impl Fn() -> I)
where
    I: Iterator<Item = &'n str>,
{
    let hint = match nearest(name, known()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if known().next().is_none() => format!("add a table `[{key}.{name}]`"),
        None => format!(
            "add a table `[{key}.{name}]`, or use one of {}",
            listed(known())
        ),
    };
    table
        .error(key, format!("there is no {key} named `{name}`"))
        .hint(hint);
}

fn check_addresses(root: &Table<'_>, server: &ServerConfig, admin: Option<&AdminConfig>) {
    let Some(admin) = admin else { return };
    if !overlap(server.listen, admin.listen) {
        return;
    }
    let (table, server) = (root.table("admin"), root.table("server"));
    // Point at what was written: with `server.listen = "127.0.0.1:9090"` the admin address is only a default.
    let (at, other) = if table.is_written("listen") {
        (&table, &server)
    } else {
        (&server, &table)
    };
    let message = format!("is the same address as {}", other.key("listen"));
    let added = at.error("listen", message).hint("give each its own port");
    if other.is_written("listen") {
        added.related(&other.span_of("listen"), "the other one");
    }
}

/// Whether two listeners would get into each other's way.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let is_wide = |address: SocketAddr| address.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || is_wide(a) || is_wide(b))
}

fn warn_unused(root: &Table<'_>, upstreams: &[Arc<UpstreamConfig>], routes: &[Arc<RouteConfig>]) {
    for (name, table) in root.named_tables("upstream") {
        let is_used = routes.iter().any(|route| *route.upstream.name == *name);
        if !is_used && upstreams.iter().any(|upstream| *upstream.name == *name) {
            warn_at(&table, "no route leads to this upstream");
        }
    }
    for (name, table) in root.named_tables("policy") {
        if !routes.iter().any(|route| *route.policy.name == *name) {
            warn_at(&table, "no route uses this policy");
        }
    }
}

fn warn_at(table: &Table<'_>, message: &str) {
    let (key, span) = (table.key(""), table.span());
    let key = key.trim_end_matches('.');
    table.cx.findings.warning(key, span, message);
}
