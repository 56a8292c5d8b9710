//! Log lines on the worker's disk until they are in the store.
//!
//! A line that followers have seen must not be lost with the worker's process. So a running set writes its lines to a
//! file before it sends them ([`SpoolFile`]), and removes the file once its log object is stored. What a killed process
//! leaves behind, or a set whose log could not be stored, is stored later (`intake::log_recovery`).
//!
//! A file holds a log object without lines, then one line of JSON for each log line. Nothing is synced to disk: a crash
//! of the machine may lose the last lines. Errors of the disk cost this protection and are logged.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_protocol::bounded_log::{BoundedLog, LogLimits};
use howdah_protocol::objects::{LogLine, LogObject};
use howdah_protocol::wire;
use tokio::sync::Notify;

/// Size of a file above which it is written again with the lines that are still kept. If these alone take more than
/// half of it, the next time is when the file has twice their size.
const REWRITE_ABOVE: u64 = 64 << 20;
/// Bytes of files that are left behind; the oldest are removed above it.
const MAX_LEFT_BYTES: u64 = 1 << 30;
/// Longest line of a file. A log line is shorter, also when each of its characters is escaped.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// The folder of the files. Clones share it.
#[derive(Clone)]
pub(crate) struct LogSpool {
    inner: Arc<SpoolFolder>,
}

struct SpoolFolder {
    folder: PathBuf,
    /// Name of the next file.
    next: AtomicU64,
    /// Files whose lines must still be stored.
    left: Mutex<Vec<PathBuf>>,
    /// Notified when there is one more.
    more: Notify,
}

impl LogSpool {
    /// Opens the folder in a scratch folder.
    pub(crate) fn open(scratch: &Path) -> io::Result<Self> {
        let folder = scratch.join("logs");
        fs::create_dir_all(&folder)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            found.push((meta.modified()?, meta.len(), entry.path()));
        }
        found.sort();
        let mut bytes: u64 = found.iter().map(|(_, bytes, _)| bytes).sum();
        let mut left = Vec::new();
        let mut next = 0;
        for (_, size, path) in found {
            let number = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
            next = next.max(number.map_or(0, |number| number + 1));
            if bytes > MAX_LEFT_BYTES {
                bytes -= size;
                tracing::warn!(file = %path.display(), "too many log lines are left behind: the oldest are dropped");
                fs::remove_file(&path)?;
            } else {
                left.push(path);
            }
        }
        Ok(Self {
            inner: Arc::new(SpoolFolder {
                folder,
                next: AtomicU64::new(next),
                left: Mutex::new(left),
                more: Notify::new(),
            }),
        })
    }

    /// Returns a file for the lines of one run. It is made with the first line.
    pub(crate) fn file(&self) -> SpoolFile {
        SpoolFile {
            spool: self.clone(),
            written: None,
            failed: false,
        }
    }

    /// Takes the files whose lines must still be stored.
    pub(crate) fn take_left(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.left())
    }

    /// Notes that the lines of a file must still be stored.
    pub(crate) fn put_back(&self, path: PathBuf) {
        self.left().push(path);
    }

    /// Waits until there may be a file whose lines must still be stored.
    pub(crate) async fn more(&self) {
        self.inner.more.notified().await;
    }

    fn left(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.inner.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file of one run. Dropping it leaves its lines to be stored later.
pub(crate) struct SpoolFile {
    spool: LogSpool,
    written: Option<WrittenFile>,
    /// Whether the disk has failed: nothing is written any more.
    failed: bool,
}

struct WrittenFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    rewrite_above: u64,
}

