//! The names by which clients may call this server.
//!
//! A web page can make a browser connect to any address, also to one of the machine that it runs on, by giving a name of its
//! own that address (DNS rebinding). The browser then sends this name as the host of its requests, and no other program
//! knows it: so requests with a name that is not this server's are refused.

use std::net::IpAddr;

/// Names of this server, in lower case, without ports.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Makes the list of the given hosts; each may have a port, which does not matter.
    pub fn new<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(hosts.into_iter().filter_map(host_of).collect())
    }

    /// Returns whether a request with this host is for this server: `localhost`, an address of loopback, the address that the
    /// client has connected to, or a name of the list.
    pub fn allow(&self, authority: &str, connected_to: IpAddr) -> bool {
        let Some(host) = host_of(authority) else {
            return false;
        };
        if host == "localhost" || self.0.contains(&host) {
            return true;
        }
        host.parse::<IpAddr>().is_ok_and(|address| {
            let address = address.to_canonical();
            address.is_loopback() || address == connected_to.to_canonical()
        })
    }
}

/// Returns the host of `host`, `host:port`, `[v6]` or `[v6]:port` in lower case; `None` for other forms.
fn host_of(authority: &str) -> Option<String> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => match authority.find(':') {
            Some(at) => authority.split_at(at),
            None => (authority, ""),
        },
    };
    let port = rest.strip_prefix(':');
    let is_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
    if host.is_empty() || host.contains(['@', '/', '[', ' ']) || !(rest.is_empty() || is_port) {
        return None;
    }
    Some(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_allowed_and_others_are_not() {
        let hosts = Hosts::new(["howdah.example:30650", "Other.Example", "0.0.0.0"]);
        let here: IpAddr = "192.0.2.7".parse().unwrap();
        for allowed in [
            "localhost:30650",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1:1",
            "127.1.2.3",
            "[::1]:30650",
            "[::ffff:127.0.0.1]",
            "192.0.2.7:30650",
            "howdah.example",
            "HOWDAH.example:443",
            "other.example",
            "0.0.0.0:30650",
        ] {
            assert!(hosts.allow(allowed, here), "{allowed}");
        }
        for refused in [
            "",
            "evil.example",
            "evil.example:30650",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "192.0.2.8",
            "localhost:port",
            "localhost:30650:1",
            "[::1",
            "[::1]x",
            "127.1",
            "howdah.example.evil",
            "::1",
        ] {
            assert!(!hosts.allow(refused, here), "{refused}");
        }
    }
}
