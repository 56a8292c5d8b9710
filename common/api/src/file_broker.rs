//! Lending a file to a server on the same machine, so that it reads the file itself and no byte passes through a
//! connection.
//!
//! ```text
//! client                                            server
//!   | InspectCluster ---------------------------------> |
//!   | <---- header FILE_BROKER_HEADER: name of an abstract socket
//!   | connect to it, hand the open file over ---------> | checks: same user, a regular file
//!   | <-------------------------------- 32 letters: the loan's number
//!   | ModifyFile: AddFile from the URL howdah-lent:NUMBER ->|
//!   | <-------------------------- one byte for each STRETCH that was read
//!   | <------------------------------------- hang up: given back
//! ```
//!
//! It is an extension: a server that does not say where its desk is gets the bytes, as does one that cannot be reached
//! there, because it runs on another machine, in another container or as another user. What is handed over is an open
//! file, not a name: the server can read what the client could open, and nothing else. Both ends make sure that the
//! other belongs to the same user, so neither gets at anything that it could not read anyway. There is no other
//! authorisation: whoever may put bytes may put a file this way.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, getsockopt, recvmsg, sendmsg, shutdown,
    sockopt::PeerCredentials,
};
use nix::unistd::geteuid;
use tokio::io::Interest;

/// Header of the answer to `InspectCluster`: the name of the abstract socket at which files may be lent.
pub const FILE_BROKER_HEADER: &str = "howdah-lending-desk";

/// The server says so each time that it has read so many bytes more of a file.
pub const STRETCH: u64 = 1 << 20;

const SCHEME: &str = "howdah-lent:";
const NUMBER_LENGTH: usize = 32;
/// Linux lets a message bring no more (`SCM_MAX_FD`).
const MOST_DESCRIPTORS: usize = 253;
/// Loans that nobody has asked for yet. A client lends one file at a time.
const MAX_WAITING: usize = 64;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Neither a server that does not take a file within this time nor a client that does not give one is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A file that a server may read, seen from the client.
#[derive(Debug)]
pub struct FileOffer {
    connection: UnixStream,
    number: String,
}

