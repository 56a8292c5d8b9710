//! The user at the other end of a connection within this machine, from the kernel.
//!
//! The kernel is asked over netlink (`sock_diag`) for the one socket that has our addresses the other way round; this costs
//! some microseconds however many sockets there are. Where netlink is not available, `/proc/net/tcp` and `tcp6` are read.
//!
//! The user of a socket is only believed while the socket is established and belongs to a process. A socket whose process
//! has closed it is shown as one of user 0: a stranger could otherwise send a call, close at once, and be taken for root.
//! For the same reason our own end must still be established afterwards: then the socket that was found is its peer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

use super::registry::UserId;

/// State of a socket whose connection is open in both directions.
const ESTABLISHED: u8 = 1;
/// Questions about one connection before it is given up.
const TRIES: usize = 3;
/// What the kernel shows for users that the user namespace of this process does not have.
const OVERFLOW_USER: UserId = 65_534;

/// A socket as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SocketRow {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    user: UserId,
    inode: u64,
}

impl SocketRow {
    fn is_open_between(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        (self.local, self.remote) == (local, remote) && self.state == ESTABLISHED && self.inode != 0
    }
}

/// Returns the user who opened the connection from `peer` to our end at `local`.
///
/// `None` if `peer` is another machine or another network namespace, if its process has closed the connection already, or
/// if the kernel does not say. The user `nobody` is never returned: it stands for all users that this process cannot see.
pub fn user_of(peer: SocketAddr, local: SocketAddr) -> Option<UserId> {
    let (peer, local) = (canonical(peer), canonical(local));
    if !peer.ip().is_loopback() && peer.ip() != local.ip() {
        return None;
    }
    (0..TRIES)
        .find_map(|_| ask(peer, local).transpose())?
        .inspect_err(|error| tracing::debug!(%error, "the kernel does not say who opened a connection"))
        .ok()
        .filter(|user| *user != OVERFLOW_USER)
}

fn ask(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<UserId>> {
    ask_netlink(peer, local).or_else(|_| ask_tables(peer, local))
}

/// Makes an address of IPv4 from one that is mapped into IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn ask_netlink(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<UserId>> {
    let diagnosis = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let theirs = find_socket(&diagnosis, peer, local)?.filter(|row| row.is_open_between(peer, local));
    let Some(theirs) = theirs else { return Ok(None) };
    let ours = find_socket(&diagnosis, local, peer)?.filter(|row| row.is_open_between(local, peer));
    Ok(ours.map(|_| theirs.user))
}

const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;

/// Asks for the socket with these addresses.
fn find_socket(diagnosis: &OwnedFd, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<SocketRow>> {
    let request = request(local, remote);
    let kernel = NetlinkAddr::new(0, 0);
    sendto(diagnosis.as_raw_fd(), &request, &kernel, MsgFlags::empty())?;
    let mut answer = [0; 1024];
    // The kernel answers within the call that asks.
    let length = recv(diagnosis.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    parse_answer(answer.get(..length).unwrap_or_default())
}

/// Encodes `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(local: SocketAddr, remote: SocketAddr) -> [u8; REQUEST_BYTES] {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = Vec::with_capacity(REQUEST_BYTES);
    bytes.extend((REQUEST_BYTES as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(address_bytes(local.ip()));
    bytes.extend(address_bytes(remote.ip()));
    bytes.extend([0; 4]);
    // No cookie.
    bytes.extend([0xff; 8]);
    let mut request = [0; REQUEST_BYTES];
    for (to, from) in request.iter_mut().zip(bytes) {
        *to = from;
    }
    request
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// Decodes `struct inet_diag_msg`, or an error.
fn parse_answer(bytes: &[u8]) -> io::Result<Option<SocketRow>> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "the answer of the kernel is too short");
    match u16::from_ne_bytes(field(bytes, 4).ok_or_else(short)?) {
        SOCK_DIAG_BY_FAMILY => parse_row(bytes.get(HEADER_BYTES..).unwrap_or_default())
            .map(Some)
            .ok_or_else(short),
        NLMSG_ERROR => match i32::from_ne_bytes(field(bytes, HEADER_BYTES).ok_or_else(short)?) {
            error if error == -libc::ENOENT => Ok(None),
            error => Err(io::Error::from_raw_os_error(-error)),
        },
        other => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("unexpected message {other}"),
        )),
    }
}

