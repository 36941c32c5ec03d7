//! TLS with `https://` upstream proxies.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Whom to trust.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    more: Vec<CertificateDer<'static>>,
    /// Made when the first `https://` proxy needs it: reading a system's roots takes a while.
    connector: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Trust {
    /// The system's roots, and the certificates in this PEM file.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub fn with_file(path: &Path) -> io::Result<Self> {
        let text = fs::read(path)?;
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let more = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid(error.to_string()))?;
        if more.is_empty() {
            return Err(invalid("there is no certificate in it".into()));
        }
        let mut probe = RootCertStore::empty();
        for certificate in &more {
            probe
                .add(certificate.clone())
                .map_err(|error| invalid(error.to_string()))?;
        }
        Ok(Self {
            more,
            connector: Arc::default(),
        })
    }

    pub(super) fn connector(&self) -> TlsConnector {
        let config = self.connector.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // A system without roots is as good as one that trusts nobody: the handshake says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots.add_parsable_certificates(self.more.iter().cloned());
            let config = ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth();
            Arc::new(config)
        });
        TlsConnector::from(config.clone())
    }
}
