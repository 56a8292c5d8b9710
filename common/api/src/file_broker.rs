//! Passing an open file to a server on the same machine, so that the server reads it and no byte goes through a
//! connection.
//!
//! ```text
//! client                                            server
//!   | InspectCluster ---------------------------------> |
//!   | <---- header FILE_BROKER_HEADER: name of an abstract socket
//!   | connect, send the descriptor of the file -------> | checks: same user, a regular file
//!   | <---------------- 32 hexadecimal digits: the number of the offer
//!   | ModifyFile: AddFile from the URL howdah-lent:NUMBER ->|
//!   | <---------------------- one byte after each PROGRESS_STEP read bytes
//!   | <------------------------- end of the stream: the file is closed
//! ```
//!
//! [`FileOffer`] is the client's end, [`FileBroker`] and [`ReceivedFile`] are the server's.
//!
//! It is an extension. A client sends the bytes instead if the server has no such header, or cannot be reached at the
//! socket: it runs on another machine, in another container or as another user.
//!
//! The client passes an open file and not a name: the server can read what the client could open, and nothing else.
//! Each end checks that the other belongs to the same user, so neither can read more than before. There is no other
//! authorisation: a client that may put bytes may put a file this way.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    Shutdown, recvmsg, sendmsg, shutdown,
};
use tokio::io::Interest;

/// Header of the answer to `InspectCluster`: the name of the abstract socket of the broker.
pub const FILE_BROKER_HEADER: &str = "howdah-lending-desk";

/// Number of bytes after which the server reports progress.
pub const PROGRESS_STEP: u64 = 1 << 20;

const SCHEME: &str = "howdah-lent:";
const NUMBER_LENGTH: usize = 32;
/// Most descriptors in one message on Linux (`SCM_MAX_FD`).
const MAX_DESCRIPTORS: usize = 253;
/// Bytes of the ancillary data of a message. There is room for all descriptors that a message can have, so that each
/// one received is owned and closed.
const ANCILLARY_SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS));
/// Most received files that no request has taken yet. A client offers one file at a time.
const MAX_WAITING: usize = 64;
/// Pause after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Timeout for either side of the hand-over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);

/// The client's end of a hand-over: an open file that a server may read once.
#[derive(Debug)]
pub struct FileOffer {
    connection: UnixStream,
    number: String,
}

impl FileOffer {
    /// Passes an open file to the broker with this name. Blocks for at most [`HAND_OVER_TIMEOUT`].
    ///
    /// # Errors
    /// When this machine has no such broker, the broker belongs to another user, or it refuses the file. Send the bytes
    /// instead.
    pub fn offer(broker: &str, file: &File) -> io::Result<FileOffer> {
        let mut connection = UnixStream::connect_addr(&SocketAddr::from_abstract_name(broker)?)?;
        // By nix and not by rustix, which reads the process id of the peer into a type without a 0. It is 0 for a peer in
        // another pid namespace.
        if getsockopt(&connection, PeerCredentials)?.uid() != geteuid().as_raw() {
            return Err(io::Error::other("the server belongs to another user"));
        }
        connection.set_read_timeout(Some(HAND_OVER_TIMEOUT))?;
        send_files(&connection, &[file])?;
        let mut number = vec![0; NUMBER_LENGTH];
        connection.read_exact(&mut number)?;
        connection.set_read_timeout(None)?;
        Ok(FileOffer {
            connection,
            number: String::from_utf8(number).map_err(io::Error::other)?,
        })
    }

