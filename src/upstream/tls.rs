//! TLS towards an upstream: rustls over ring, the system's certificate authorities or the ones of `ca_file`.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::UpstreamError;

/// Whom to believe.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Nobody: every endpoint is in the clear.
    Nobody,
    /// The system's certificate authorities.
    System,
    /// Only those in this PEM file.
    File(&'a Path),
}

/// A client's TLS settings: TLS 1.2 and 1.3, server certificates checked, no ALPN yet.
///
/// # Errors
///
/// Where there is nobody to trust; each says what to do.
pub fn client_config(trust: Trust<'_>) -> Result<ClientConfig, UpstreamError> {
    let roots = roots(trust)?;
    // Named, not the process default: that may be unset, or set by somebody else.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(UpstreamError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The certificate authorities to believe.
///
/// # Errors
///
/// Where there is nobody to trust.
pub fn roots(trust: Trust<'_>) -> Result<RootCertStore, UpstreamError> {
    match trust {
        Trust::Nobody => Ok(RootCertStore::empty()),
        Trust::System => system_roots(),
        Trust::File(path) => file_roots(path),
    }
}

fn system_roots() -> Result<RootCertStore, UpstreamError> {
    let mut roots = RootCertStore::empty();
    // Some odd certificate is no reason to distrust the others.
    let found = rustls_native_certs::load_native_certs();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(UpstreamError::NoSystemRoots);
    }
    Ok(roots)
}

fn file_roots(path: &Path) -> Result<RootCertStore, UpstreamError> {
    let unreadable = |source| UpstreamError::CaFile {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(UpstreamError::CaFileEmpty {
            path: path.to_owned(),
        });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn an_unusable_ca_file_is_named_with_what_to_do() {
        let missing = client_config(Trust::File(Path::new("no/such/ca.pem"))).expect_err("missing");
        assert!(missing.to_string().contains("no/such/ca.pem"), "{missing}");
        let mut file = tempfile::NamedTempFile::new().expect("scratch file");
        file.write_all(b"not PEM at all\n").expect("written");
        let empty = client_config(Trust::File(file.path())).expect_err("no certificate");
        assert!(
            matches!(empty, UpstreamError::CaFileEmpty { .. }),
            "{empty}"
        );
        assert!(empty.to_string().contains("CERTIFICATE"), "{empty}");
    }
}
