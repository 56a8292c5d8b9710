//! What the fuzz target of log records calls.

use bytes::Bytes;

use super::record::{self, RecordKind};

/// Reads bytes as a record, and reads back records that have them as their payload.
pub(crate) fn record(bytes: &Bytes) {
    let _ = record::parse(1, bytes);
    for kind in [RecordKind::Events, RecordKind::Void, RecordKind::Claim] {
        let stored = record::encode(7, "writer", kind, bytes);
        let read = record::parse(7, &stored).expect("a record that was written can be read");
        assert_eq!(read.is_some(), kind == RecordKind::Events);
        assert!(read.is_none_or(|record| record.payload == bytes));
        assert!(record::parse(8, &stored).is_err());
    }
}
