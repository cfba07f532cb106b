//! The admin API of a running proxy, as commands ask it: where it is, what it wants to see, and what its refusals mean.

use std::{error::Error as _, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::Args;
use http::{
    HeaderValue, Method, Request, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{CliError, runtime};
use crate::config;

/// Longest wait for an answer: twice the time after which the proxy gives its own disk up by default.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Which proxy is meant.
#[derive(Args, Clone, Debug)]
pub(super) struct AdminArgs {
    /// Configuration of the running proxy: where its admin API is, and the token
    #[arg(long, short, value_name = "FILE", default_value = "proxy.toml")]
    pub config: PathBuf,
    /// The admin API itself (http://127.0.0.1:9090); the configuration is not read then
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// Environment variable that holds the admin API's token
    #[arg(long, value_name = "NAME")]
    pub token_env: Option<String>,
}

/// Asks one admin API.
#[derive(Debug)]
pub(super) struct AdminClient {
    base: String,
    token: Option<SecretString>,
}

impl AdminArgs {
    /// The client for this proxy.
    ///
    /// # Errors
    ///
    /// [`CliError::Setup`] where it cannot be known where the proxy is, or the token is not there.
    pub(super) fn client(&self) -> Result<AdminClient, CliError> {
        let token = self.token_env.as_deref().map(token_of).transpose()?;
        if let Some(url) = &self.admin {
            let base = base_of(url)?;
            return Ok(AdminClient { base, token });
        }
        let config = config::load(&self.config).map_err(|errors| {
            CliError::Setup(format!(
                "{errors}\nto do without the configuration, name the admin API: --admin http://127.0.0.1:9090"
            ))
        })?;
        let shown = self.config.display();
        let Some(admin) = config.admin else {
            return Err(CliError::Setup(format!(
                "the admin API is turned off in {shown}: set `enabled = true` in [admin] and restart the proxy"
            )));
        };
        if admin.listen.port() == 0 {
            return Err(CliError::Setup(format!(
                "{shown} lets the system choose the admin API's port: look it up in the proxy's log and name it with \
                 --admin"
            )));
        }
        Ok(AdminClient {
            base: format!("http://{}", reachable(admin.listen)),
            token: token.or(admin.token),
        })
    }
}

fn token_of(name: &str) -> Result<SecretString, CliError> {
    match std::env::var(name) {
        Ok(token) if !token.is_empty() => Ok(SecretString::from(token)),
        _ => Err(CliError::Setup(format!(
            "the environment variable {name} is not set: put the token of [admin] in it"
        ))),
    }
}

/// `http://host:port`, from that or from `host:port`.
fn base_of(text: &str) -> Result<String, CliError> {
    let text = text.trim().trim_end_matches('/');
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let is_base = url.parse::<Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("http") && uri.authority().is_some() && uri.path() == "/"
    });
    if !is_base {
        return Err(CliError::Setup(format!(
            "`{text}` is no admin API: write --admin http://127.0.0.1:9090"
        )));
    }
    Ok(url)
}

/// A listener on all addresses is reached on this machine's own.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

impl AdminClient {
    /// `POST path` with this document; what is answered.
    ///
    /// # Errors
    ///
    /// [`CliError::Setup`] where the proxy does not understand what is asked; else [`CliError::Failed`].
    pub(super) fn post(&self, path: &str, document: &Value) -> Result<Value, CliError> {
        let content = Bytes::from(document.to_string());
        runtime(1)?.block_on(self.ask(Method::POST, path, content))
    }

    /// Where it is: `http://127.0.0.1:9090`.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// `GET path`; what is answered.
    ///
    /// # Errors
    ///
    /// As for [`AdminClient::post`]; [`CliError::NoProxy`] where nobody answers.
    pub(super) fn get(&self, path: &str) -> Result<Value, CliError> {
        runtime(1)?.block_on(self.ask(Method::GET, path, Bytes::new()))
    }

    async fn ask(&self, method: Method, path: &str, content: Bytes) -> Result<Value, CliError> {
        let mut request = Request::new(Full::new(content));
        *request.method_mut() = method;
        let target = format!("{}{path}", self.base);
        *request.uri_mut() = target.parse().map_err(CliError::setup)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            let value = format!("Bearer {}", token.expose_secret());
            let mut value = HeaderValue::try_from(value).map_err(|_| {
                CliError::Setup("the token has what cannot stand in a field".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let answer = tokio::time::timeout(PATIENCE, self.send(request)).await;
        let (status, content) = answer.map_err(|_| {
            CliError::Failed(format!(
                "{} did not answer within {PATIENCE:?}; look at its log",
                self.base
            ))
        })??;
        let document = serde_json::from_slice::<Value>(&content);
        match document {
            Ok(document) if status.is_success() => Ok(document),
            document => Err(self.refused(status, &document.unwrap_or_default())),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), CliError> {
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.map_err(|error| {
            let cause = error.source().and_then(|cause| cause.source());
            let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
            CliError::NoProxy(format!(
                "no proxy answers on {} ({cause}): start it with `larder serve`, or name another with --admin",
                self.base
            ))
        })?;
        let status = response.status();
        let content = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let content = content.collect().await.map_err(|error| {
            CliError::Failed(format!("the answer of {} broke off: {error}", self.base))
        })?;
        Ok((status, content.to_bytes()))
    }

    /// What a refusal means for whoever ran the command.
    fn refused(&self, status: StatusCode, problem: &Value) -> CliError {
        let detail = problem["detail"].as_str().unwrap_or_default();
        match status {
            StatusCode::UNAUTHORIZED => CliError::Setup(format!(
                "{} asks for a token: name the variable that holds it with --token-env, or the proxy's configuration \
                 with --config",
                self.base
            )),
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN if !detail.is_empty() => {
                CliError::Setup(detail.to_owned())
            }
            _ if status.is_success() || status == StatusCode::NOT_FOUND => {
                CliError::Setup(format!(
                    "{} is no admin API of this version of larder ({status})",
                    self.base
                ))
            }
            _ => CliError::Failed(format!("{} answered {status}: {detail}", self.base)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_api_is_named_by_its_address() {
        for (text, want) in [
            ("http://127.0.0.1:9090", Some("http://127.0.0.1:9090")),
            ("http://127.0.0.1:9090/", Some("http://127.0.0.1:9090")),
            ("localhost:9090", Some("http://localhost:9090")),
            ("https://admin.example", None),
            ("http://127.0.0.1:9090/api", None),
            ("", None),
        ] {
            assert_eq!(base_of(text).ok().as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_this_machine() {
        for (listen, want) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.1:9090", "10.0.0.1:9090"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), want);
        }
    }
}
