//! `sibling` of a route: read with the route, resolved once all routes are known.

use crate::config::{
    RouteConfig, Sibling,
    reader::Table,
    template::PathTemplate,
    values::{self, Complaint, listed},
};

pub(super) fn read(table: &Table<'_>, path: Option<&PathTemplate>) -> Option<Sibling> {
    let path = path?;
    table.read("sibling", |value| {
        Sibling::parse(&values::line(value)?, path).map_err(|error| {
            let hint = match path.parameter_names().next() {
                Some(_) => format!("parameters of the path: {}", listed(path.parameter_names())),
                None => "the path has no parameters".to_owned(),
            };
            Complaint::new(error.to_string()).hint(hint)
        })
    })
}

/// Says of each sibling which routes could answer for it; one that none could is an error.
pub(super) fn resolve(routes: &mut [RouteConfig], tables: &[Table<'_>]) {
    let known = routes.to_vec();
    for (index, (route, table)) in routes.iter_mut().zip(tables).enumerate() {
        let Some(sibling) = &mut route.sibling else {
            continue;
        };
        sibling.resolve(&known);
        if sibling.leads_nowhere() {
            let message = format!("no route takes a GET of `{}`", sibling.as_str());
            let paths = known.iter().map(|route| route.path.as_str());
            table
                .error("sibling", message)
                .hint(format!("paths of the routes: {}", listed(paths)));
            continue;
        }
        let changes = &known[index].request_headers;
        let others = known.iter().enumerate();
        let mut reached = others.filter(|(index, _)| sibling.leads_to(*index));
        if reached.all(|(_, other)| other.request_headers != *changes) {
            let message = "leads to a route that changes other fields of a request than this one";
            table.error("sibling", message).hint(
                "what is stored is told apart by them: give both routes the same `request_headers`",
            );
        }
    }
}
