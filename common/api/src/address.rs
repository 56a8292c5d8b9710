//! The address of a server, as users write it.
//!
//! Forms: `host`, `host:port`, `grpc://host:port`, `grpcs://…`, `http(s)://…` and `unix:/path`. Without a scheme the
//! connection is not encrypted; without a port it uses 30650. A path, a query, a fragment or a user name is an error:
//! it would have no effect.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::DEFAULT_PORT;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host and a port.
    Tcp {
        /// Host name or IP address; an IPv6 address has no brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a server: {problem}; expected host:port, grpc://host:port or unix:/path")]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// Why.
    pub problem: String,
}

impl Address {
    /// Returns the address of a host and port, not encrypted.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp {
            host: host.into(),
            port,
            tls: false,
        }
    }

    /// Returns whether connections to this address are encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }
}

impl Default for Address {
    /// Returns `grpc://localhost:30650`.
    fn default() -> Self {
        Self::tcp("localhost", DEFAULT_PORT)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "grpcs" } else { "grpc" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem: &str| AddressError {
            text: text.to_owned(),
            problem: problem.to_owned(),
        };
        let trimmed = text.trim();
        if let Some(path) = trimmed.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(fail("the path of the socket is missing"));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let (tls, rest) = match trimmed.split_once("://") {
            None => (false, trimmed),
            Some(("grpc" | "http", rest)) => (false, rest),
            Some(("grpcs" | "https", rest)) => (true, rest),
            Some((scheme, _)) => {
                return Err(fail(&format!(
                    "the scheme {scheme:?} is not one of grpc, grpcs, http, https, unix"
                )));
            }
        };
        // Browsers show an address without a path with a slash at its end.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        for (mark, what) in [('/', "a path"), ('?', "a query"), ('#', "a fragment"), ('@', "a user")] {
            if rest.contains(mark) {
                return Err(fail(&format!("{what} is not allowed in it")));
            }
        }
        let (host, port) = split_port(rest).map_err(|problem| fail(&problem))?;
        if host.is_empty() {
            return Err(fail("the host is missing"));
        }
        // An IPv6 address may have a zone: fe80::1%eth0.
        let plain = host.split('%').next().unwrap_or_default();
        if host.contains(':') && plain.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(fail("expected host, host:port or an IPv6 address"));
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(fail("the host contains a blank"));
        }
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
            tls,
        })
    }
}

fn split_port(text: &str) -> Result<(&str, u16), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or("the bracket of the IPv6 address is not closed")?;
        match rest {
            "" => (host, None),
            _ => (host, Some(rest.strip_prefix(':').ok_or("only a port may follow ']'")?)),
        }
    } else if text.matches(':').count() > 1 {
        // An IPv6 address without brackets cannot have a port.
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    match port {
        None => Ok((host, DEFAULT_PORT)),
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok((host, port)),
            _ => Err(format!("{port:?} is not a port from 1 to 65535")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Address>().unwrap().to_string()
    }

    #[test]
    fn every_accepted_form() {
        assert_eq!(shown("localhost"), "grpc://localhost:30650");
        assert_eq!(shown("10.0.0.1:650"), "grpc://10.0.0.1:650");
        assert_eq!(shown("grpc://host:1"), "grpc://host:1");
        assert_eq!(shown("http://host"), "grpc://host:30650");
        assert_eq!(shown("http://host:80/"), "grpc://host:80");
        assert_eq!(shown("grpcs://host"), "grpcs://host:30650");
        assert_eq!(shown("https://host:443"), "grpcs://host:443");
        assert_eq!(shown("grpc://[::1]:650"), "grpc://[::1]:650");
        assert_eq!(shown("::1"), "grpc://[::1]:30650");
        assert_eq!(shown("unix:/run/howdah.sock"), "unix:/run/howdah.sock");
        assert_eq!(shown("unix:///run/howdah.sock"), "unix:/run/howdah.sock");
        assert_eq!(Address::default().to_string(), "grpc://localhost:30650");
    }

    #[test]
    fn every_refused_form_says_what_is_wrong() {
        for (text, problem) in [
            ("", "the host is missing"),
            ("pachd://host:1", "the scheme \"pachd\""),
            ("host:1/path", "a path"),
            ("host?x=1", "a query"),
            ("host#x", "a fragment"),
            ("user@host", "a user"),
            ("host:", "\"\" is not a port"),
            ("host:0", "\"0\" is not a port"),
            ("host:70000", "\"70000\" is not a port"),
            ("grpc://[::1", "not closed"),
            ("unix:", "the path of the socket is missing"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
