//! TLS of the port: the certificate that clients see, and what this coordinator expects of other coordinators.
//!
//! The files are read again when they change. If they cannot be used then, the certificate that was read before stays.
//! Coordinators over one store have TLS all or none of them: each takes from its own settings how to reach the leader.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, bail, ensure};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::file_watch::FileWatch;

/// Files of the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate of this server, then those that sign it, in PEM.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Certificates that sign those of clients. With it, a client without such a certificate cannot connect.
    pub client_ca: Option<PathBuf>,
}

/// The certificate in use.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    server: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or the key is not that of the certificate.
    pub fn load(files: TlsFiles) -> anyhow::Result<Self> {
        let server = RwLock::new(Arc::new(server_config(&files)?));
        Ok(Self { files, server })
    }

    /// Returns what new connections are accepted with.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what the leader is connected to with: its certificate must be signed by one that the system trusts, or by one
    /// of the file of this server's certificate.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn client(&self) -> anyhow::Result<ClientConfig> {
        let certs = read_certs(&self.files.cert)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(certs.clone());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(match self.files.client_ca {
            // This certificate is also the one that it shows as a client.
            Some(_) => builder.with_client_auth_cert(certs, read_key(&self.files.key)?)?,
            None => builder.with_no_client_auth(),
        })
    }

    /// Reads the files again whenever one has changed.
    pub async fn follow(&self) -> Infallible {
        let files = [
            Some(&self.files.cert),
            Some(&self.files.key),
            self.files.client_ca.as_ref(),
        ];
        let mut watch = FileWatch::new(files.into_iter().flatten().cloned());
        loop {
            watch.changed().await;
            match server_config(&self.files) {
                Ok(config) => {
                    tracing::info!(cert = %self.files.cert.display(), "certificate read again");
                    *self.server.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                }
                // Certificate and key may be written one after the other: the next change completes them.
                Err(error) => tracing::error!("the certificate stays as it was: {error:#}"),
            }
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_config(files: &TlsFiles) -> anyhow::Result<ServerConfig> {
    let certs = read_certs(&files.cert)?;
    let key = read_key(&files.key)?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(read_certs(file)?);
            ensure!(added > 0, "{} has no certificate that can be used", file.display());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certs, key)
        .with_context(|| format!("{} and {} do not fit", files.cert.display(), files.key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn read_certs(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let shown = file.display();
    let certs: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certs = certs.with_context(|| format!("cannot read certificates from {shown}"))?;
    if certs.is_empty() {
        bail!("{shown} has no certificate in PEM");
    }
    Ok(certs)
}

fn read_key(file: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).with_context(|| format!("cannot read a key from {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            client_ca: None,
        };
        std::fs::write(&files.cert, format!("{name}\n{}", made.cert.pem())).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_certificate_is_used_and_one_without_its_key_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), "first");
        let tls = Arc::new(Tls::load(files.clone()).unwrap());
        let first = tls.server();
        let following = Arc::clone(&tls);
        let task = tokio::spawn(async move { following.follow().await });
        tokio::task::yield_now().await;
        write(folder.path(), "second");
        while Arc::ptr_eq(&first, &tls.server()) {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        let second = tls.server();
        std::fs::write(&files.key, "nothing").unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert!(Arc::ptr_eq(&second, &tls.server()));
        task.abort();
    }

    #[test]
    fn files_that_do_not_fit_are_named() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut files = write(one.path(), "one");
        files.key = write(other.path(), "other").key;
        let error = format!("{:#}", Tls::load(files.clone()).unwrap_err());
        assert!(error.contains("do not fit"), "{error}");
        files.cert = one.path().join("missing.pem");
        let error = format!("{:#}", Tls::load(files.clone()).unwrap_err());
        assert!(error.contains("missing.pem"), "{error}");
        files.cert = one.path().join("key.pem");
        let error = format!("{:#}", Tls::load(files).unwrap_err());
        assert!(error.contains("no certificate"), "{error}");
    }
}