fn parse_row(bytes: &[u8]) -> Option<SocketRow> {
    let [family, state] = field(bytes, 0)?;
    let address = |at: usize, port_at: usize| {
        let port = u16::from_be_bytes(field(bytes, port_at)?);
        let ip: IpAddr = if i32::from(family) == libc::AF_INET {
            field::<4>(bytes, at)?.into()
        } else {
            field::<16>(bytes, at)?.into()
        };
        Some(canonical(SocketAddr::new(ip, port)))
    };
    Some(SocketRow {
        local: address(8, 4)?,
        remote: address(24, 6)?,
        state,
        user: u32::from_ne_bytes(field(bytes, 64)?),
        inode: u64::from(u32::from_ne_bytes(field(bytes, 68)?)),
    })
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn ask_tables(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<UserId>> {
    // A program without IPv6 may still have been reached through an IPv6 socket, and the other way round.
    let mut rows = parse_table(&std::fs::read_to_string("/proc/net/tcp")?);
    rows.extend(parse_table(
        &std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default(),
    ));
    let theirs = rows.iter().find(|row| row.is_open_between(peer, local));
    let ours = rows.iter().find(|row| row.is_open_between(local, peer));
    Ok(theirs.filter(|_| ours.is_some()).map(|row| row.user))
}

/// Reads `/proc/net/tcp` or `tcp6`; lines that cannot be read are passed over.
fn parse_table(text: &str) -> Vec<SocketRow> {
    text.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<SocketRow> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    Some(SocketRow {
        local: parse_address(fields.get(1)?)?,
        remote: parse_address(fields.get(2)?)?,
        state: u8::from_str_radix(fields.get(3)?, 16).ok()?,
        user: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// Reads `0100007F:77BA`: words in the order of this machine, then the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip: IpAddr = match bytes.len() {
        4 => field::<4>(&bytes, 0)?.into(),
        16 => field::<16>(&bytes, 0)?.into(),
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    fn own() -> UserId {
        nix::unistd::geteuid().as_raw()
    }

    /// Returns both ends of a connection, and the addresses as the server sees them.
    fn connected(listen: &str, connect: &str) -> (TcpStream, TcpStream, SocketAddr, SocketAddr) {
        let listener = TcpListener::bind(listen).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((connect, port)).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let local = server.local_addr().unwrap();
        (client, server, peer, local)
    }

    #[test]
    fn both_ways_find_the_own_user() {
        for (listen, connect) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let (_client, _server, peer, local) = connected(listen, connect);
            assert_eq!(user_of(peer, local), Some(own()), "{listen}");
            let (peer, local) = (canonical(peer), canonical(local));
            assert_eq!(ask_netlink(peer, local).unwrap(), Some(own()), "{listen}");
            assert_eq!(ask_tables(peer, local).unwrap(), Some(own()), "{listen}");
        }
    }

    #[test]
    fn a_socket_that_was_closed_is_not_one_of_root() {
        let (client, _server, peer, local) = connected("127.0.0.1:0", "127.0.0.1");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(user_of(peer, local), None);
        drop(client);
        assert_eq!(user_of(peer, local), None);
        assert_eq!(ask_tables(peer, local).unwrap(), None);
    }

    #[test]
    fn a_connection_that_does_not_exist_has_no_user() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        // The kernel finds the listening socket for the reverse question.
        assert_eq!(user_of(SocketAddr::from(([127, 0, 0, 1], 1)), local), None);
        assert_eq!(user_of(SocketAddr::from(([192, 0, 2, 1], 1)), local), None);
    }

    #[test]
    fn rows_of_the_tables_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                    0: 0100007F:77BA 0100007F:B2C4 01 00000000:00000000 02:000A 00000000  1000        0 4711 2 0\n   \
                    1: 0000000000000000FFFF00000100007F:77BA 0000000000000000FFFF00000100007F:B2C4 06 0:0 0:0 0  0 0 0 1\n\
                    nonsense\n";
        let rows = parse_table(text);
        assert_eq!(rows.len(), 2);
        if cfg!(target_endian = "little") {
            assert_eq!(rows[0].local, "127.0.0.1:30650".parse().unwrap());
            assert_eq!((rows[0].user, rows[0].inode, rows[0].state), (1000, 4711, 1));
            assert_eq!(rows[1].local, rows[0].local);
        }
    }

    #[test]
    fn damaged_answers_are_errors() {
        for length in 0..HEADER_BYTES + 72 {
            let mut bytes = vec![0; length];
            if length > 5 {
                bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            }
            assert_eq!(parse_answer(&bytes).is_ok(), length >= HEADER_BYTES + 72, "{length}");
        }
    }
}
