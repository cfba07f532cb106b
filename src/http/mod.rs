//! Words shared by all layers: bodies, problems, hop-by-hop fields. Knows no layer.

pub mod bodies;
pub mod body;
pub mod date;
pub mod fetch;
pub mod forwarded;
pub mod hop;
pub mod idempotency;
pub mod interim;
pub mod link;
pub mod max_forwards;
pub mod media_type;
pub mod method;
pub mod problem;
pub mod upgrade;
pub mod uri;
pub mod whole;

pub use body::{Body, BodyError};
pub use media_type::MediaType;
pub use problem::Problem;

/// A request on its way through the layers.
pub type Request = http::Request<Body>;
/// A response on its way back.
pub type Response = http::Response<Body>;
