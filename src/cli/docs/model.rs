//! What a page says, before it is Markdown: plain text from the config and from a running proxy. All of it is escaped by
//! whoever renders it.

/// One integration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Page {
    /// Name of the upstream.
    pub name: String,
    /// File name of its page.
    pub file: String,
    pub owner: Option<String>,
    pub runbook: Option<String>,
    /// `2027-01-31`
    pub review_by: Option<String>,
    pub endpoints: Vec<Endpoint>,
    /// Protocol, health checks and the like, a sentence each.
    pub connection: Vec<String>,
    pub auth: Vec<Auth>,
    pub limits: Vec<String>,
    pub failing: Vec<String>,
    pub version: Option<String>,
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Endpoint {
    pub url: String,
    pub priority: u32,
}

/// A credential: never its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Auth {
    pub header: String,
    /// In words: "environment variable `TOKEN`".
    pub source: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Route {
    pub name: String,
    /// `GET HEAD shop.example/prices/{sku}`
    pub asked: String,
    /// What the upstream is asked for: `/v2/prices/{sku}`
    pub sent: String,
    /// Further sentences about what is sent.
    pub sends: Vec<String>,
    pub version: Option<String>,
    /// Freshness and staleness, a sentence each.
    pub promise: Vec<String>,
    /// What visitors see while it fails, best first.
    pub ladder: Vec<String>,
    pub relied: Relied,
}

/// What a route relies on in answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Relied {
    /// About the contract as a whole, a sentence each.
    pub notes: Vec<String>,
    pub fields: Vec<Field>,
    /// Fields that are left out because there are too many.
    pub more: usize,
    /// The jq program.
    pub transform: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// As the contract names it: `/price`, `$.items[*].sku`
    pub field: String,
    /// What holds of it: "required; above 0".
    pub what: String,
    /// Where that is said: "rules", "schema", "records".
    pub by: &'static str,
}

/// What a running proxy has seen of one integration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// In a word, for the index: "closed", "open", "breaches".
    pub state: String,
    /// About the upstream, a sentence each.
    pub upstream: Vec<String>,
    /// About each of its routes: name and sentences.
    pub routes: Vec<(String, Vec<String>)>,
}

/// Whether there is anything seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Observation {
    /// Nobody looked (`--offline`).
    Offline,
    /// Nobody was there to be looked at: why.
    Absent(String),
    /// When, and what.
    At {
        /// `2027-01-15T08:00:00Z`
        time: String,
        /// Where.
        admin: String,
        /// By upstream.
        seen: Vec<(String, Seen)>,
    },
}

impl Observation {
    /// What was seen of this upstream.
    pub(super) fn of(&self, upstream: &str) -> Option<&Seen> {
        match self {
            Self::At { seen, .. } => {
                let found = seen.iter().find(|(name, _)| name == upstream);
                found.map(|(_, seen)| seen)
            }
            Self::Offline | Self::Absent(_) => None,
        }
    }
}
