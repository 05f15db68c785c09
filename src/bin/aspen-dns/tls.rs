//! Whose certificates are trusted where a node's URL begins with https, and what is wrong with one.
//!
//! **Invariant:** a certificate is always checked; there is no flag that trusts any.
//! **Not here:** requests (`client`); the node's own side, which speaks plain HTTP.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, RootCertStore};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// Returns how nodes are asked by https: trusted is what `ca`, a file, holds, or else what the
/// system trusts, which is read when the first node is asked.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn config(ca: Option<&Path>) -> anyhow::Result<TlsConfig> {
    let roots = match ca {
        Some(file) => {
            let text = std::fs::read(file);
            let roots = text.map_err(anyhow::Error::from).and_then(|text| read_roots(&text));
            RootCerts::Specific(Arc::new(
                roots.with_context(|| format!("--ca {}", file.display()))?,
            ))
        }
        None => RootCerts::PlatformVerifier,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = TlsConfig::builder().root_certs(roots);
    Ok(config.unversioned_rustls_crypto_provider(provider).build())
}

/// Reads the certificates of a PEM file.
fn read_roots(text: &[u8]) -> anyhow::Result<Vec<Certificate<'static>>> {
    let mut roots = Vec::new();
    for item in ureq::tls::parse_pem(text) {
        let PemItem::Certificate(certificate) = item? else { continue };
        // The HTTP library would pass over one that does not read.
        RootCertStore::empty().add(CertificateDer::from(certificate.der()))?;
        roots.push(certificate);
    }
    if roots.is_empty() {
        bail!("the file holds no certificate in PEM form");
    }
    Ok(roots)
}

/// Says what is wrong if TLS is why the node at `base` did not answer, and what to do about it.
pub(crate) fn fault(base: &str, error: &ureq::Error) -> Option<String> {
    let is_plain = base.starts_with("http://");
    let error = match error {
        // What a server of TLS does when it is asked in plain text: it hangs up, or says so in TLS.
        ureq::Error::Io(error) if is_plain && error.kind() == ErrorKind::UnexpectedEof => {
            return Some(format!("it hung up; {HTTPS}"));
        }
        ureq::Error::Protocol(error) if is_plain => return Some(format!("{error}; {HTTPS}")),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref()?,
        ureq::Error::Rustls(error) => error,
        _ => return None,
    };
    Some(match error {
        rustls::Error::InvalidCertificate(reason) => {
            format!("its certificate is not trusted: {}", distrust(reason))
        }
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS: begin its URL with http://".to_owned()
        }
        other => format!("TLS: {other}"),
    })
}

/// Says why a certificate is not trusted, and what to do about it.
fn distrust(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer => "an authority signed it that is not known here; \
             name the authority's own certificate with --ca FILE"
            .to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{reason}; ask the node by a name that the certificate is for")
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("{reason}; renew it, or set the clock here")
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is an authority's own, and may not be a node's too; make the node's without that \
             (openssl req -addext basicConstraints=critical,CA:FALSE), or have the authority sign one"
                .to_owned()
        }
        _ => reason.to_string(),
    }
}

/// What to do about a server that speaks TLS.
const HTTPS: &str = "if it speaks TLS, begin its URL with https://";
