//! Pages of lists of datums.

use futures::{StreamExt, TryStreamExt, stream};
use howdah_api::pps_v2 as pps;
use howdah_model::DatumId;
use howdah_model::limits::MAX_NAME_BYTES;
use tonic::Status;
use tonic::codegen::BoxStream;

use super::datum_sorter::DatumSorter;
use crate::memory_budget::MemoryBudget;
use crate::services::wire;

/// The part of a list of datums that is wanted. The list is in the order of datum ids.
pub(super) struct DatumPage {
    states: Vec<i32>,
    /// The last datum of the page before.
    pub marker: Option<DatumId>,
    number: usize,
    /// Whether the list is in descending order.
    pub reverse: bool,
}

impl DatumPage {
    /// Reads a request.
    ///
    /// # Errors
    /// When the marker is not the id of a datum, or the number is not one.
    pub(super) fn new(request: &pps::ListDatumRequest) -> Result<Self, Status> {
        let number =
            usize::try_from(request.number).map_err(|_| Status::invalid_argument("number cannot be negative"))?;
        if request.reverse && number == 0 {
            return Err(Status::invalid_argument("number must be set to list in reverse"));
        }
        let marker = match wire::bounded("pagination_marker", &request.pagination_marker, MAX_NAME_BYTES)? {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Status::invalid_argument(format!("pagination_marker {text:?} is not the id of a datum"))
            })?),
        };
        Ok(Self {
            states: request
                .filter
                .as_ref()
                .map(|filter| filter.state.clone())
                .unwrap_or_default(),
            marker,
            number: if number == 0 { usize::MAX } else { number },
            reverse: request.reverse,
        })
    }

    fn has_state(&self, state: i32) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }

    fn is_behind_marker(&self, id: &DatumId) -> bool {
        self.marker.as_ref().is_none_or(|marker| match self.reverse {
            true => id < marker,
            false => id > marker,
        })
    }

    /// Streams the page of datums that come in its order, from its marker on.
    pub(super) fn cut(self, datums: DatumInfos) -> DatumInfos {
        let number = self.number;
        // What is read may all be in memory: without `consume_budget`, a call over many datums would neither give way to
        // others nor end with its client.
        datums
            .try_filter(move |(_, info)| {
                let wanted = self.has_state(info.state);
                async move {
                    tokio::task::consume_budget().await;
                    wanted
                }
            })
            .take(number)
            .boxed()
    }

    /// Streams the page of datums that come in any order. `state` and `write` read one of them.
    pub(super) fn sort<T: Send + 'static>(
        self,
        mut datums: BoxStream<(DatumId, T)>,
        state: fn(&T) -> pps::DatumState,
        write: impl Fn(&DatumId, &T) -> pps::DatumInfo + Send + 'static,
        budget: MemoryBudget,
    ) -> BoxStream<pps::DatumInfo> {
        let sorted = async move {
            let mut sorter = DatumSorter::new(self.reverse, self.number, budget);
            while let Some((id, datum)) = datums.try_next().await? {
                let is_wanted = self.has_state(state(&datum) as i32) && self.is_behind_marker(&id);
                if is_wanted && sorter.may_need(&id) {
                    sorter.push(&id, &write(&id, &datum)).await?;
                }
                // As in `cut`.
                tokio::task::consume_budget().await;
            }
            Ok::<_, Status>(sorter.finish().take(self.number))
        };
        stream::once(sorted).try_flatten().boxed()
    }
}

/// Datums with their ids, as messages.
pub(super) type DatumInfos = BoxStream<(DatumId, pps::DatumInfo)>;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> DatumId {
        DatumId::new([number; 32])
    }

    /// Makes datums 1, 2 and 3, of which 2 has failed.
    fn datums() -> Vec<(DatumId, pps::DatumInfo)> {
        let one = |number: u8, state: pps::DatumState| {
            let datum = Some(pps::Datum {
                id: id(number).to_string(),
                job: None,
            });
            let state = state as i32;
            let info = pps::DatumInfo {
                datum,
                state,
                ..Default::default()
            };
            (id(number), info)
        };
        vec![
            one(1, pps::DatumState::Success),
            one(2, pps::DatumState::Failed),
            one(3, pps::DatumState::Success),
        ]
    }

    /// Returns the ids of a page, which are the same whether the datums come in order or not.
    async fn page(request: &pps::ListDatumRequest) -> Vec<DatumId> {
        let page = || DatumPage::new(request).unwrap();
        let mut ordered = datums();
        if request.reverse {
            ordered.reverse();
        }
        ordered.retain(|(id, _)| page().is_behind_marker(id));
        let cut = page().cut(stream::iter(ordered.into_iter().map(Ok)).boxed());
        let cut: Vec<DatumId> = cut.map_ok(|(id, _)| id).try_collect().await.unwrap();
        let mut mixed = datums();
        mixed.rotate_left(1);
        let sorted = page().sort(
            stream::iter(mixed.into_iter().map(Ok)).boxed(),
            pps::DatumInfo::state,
            |_, info| info.clone(),
            MemoryBudget::new(1 << 20),
        );
        let sorted: Vec<DatumId> = sorted
            .map_ok(|info| info.datum.unwrap().id.parse::<DatumId>().unwrap())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(cut, sorted);
        cut
    }

    #[tokio::test]
    async fn pages_go_by_datum_id() {
        let mut request = pps::ListDatumRequest::default();
        assert_eq!(page(&request).await, [id(1), id(2), id(3)]);
        request.pagination_marker = id(1).to_string();
        request.number = 1;
        assert_eq!(page(&request).await, [id(2)]);
        request.pagination_marker = id(3).to_string();
        request.reverse = true;
        request.number = 5;
        assert_eq!(page(&request).await, [id(2), id(1)]);
        request.number = 0;
        assert!(DatumPage::new(&request).is_err());
    }

    #[tokio::test]
    async fn a_filter_lets_its_states_pass() {
        let request = pps::ListDatumRequest {
            filter: Some(pps::list_datum_request::Filter {
                state: vec![pps::DatumState::Failed as i32],
            }),
            ..Default::default()
        };
        assert_eq!(page(&request).await, [id(2)]);
    }
}