impl SpoolFile {
    /// Adds lines of a run. Returns whether the file is so large that it should be written again.
    pub(crate) fn append(&mut self, run: &LogObject, lines: &[LogLine]) -> bool {
        if self.failed || lines.is_empty() {
            return false;
        }
        match self.try_append(run, lines) {
            Ok(is_too_large) => is_too_large,
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    /// Replaces all lines.
    pub(crate) fn rewrite(&mut self, run: &LogObject, lines: &[LogLine]) {
        let Some(written) = &mut self.written else { return };
        // Not renamed into place: a process that ends in the middle loses lines, but this happens only to a log that is
        // too long to be kept as a whole.
        let emptied = written.file.set_len(0).and_then(|()| {
            written.bytes = 0;
            write_lines(written, Some(run), lines)
        });
        written.rewrite_above = REWRITE_ABOVE.max(2 * written.bytes);
        if let Err(error) = emptied {
            self.fail(&error);
        }
    }

    /// Removes the file: its lines are stored.
    pub(crate) fn remove(&mut self) {
        if let Some(WrittenFile { path, .. }) = self.written.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(file = %path.display(), %error, "stored log lines not removed from the disk");
        }
    }

    fn try_append(&mut self, run: &LogObject, lines: &[LogLine]) -> io::Result<bool> {
        let is_new = self.written.is_none();
        let written = match &mut self.written {
            Some(written) => written,
            None => {
                let number = self.spool.inner.next.fetch_add(1, Ordering::Relaxed);
                let path = self.spool.inner.folder.join(number.to_string());
                let file = File::options().append(true).create_new(true).open(&path)?;
                self.written.insert(WrittenFile {
                    path,
                    file,
                    bytes: 0,
                    rewrite_above: REWRITE_ABOVE,
                })
            }
        };
        write_lines(written, is_new.then_some(run), lines)?;
        Ok(written.bytes > written.rewrite_above)
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed = true;
        tracing::warn!(%error, "log lines cannot be kept on the disk: they are lost if this worker is killed");
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if let Some(WrittenFile { path, .. }) = self.written.take() {
            self.spool.put_back(path);
            self.spool.inner.more.notify_one();
        }
    }
}

fn write_lines(written: &mut WrittenFile, run: Option<&LogObject>, lines: &[LogLine]) -> io::Result<()> {
    let mut bytes = Vec::new();
    if let Some(run) = run {
        bytes = wire::encode(run);
        bytes.push(b'\n');
    }
    for line in lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    // At once, so that a process that ends in the middle leaves at most one line torn.
    written.file.write_all(&bytes)?;
    written.bytes += bytes.len() as u64;
    Ok(())
}

/// Reads a file back; `None` if it holds no lines.
///
/// A line that is torn ends the reading: the process ended while it was written.
pub(crate) fn read_left(path: &Path, limits: LogLimits) -> io::Result<Option<LogObject>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut text = Vec::new();
    if !next_line(&mut file, &mut text)? {
        return Ok(None);
    }
    let Ok(mut run) = wire::decode::<LogObject>(&text) else {
        tracing::warn!(file = %path.display(), "file of log lines is damaged: it is dropped");
        return Ok(None);
    };
    let mut log = BoundedLog::new(limits);
    let mut last = None;
    while next_line(&mut file, &mut text)? {
        let Ok(line) = serde_json::from_slice::<LogLine>(&text) else {
            break;
        };
        // A file that was written again may have lines twice.
        if last.is_none_or(|last| line.ts > last) {
            last = Some(line.ts);
            log.add(line);
        }
    }
    if log.is_empty() {
        return Ok(None);
    }
    run.dropped = log.left_out();
    run.lines = log.into_lines();
    Ok(Some(run))
}

/// Reads a line without its end. Returns `false` if there is no whole line any more.
fn next_line(file: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<bool> {
    text.clear();
    io::Read::take(&mut *file, MAX_LINE_BYTES).read_until(b'\n', text)?;
    Ok(text.pop() == Some(b'\n'))
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    const LIMITS: LogLimits = LogLimits {
        head: 1 << 20,
        tail: 1 << 20,
        total: 4 << 20,
    };

    fn run() -> LogObject {
        LogObject {
            pipeline: "default/edges".parse().unwrap(),
            job: howdah_model::ids::GlobalId::from_number(1),
            set: 3,
            worker: "w".to_owned(),
            run: Some(Timestamp::UNIX_EPOCH),
            lines: Vec::new(),
            dropped: 0,
        }
    }

    fn lines(range: std::ops::Range<i64>) -> Vec<LogLine> {
        let line = |number| LogLine {
            ts: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number),
            datum: None,
            user: true,
            message: format!("line {number}\n\u{1}"),
        };
        range.map(line).collect()
    }

    #[test]
    fn lines_of_a_process_that_ended_are_found_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let spool = LogSpool::open(folder.path()).unwrap();
        let mut stored = spool.file();
        stored.append(&run(), &lines(0..3));
        stored.remove();
        drop(stored);
        assert!(spool.take_left().is_empty(), "its lines are stored");
        let mut file = spool.file();
        file.append(&run(), &lines(0..3));
        file.append(&run(), &lines(3..5));
        // As if the process were killed while it wrote.
        let path = file.written.as_ref().unwrap().path.clone();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"ts\":")
            .unwrap();
        std::mem::forget(file);

        let spool = LogSpool::open(folder.path()).unwrap();
        assert_eq!(spool.take_left(), std::slice::from_ref(&path));
        let found = read_left(&path, LIMITS).unwrap().unwrap();
        assert_eq!((found.key(), found.lines), (run().key(), lines(0..5)));
        let mut next = spool.file();
        next.append(&run(), &lines(0..1));
        assert_ne!(next.written.as_ref().unwrap().path, path);
    }

    #[test]
    fn a_file_that_is_written_again_has_each_line_once() {
        let folder = tempfile::tempdir().unwrap();
        let spool = LogSpool::open(folder.path()).unwrap();
        let mut file = spool.file();
        file.append(&run(), &lines(0..100));
        file.rewrite(&run(), &lines(50..103));
        file.append(&run(), &lines(100..105));
        drop(file);
        let [path] = &spool.take_left()[..] else {
            panic!("one file is left")
        };
        assert_eq!(read_left(path, LIMITS).unwrap().unwrap().lines, lines(50..105));
    }

    #[test]
    fn damaged_files_are_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let spool = LogSpool::open(folder.path()).unwrap();
        let file = folder.path().join("logs/7");
        let head = String::from_utf8(wire::encode(&run())).unwrap();
        let texts: [&[u8]; 5] = [b"", b"no log\n", b"\n\n", head.as_bytes(), &vec![b'x'; 3 << 20]];
        for text in texts {
            fs::write(&file, text).unwrap();
            assert_eq!(read_left(&file, LIMITS).unwrap(), None);
        }
        drop(spool);
        fs::write(&file, [head.as_bytes(), b"\nno line\n"].concat()).unwrap();
        let spool = LogSpool::open(folder.path()).unwrap();
        assert_eq!(read_left(&spool.take_left()[0], LIMITS).unwrap(), None);
    }
}