impl FileOffer {
    /// Hands an open file over to the server whose desk has this name. Blocks for a moment.
    ///
    /// # Errors
    /// When there is no such desk on this machine, it belongs to another user, or does not take the file: send the
    /// bytes instead.
    pub fn offer(desk: &str, file: &File) -> io::Result<FileOffer> {
        let mut connection = UnixStream::connect_addr(&SocketAddr::from_abstract_name(desk)?)?;
        if getsockopt(&connection, PeerCredentials)?.uid() != geteuid().as_raw() {
            return Err(io::Error::other("the server belongs to another user"));
        }
        connection.set_read_timeout(Some(PATIENCE))?;
        let descriptors = [file.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&descriptors)];
        // A message without any byte would not arrive.
        let byte = [IoSlice::new(&[0])];
        sendmsg::<()>(connection.as_raw_fd(), &byte, &message, MsgFlags::MSG_NOSIGNAL, None)?;
        let mut number = vec![0; NUMBER_LENGTH];
        connection.read_exact(&mut number)?;
        connection.set_read_timeout(None)?;
        Ok(FileOffer {
            connection,
            number: String::from_utf8(number).map_err(io::Error::other)?,
        })
    }

    /// Returns the URL that stands for the file in an `AddFile`; it can be used once.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{SCHEME}{}", self.number)
    }

    /// Returns what ends [`FileOffer::wait`] early when it is shut down.
    pub fn connection(&self) -> io::Result<UnixStream> {
        self.connection.try_clone()
    }

    /// Blocks until the server has read the file or given up; whether it succeeded is told by the call that named the
    /// URL. `read` is called with the number of bytes read since it was last called.
    pub fn wait(mut self, mut read: impl FnMut(u64)) {
        let mut stretches = [0; 64];
        loop {
            match self.connection.read(&mut stretches) {
                Ok(count) if count > 0 => read(count as u64 * STRETCH),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// Where a server takes files on loan.
#[derive(Debug)]
pub struct FileBroker {
    name: String,
    waiting: Mutex<HashMap<String, ReceivedFile>>,
}

/// A file on loan, seen from the server. It is given back when this is dropped.
#[derive(Debug)]
pub struct ReceivedFile {
    file: Arc<File>,
    size: u64,
    connection: Arc<tokio::net::UnixStream>,
}

impl FileBroker {
    /// Opens a desk of a name that nobody can guess. It takes files once it is [served](FileBroker::serve).
    ///
    /// # Errors
    /// When the system has no abstract sockets. Must be called inside a Tokio runtime.
    pub fn open() -> io::Result<(Arc<FileBroker>, tokio::net::UnixListener)> {
        let name = format!("howdah-{}", random_number());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        let desk = FileBroker {
            name,
            waiting: Mutex::default(),
        };
        Ok((Arc::new(desk), tokio::net::UnixListener::from_std(listener)?))
    }

    /// Returns its name, which is what [`FILE_BROKER_HEADER`] says.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes files as they come, as long as it is polled.
    pub async fn serve(self: Arc<Self>, listener: tokio::net::UnixListener) -> Infallible {
        loop {
            let Ok((connection, _)) = listener.accept().await else {
                // Too many open files, for one: that passes, and meanwhile clients send bytes.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let desk = Arc::clone(&self);
            // The client learns of a refusal by our hanging up, and sends the bytes.
            tokio::spawn(async move { desk.receive(connection).await });
        }
    }

    /// Takes the file that a URL stands for. `None` = the URL is none of a loan, or the client has hung up.
    #[must_use]
    pub fn take(&self, url: &str) -> Option<ReceivedFile> {
        self.waiting().remove(url.strip_prefix(SCHEME)?)
    }

    async fn receive(&self, connection: tokio::net::UnixStream) -> io::Result<()> {
        if connection.peer_cred()?.uid() != geteuid().as_raw() {
            return Ok(());
        }
        let received = connection.async_io(Interest::READABLE, || receive_file(connection.as_raw_fd()));
        let file = tokio::time::timeout(PATIENCE, received).await??;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(());
        }
        let connection = Arc::new(connection);
        let number = random_number();
        let lent = ReceivedFile {
            file: Arc::new(file),
            size: metadata.len(),
            connection: Arc::clone(&connection),
        };
        {
            let mut waiting = self.waiting();
            if waiting.len() >= MAX_WAITING {
                return Ok(());
            }
            waiting.insert(number.clone(), lent);
        }
        // Few bytes for an empty buffer: they are taken whole.
        if connection.try_write(number.as_bytes()).is_ok() {
            // The client says nothing more: whatever comes is its hanging up. That it is readable alone means nothing,
            // as it may still be so from before.
            while connection.readable().await.is_ok() {
                match connection.try_read(&mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    _ => break,
                }
            }
        }
        self.waiting().remove(&number);
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, ReceivedFile>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReceivedFile {
    /// Tells whether a URL stands for a file on loan.
    #[must_use]
    pub fn is_url(url: &str) -> bool {
        url.starts_with(SCHEME)
    }

    /// Returns the file.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Returns the size that the file had when it was lent, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Tells the client that [`STRETCH`] bytes more have been read.
    pub fn report(&self) {
        // A client that does not listen does not want to know.
        let _ = self.connection.try_write(&[0]);
    }
}

impl Drop for ReceivedFile {
    fn drop(&mut self) {
        let _ = shutdown(self.connection.as_raw_fd(), Shutdown::Write);
    }
}

fn random_number() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Receives the only file that comes with a message.
fn receive_file(connection: RawFd) -> io::Result<File> {
    let mut byte = [0];
    // What there is no room for would stay open, unknown to anybody. No message brings more.
    let mut room = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(connection, &mut slices, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part {
            for descriptor in descriptors {
                // SAFETY: the kernel has just made the descriptor for us; nobody else knows it.
                files.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
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

    /// A desk that is served, and what came of offering a file there.
    async fn offered(
        file: File,
    ) -> (
        Arc<FileBroker>,
        tokio::task::JoinHandle<Infallible>,
        io::Result<FileOffer>,
    ) {
        let (desk, listener) = FileBroker::open().unwrap();
        let serving = tokio::spawn(Arc::clone(&desk).serve(listener));
        let name = desk.name().to_owned();
        let loan = tokio::task::spawn_blocking(move || FileOffer::offer(&name, &file));
        (desk, serving, loan.await.unwrap())
    }

    #[tokio::test]
    async fn a_file_is_lent_read_and_given_back() {
        let (desk, serving, loan) = offered(file(b"content")).await;
        let loan = loan.unwrap();
        let url = loan.url();
        assert!(ReceivedFile::is_url(&url) && !ReceivedFile::is_url("https://host/x"));
        let waiting = tokio::task::spawn_blocking(move || {
            let mut total = 0;
            loan.wait(|bytes| total += bytes);
            total
        });
        let lent = desk.take(&url).unwrap();
        assert!(desk.take(&url).is_none(), "a loan is used once");
        assert_eq!(lent.size(), 7);
        let mut text = String::new();
        (&**lent.file()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
        lent.report();
        drop(lent);
        assert_eq!(waiting.await.unwrap(), STRETCH);
        serving.abort();
    }

    #[tokio::test]
    async fn what_is_no_file_is_refused() {
        let (_desk, serving, loan) = offered(File::open("/dev/zero").unwrap()).await;
        assert!(loan.is_err());
        serving.abort();
    }

    #[tokio::test]
    async fn a_message_with_several_files_is_refused_and_leaves_none_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (desk, listener) = FileBroker::open().unwrap();
        let serving = tokio::spawn(Arc::clone(&desk).serve(listener));
        let address = SocketAddr::from_abstract_name(desk.name()).unwrap();
        let file = File::create(&path).unwrap();
        let refused = tokio::task::spawn_blocking(move || {
            let mut connection = UnixStream::connect_addr(&address).unwrap();
            let descriptors = [file.as_raw_fd(); 5];
            let message = [ControlMessage::ScmRights(&descriptors)];
            let byte = [IoSlice::new(&[0])];
            sendmsg::<()>(connection.as_raw_fd(), &byte, &message, MsgFlags::empty(), None).unwrap();
            connection.read(&mut [0]).unwrap()
        });
        assert_eq!(refused.await.unwrap(), 0, "hung up");
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|at| at == path));
        assert_eq!(open.count(), 0);
        assert!(desk.waiting().is_empty());
        serving.abort();
    }

    #[tokio::test]
    async fn a_client_that_gives_no_file_is_not_waited_for() {
        let (desk, listener) = FileBroker::open().unwrap();
        let address = SocketAddr::from_abstract_name(desk.name()).unwrap();
        let silent = UnixStream::connect_addr(&address).unwrap();
        let (connection, _) = listener.accept().await.unwrap();
        let error = desk.receive(connection).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(silent);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_has_its_file_back() {
        let (desk, serving, loan) = offered(file(b"x")).await;
        drop(loan.unwrap());
        while !desk.waiting().is_empty() {
            tokio::task::yield_now().await;
        }
        serving.abort();
    }

    #[test]
    fn without_a_desk_nothing_is_lent() {
        assert!(FileOffer::offer("howdah-of-another-machine", &file(b"x")).is_err());
    }
}
