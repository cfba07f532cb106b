//! Credentials: fields that only the upstream may see. Added last, replacing what a client sent under that name.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use super::UpstreamError;
use crate::config::Credential;

/// Fields ready to be sent. Their values are marked sensitive: never printed, never indexed by HPACK.
#[derive(Clone, Default)]
pub struct Credentials(Vec<(HeaderName, HeaderValue)>);

impl Credentials {
    /// Compiles the configured ones.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Credential`] for a value that no field can carry.
    pub fn new(configured: &[Credential]) -> Result<Self, UpstreamError> {
        let compiled = configured.iter().map(|credential| {
            let mut value =
                HeaderValue::from_str(credential.value.expose_secret()).map_err(|_| {
                    UpstreamError::Credential {
                        header: credential.header.clone(),
                    }
                })?;
            value.set_sensitive(true);
            Ok((credential.header.clone(), value))
        });
        compiled.collect::<Result<_, _>>().map(Self)
    }

    /// Puts them on a request.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, _) in &self.0 {
            headers.remove(name);
        }
        for (name, value) in &self.0 {
            headers.append(name, value.clone());
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    fn credential(value: &str) -> Credential {
        Credential {
            header: AUTHORIZATION,
            value: value.to_owned().into(),
            source: "file `token`".into(),
        }
    }

    #[test]
    fn a_client_cannot_send_its_own_in_our_place() {
        let credentials = Credentials::new(&[credential("Bearer s3cret")]).expect("valid");
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer mine"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer again"));
        credentials.apply(&mut headers);
        let sent: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(sent, ["Bearer s3cret"]);
    }

    #[test]
    fn the_value_is_never_shown() {
        let credentials = Credentials::new(&[credential("Bearer s3cret")]).expect("valid");
        let mut headers = HeaderMap::new();
        credentials.apply(&mut headers);
        let error = Credentials::new(&[credential("s3cret\n")]).expect_err("line break");
        for shown in [
            format!("{credentials:?}"),
            format!("{headers:?}"),
            format!("{error} {error:?}"),
        ] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