    /// Returns the URL of the file for an `AddFile`. It can be used once.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{SCHEME}{}", self.number)
    }

    /// Returns the connection. Shutting it down ends [`FileOffer::wait`] early.
    pub fn connection(&self) -> io::Result<UnixStream> {
        self.connection.try_clone()
    }

    /// Blocks until the server has closed the file. The answer to the call with the URL tells whether it could read it.
    /// `progress` is called with the number of bytes that the server has read since the previous call.
    pub fn wait(mut self, mut progress: impl FnMut(u64)) {
        let mut steps = [0; 64];
        loop {
            match self.connection.read(&mut steps) {
                Ok(count) if count > 0 => progress(count as u64 * PROGRESS_STEP),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// The socket of a server that receives files, and the files that no request has taken yet.
#[derive(Debug)]
pub struct FileBroker {
    name: String,
    /// Files by the number of their offer. Each is put here by the task of its connection, and removed by
    /// [`FileBroker::take`] or, when the client closes the connection first, by that task.
    waiting: Mutex<HashMap<String, ReceivedFile>>,
}

/// The server's end of a hand-over: a file that a client has passed. Dropping it tells the client that the server is
/// done.
#[derive(Debug)]
pub struct ReceivedFile {
    file: Arc<File>,
    size: u64,
    connection: Arc<tokio::net::UnixStream>,
}

impl FileBroker {
    /// Opens the socket of a broker, under a random name. It receives files while [`FileBroker::serve`] is polled.
    ///
    /// # Errors
    /// When the system has no abstract sockets. Must be called inside a Tokio runtime.
    pub fn open() -> io::Result<(Arc<FileBroker>, tokio::net::UnixListener)> {
        let name = format!("howdah-{}", random_number());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        let broker = FileBroker {
            name,
            waiting: Mutex::default(),
        };
        Ok((Arc::new(broker), tokio::net::UnixListener::from_std(listener)?))
    }

    /// Returns the name of the socket, for [`FILE_BROKER_HEADER`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Receives files. Never returns.
    pub async fn serve(self: Arc<Self>, listener: tokio::net::UnixListener) -> Infallible {
        loop {
            let Ok((connection, _)) = listener.accept().await else {
                // Too many open files, for example. Without the pause, this loop would keep one processor busy until
                // some are closed. Clients send bytes meanwhile.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let broker = Arc::clone(&self);
            // An error only closes the connection: the client then sends the bytes.
            tokio::spawn(async move { broker.receive(connection).await });
        }
    }

    /// Returns the file of a URL, once. `None` if the URL is not one of a passed file, or the client has closed the
    /// connection.
    #[must_use]
    pub fn take(&self, url: &str) -> Option<ReceivedFile> {
        self.waiting().remove(url.strip_prefix(SCHEME)?)
    }

    /// Receives the file of one connection, and waits until the client closes the connection.
    async fn receive(&self, connection: tokio::net::UnixStream) -> io::Result<()> {
        if connection.peer_cred()?.uid() != geteuid().as_raw() {
            return Ok(());
        }
        let received = connection.async_io(Interest::READABLE, || receive_file(&connection));
        let file = tokio::time::timeout(HAND_OVER_TIMEOUT, received).await??;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(());
        }
        let connection = Arc::new(connection);
        let number = random_number();
        let received = ReceivedFile {
            file: Arc::new(file),
            size: metadata.len(),
            connection: Arc::clone(&connection),
        };
        {
            let mut waiting = self.waiting();
            if waiting.len() >= MAX_WAITING {
                return Ok(());
            }
            waiting.insert(number.clone(), received);
        }
        // 32 bytes into an empty buffer: they are never written in part.
        if connection.try_write(number.as_bytes()).is_ok() {
            // The client sends nothing more, so the next read is the end of its stream. `readable` alone does not mean
            // it: it may still be set from the first message.
            while connection.readable().await.is_ok() {
                match connection.try_read(&mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    _ => break,
                }
            }
        }
        // Without this, files of clients that crashed would stay open and fill `MAX_WAITING`.
        self.waiting().remove(&number);
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, ReceivedFile>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReceivedFile {
    /// Returns whether a URL is one of a passed file.
    #[must_use]
    pub fn is_url(url: &str) -> bool {
        url.starts_with(SCHEME)
    }

    /// Returns the file.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Returns the size of the file in bytes, at the time it was passed.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Tells the client that the server has read [`PROGRESS_STEP`] more bytes.
    pub fn report(&self) {
        // An error is no failure: a client with a full buffer or a closed connection misses a progress report.
        let _ = self.connection.try_write(&[0]);
    }
}

impl Drop for ReceivedFile {
    fn drop(&mut self) {
        let _ = shutdown(&*self.connection, Shutdown::Write);
    }
}

fn random_number() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Sends open files with one message.
fn send_files(connection: &UnixStream, files: &[&File]) -> io::Result<()> {
    let descriptors: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("too many files for one message"));
    }
    // The kernel drops a message without data, and the descriptors with it.
    let byte = [IoSlice::new(&[0])];
    sendmsg(connection, &byte, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives the one file of a message.
fn receive_file(connection: &tokio::net::UnixStream) -> io::Result<File> {
    let mut byte = [0];
    let mut slices = [IoSliceMut::new(&mut byte)];
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(connection, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            files.extend(descriptors);
        }
    }
    match <[OwnedFd; 1]>::try_from(files) {
        Ok([file]) => Ok(file.into()),
        Err(files) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("expected one file with the message, found {}", files.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    /// Returns a broker, the task that serves it, and the result of offering a file to it.
    async fn offered(
        file: File,
    ) -> (
        Arc<FileBroker>,
        tokio::task::JoinHandle<Infallible>,
        io::Result<FileOffer>,
    ) {
        let (broker, listener) = FileBroker::open().unwrap();
        let serving = tokio::spawn(Arc::clone(&broker).serve(listener));
        let name = broker.name().to_owned();
        let offer = tokio::task::spawn_blocking(move || FileOffer::offer(&name, &file));
        (broker, serving, offer.await.unwrap())
    }

    #[tokio::test]
    async fn a_passed_file_is_read_and_closed() {
        let (broker, serving, offer) = offered(file(b"content")).await;
        let offer = offer.unwrap();
        let url = offer.url();
        assert!(ReceivedFile::is_url(&url) && !ReceivedFile::is_url("https://host/x"));
        let waiting = tokio::task::spawn_blocking(move || {
            let mut total = 0;
            offer.wait(|bytes| total += bytes);
            total
        });
        let received = broker.take(&url).unwrap();
        assert!(broker.take(&url).is_none(), "a URL is used once");
        assert_eq!(received.size(), 7);
        let mut text = String::new();
        (&**received.file()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
        received.report();
        drop(received);
        assert_eq!(waiting.await.unwrap(), PROGRESS_STEP);
        serving.abort();
    }

    #[tokio::test]
    async fn anything_but_a_regular_file_is_refused() {
        let (_broker, serving, offer) = offered(File::open("/dev/zero").unwrap()).await;
        assert!(offer.is_err());
        serving.abort();
    }

    #[tokio::test]
    async fn a_message_with_several_files_is_refused_and_leaves_none_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (broker, listener) = FileBroker::open().unwrap();
        let serving = tokio::spawn(Arc::clone(&broker).serve(listener));
        let address = SocketAddr::from_abstract_name(broker.name()).unwrap();
        let file = File::create(&path).unwrap();
        let refused = tokio::task::spawn_blocking(move || {
            let mut connection = UnixStream::connect_addr(&address).unwrap();
            send_files(&connection, &[&file; 5]).unwrap();
            connection.read(&mut [0]).unwrap()
        });
        assert_eq!(refused.await.unwrap(), 0, "hung up");
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|at| at == path));
        assert_eq!(open.count(), 0);
        assert!(broker.waiting().is_empty());
        serving.abort();
    }

    #[tokio::test]
    async fn a_client_that_sends_no_file_times_out() {
        let (broker, listener) = FileBroker::open().unwrap();
        let address = SocketAddr::from_abstract_name(broker.name()).unwrap();
        let silent = UnixStream::connect_addr(&address).unwrap();
        let (connection, _) = listener.accept().await.unwrap();
        let error = broker.receive(connection).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(silent);
    }

    #[tokio::test]
    async fn the_file_of_a_client_that_is_gone_is_closed() {
        let (broker, serving, offer) = offered(file(b"x")).await;
        drop(offer.unwrap());
        while !broker.waiting().is_empty() {
            tokio::task::yield_now().await;
        }
        serving.abort();
    }

    #[tokio::test]
    async fn files_of_clients_that_are_gone_make_room_for_others() {
        let (broker, listener) = FileBroker::open().unwrap();
        let serving = tokio::spawn(Arc::clone(&broker).serve(listener));
        let offer = async || {
            let name = broker.name().to_owned();
            let offered = tokio::task::spawn_blocking(move || FileOffer::offer(&name, &file(b"x")));
            offered.await.unwrap()
        };
        let mut offers = Vec::new();
        for _ in 0..MAX_WAITING {
            offers.push(offer().await.unwrap());
        }
        assert!(offer().await.is_err(), "the broker has no room");
        let url = offers[0].url();
        drop(offers);
        while !broker.waiting().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(broker.take(&url).is_none());
        offer().await.unwrap();
        serving.abort();
    }

    #[test]
    fn without_a_broker_an_offer_fails() {
        assert!(FileOffer::offer("howdah-of-another-machine", &file(b"x")).is_err());
    }
}
