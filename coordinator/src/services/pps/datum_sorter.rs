//! Sorts datums by id for a reply. More than [`MEMORY_BYTES`] of them go to temporary files.
//!
//! If only the first few are wanted, it notes their ids, and later datums that come after all of those are left out.

use std::collections::BTreeSet;
use std::io;

use futures::Stream;
use futures::stream;
use howdah_api::pps_v2 as pps;
use howdah_model::DatumId;
use howdah_store::sort::{RecordSorter, SortRecord};
use prost::Message;
use tonic::Status;

use crate::memory_budget::{MemoryBudget, Reservation};
use crate::services::status::IntoStatus;

/// Memory of one sorter.
const MEMORY_BYTES: usize = 4 << 20;
/// Memory for which nothing is reserved.
const FREE_BYTES: usize = 256 << 10;
/// Most datums whose ids are noted.
const MAX_NOTED: usize = 1_000;

/// Takes datums in any order.
pub(super) struct DatumSorter {
    sorter: RecordSorter,
    reverse: bool,
    /// Number of datums that are wanted, from the first one on.
    number: usize,
    /// The first keys, if they are noted.
    first: BTreeSet<[u8; 32]>,
    budget: MemoryBudget,
    reservation: Option<Reservation>,
}

impl DatumSorter {
    /// Makes an empty sorter; with `reverse`, the greatest id comes first. Of the sorted datums, the first `number` are
    /// wanted.
    pub(super) fn new(reverse: bool, number: usize, budget: MemoryBudget) -> Self {
        Self {
            sorter: RecordSorter::new(MEMORY_BYTES),
            reverse,
            number,
            first: BTreeSet::new(),
            budget,
            reservation: None,
        }
    }

    fn key(&self, id: &DatumId) -> [u8; 32] {
        if self.reverse {
            id.as_bytes().map(|byte| !byte)
        } else {
            *id.as_bytes()
        }
    }

    /// Returns whether a datum may be one of the first ones.
    pub(super) fn may_need(&self, id: &DatumId) -> bool {
        self.first.len() < self.number || self.first.last().is_some_and(|last| self.key(id) < *last)
    }

    /// Adds a datum.
    ///
    /// # Errors
    /// When other calls use all memory, or temporary files fail.
    pub(super) async fn push(&mut self, id: &DatumId, info: &pps::DatumInfo) -> Result<(), Status> {
        let key = self.key(id);
        if self.number <= MAX_NOTED {
            self.first.insert(key);
            if self.first.len() > self.number {
                self.first.pop_last();
            }
        }
        self.sorter.push(&key, &[&info.encode_to_vec()]);
        if self.reservation.is_none() && self.sorter.bytes() > FREE_BYTES {
            let reserved = self.budget.reserve(MEMORY_BYTES).await;
            self.reservation = Some(reserved.map_err(IntoStatus::into_status)?);
        }
        if self.sorter.is_full() {
            let mut full = std::mem::replace(&mut self.sorter, RecordSorter::new(0));
            let spilled = tokio::task::spawn_blocking(move || full.spill().map(|()| full)).await;
            let spilled = spilled.map_err(|error| Status::internal(error.to_string()))?;
            self.sorter = spilled.map_err(|error| no_scratch(&error))?;
        }
        Ok(())
    }

    /// Streams the datums in order.
    pub(super) fn finish(self) -> impl Stream<Item = Result<pps::DatumInfo, Status>> + Send + use<> {
        let reservation = self.reservation;
        stream::iter(self.sorter.finish().iter().map(move |record| {
            // Kept until the last datum is sent.
            let _reservation = &reservation;
            read(record)
        }))
    }
}

fn read(record: io::Result<SortRecord>) -> Result<pps::DatumInfo, Status> {
    let record = record.map_err(|error| no_scratch(&error))?;
    pps::DatumInfo::decode(record.rest).map_err(|error| Status::internal(error.to_string()))
}

fn no_scratch(error: &io::Error) -> Status {
    let text = format!("datums cannot be sorted in a temporary file: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull => Status::resource_exhausted(text),
        _ => Status::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    fn id(number: u32) -> DatumId {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        DatumId::new(bytes)
    }

    async fn sorted(datums: u32, reverse: bool, number: usize) -> (Vec<DatumId>, usize) {
        let mut sorter = DatumSorter::new(reverse, number, MemoryBudget::new(MEMORY_BYTES));
        let mut pushed = 0;
        for number in 0..datums {
            let id = id(number);
            if sorter.may_need(&id) {
                let info = pps::DatumInfo {
                    image_id: "x".repeat(100),
                    reason: id.to_string(),
                    ..Default::default()
                };
                sorter.push(&id, &info).await.unwrap();
                pushed += 1;
            }
        }
        let ids = sorter.finish().map_ok(|info| info.reason.parse::<DatumId>().unwrap());
        (ids.try_collect().await.unwrap(), pushed)
    }

    #[tokio::test]
    async fn datums_that_do_not_fit_into_memory_are_sorted_in_files() {
        const DATUMS: u32 = 60_000;
        let mut expected: Vec<DatumId> = (0..DATUMS).map(id).collect();
        expected.sort();
        let (ids, pushed) = sorted(DATUMS, false, usize::MAX).await;
        assert_eq!(pushed, DATUMS as usize);
        assert!(ids == expected);
        expected.reverse();
        assert!(sorted(DATUMS, true, usize::MAX).await.0 == expected);
    }

    #[tokio::test]
    async fn of_a_short_page_most_datums_are_left_out() {
        const DATUMS: u32 = 20_000;
        let mut expected: Vec<DatumId> = (0..DATUMS).map(id).collect();
        expected.sort();
        let (ids, pushed) = sorted(DATUMS, false, 50).await;
        assert!(ids[..50] == expected[..50]);
        assert!(pushed < 2_000, "{pushed}");
        assert!(sorted(DATUMS, false, 0).await.0.is_empty());
    }
}
