//! The pieces of a tar archive as clients of `GetFileTAR` expect them: absolute names, folders with a slash at the end,
//! mode 0.

use howdah_store::FileKind;

/// Bytes of one block; every piece of an archive is filled up to whole blocks.
const BLOCK: u64 = 512;

/// Name of an entry whose content is the name of the next entry.
const LONG_NAME: &[u8] = b"././@LongLink";

/// Returns the header of an entry, after a long-name entry if the name does not fit the header.
pub(super) fn header(path: &str, kind: FileKind, size: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK as usize);
    let name = path.as_bytes();
    let room = tar::Header::new_gnu().as_old().name.len();
    if name.len() > room {
        // The content of a long-name entry ends with a zero byte.
        let length = name.len() as u64 + 1;
        bytes.extend_from_slice(&block(LONG_NAME, tar::EntryType::GNULongName, length));
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(padding(length));
    }
    let kind = match kind {
        FileKind::File => tar::EntryType::Regular,
        FileKind::Directory => tar::EntryType::Directory,
    };
    bytes.extend_from_slice(&block(name.get(..room).unwrap_or(name), kind, size));
    bytes
}

fn block(name: &[u8], kind: tar::EntryType, size: u64) -> [u8; BLOCK as usize] {
    let mut header = tar::Header::new_gnu();
    // Written here because `set_path` refuses absolute names.
    for (place, byte) in header.as_old_mut().name.iter_mut().zip(name) {
        *place = *byte;
    }
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    *header.as_bytes()
}

/// Returns the zeros that fill a file's last block.
pub(super) fn padding(size: u64) -> &'static [u8] {
    static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    let rest = size % BLOCK;
    let missing = if rest == 0 { 0 } else { BLOCK - rest };
    ZEROS.get(..missing as usize).unwrap_or_default()
}

/// Returns the end marker of an archive.
pub(super) fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK as usize]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn an_archive_reads_back_with_its_absolute_names() {
        let long = format!("/{}/file", "d".repeat(150));
        let mut archive = Vec::new();
        for (path, content) in [("/a/b", &b"hey"[..]), (long.as_str(), &[7; 512][..])] {
            let size = content.len() as u64;
            archive.extend(header(path, FileKind::File, size));
            archive.extend(content);
            archive.extend(padding(size));
        }
        archive.extend(header("/a/", FileKind::Directory, 0));
        archive.extend(end());

        let mut archive = tar::Archive::new(&archive[..]);
        let mut found = Vec::new();
        for entry in archive.entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let name = String::from_utf8(entry.path_bytes().into_owned()).expect("a name");
            let mode = entry.header().mode().expect("a mode");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            found.push((name, mode, content.len()));
        }
        assert_eq!(
            found,
            [("/a/b".to_owned(), 0, 3), (long, 0, 512), ("/a/".to_owned(), 0, 0)]
        );
    }
}
