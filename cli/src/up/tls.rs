//! The certificates of `howdah up --tls`, in the folder `tls` of its data folder.
//!
//! | file | what |
//! | --- | --- |
//! | `ca.pem`, `ca-key.pem` | the certificate that clients trust, made once |
//! | `cert.pem`, `key.pem` | the certificate of the server, signed by it, made at each start for the names of that start |

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use howdah_store::make_private_folder;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::private_file::write;

/// The files that the server and its clients need.
pub(super) struct MadeCertificate {
    /// What clients trust.
    pub ca: PathBuf,
    /// Certificate of the server, and what signs it.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Makes a certificate for a server that listens on `listen` and is called by `names`.
///
/// # Errors
/// When the files cannot be read or written, or a name is not one of a host.
pub(super) fn ensure(data: &Path, listen: IpAddr, names: &[String]) -> anyhow::Result<MadeCertificate> {
    let folder = data.join("tls");
    make_private_folder(&folder, &["ca.pem"]).with_context(|| format!("cannot make {}", folder.display()))?;
    let files = MadeCertificate {
        ca: folder.join("ca.pem"),
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    let ca_key_file = folder.join("ca-key.pem");
    let ca_key = if files.ca.exists() {
        let text = std::fs::read_to_string(&ca_key_file);
        KeyPair::from_pem(&text.with_context(|| format!("cannot read {}", ca_key_file.display()))?)
            .with_context(|| format!("{} is not a key", ca_key_file.display()))?
    } else {
        let key = KeyPair::generate()?;
        write(&ca_key_file, &key.serialize_pem())?;
        // Last: with it, both are there.
        write(&files.ca, &ca_params()?.self_signed(&key)?.pem())?;
        key
    };
    let ca = std::fs::read_to_string(&files.ca).with_context(|| format!("cannot read {}", files.ca.display()))?;
    let key = KeyPair::generate()?;
    let cert = server_params(listen, names)?.signed_by(&key, &Issuer::new(ca_params()?, ca_key))?;
    write(&files.key, &key.serialize_pem())?;
    write(&files.cert, &format!("{}{ca}", cert.pem()))?;
    Ok(files)
}

/// The same at each start: the certificate of the server names it as its issuer.
fn ca_params() -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "howdah up");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn server_params(listen: IpAddr, names: &[String]) -> anyhow::Result<CertificateParams> {
    let mut hosts = BTreeSet::from(["localhost", "127.0.0.1", "::1"].map(String::from));
    hosts.extend(names.iter().cloned());
    if listen.is_unspecified() {
        let interfaces = nix::ifaddrs::getifaddrs().context("the addresses of this machine are not known")?;
        hosts.extend(
            interfaces
                .filter_map(|interface| address_of(&interface))
                .map(|address| address.to_string()),
        );
    } else {
        hosts.insert(listen.to_string());
    }
    let mut params = CertificateParams::new(hosts.into_iter().collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, "howdah");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn address_of(interface: &nix::ifaddrs::InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_that_clients_trust_is_made_once() {
        let data = tempfile::tempdir().unwrap();
        let names = ["howdah.example".to_owned()];
        let read = |file: &Path| std::fs::read_to_string(file).unwrap();
        let first = ensure(data.path(), IpAddr::from([127, 0, 0, 1]), &[]).unwrap();
        let (ca, cert) = (read(&first.ca), read(&first.cert));
        let second = ensure(data.path(), IpAddr::from([0, 0, 0, 0]), &names).unwrap();
        assert_eq!(read(&second.ca), ca);
        assert_ne!(read(&second.cert), cert);
        assert!(read(&second.cert).ends_with(&ca));
        use std::os::unix::fs::PermissionsExt;
        for entry in std::fs::read_dir(data.path().join("tls")).unwrap().flatten() {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{entry:?}");
        }
    }
}
