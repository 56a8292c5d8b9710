//! `jqFilter`: a filter that selects the messages of a list that are sent.
//!
//! The input of the filter is the message as JSON, with snake_case field names and the names of enum values. A message
//! passes if the filter has a result, and the first one is neither `false` nor `null`. `howdah-filter` evaluates the
//! part of the jq language that lists need, with bounds; a filter sees nothing but the message.

use howdah_api::json;
use howdah_filter::{Budget, Filter};
use prost::{Message, Name};
use tonic::Status;

/// A compiled filter. Every message passes an empty text.
#[derive(Debug)]
pub(super) struct JqFilter(Option<Filter>);

impl JqFilter {
    /// Compiles a text.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with the position, if it is too long, too deeply nested, or has a part of jq that filters do
    /// not have.
    pub(super) fn new(text: &str) -> Result<Self, Status> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let filter = Filter::new(text).map_err(|error| {
            Status::invalid_argument(format!(
                "invalid jqFilter: {error}. A filter selects by paths, literals, comparisons, and, or, not, select and a \
                 few functions, for example select(.state == \"JOB_FAILURE\")"
            ))
        })?;
        Ok(Self(Some(filter)))
    }

    /// Returns whether a message passes.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if the filter does not fit the message, or takes too many steps or too much memory.
    pub(super) fn passes<M: Message + Name>(&self, message: &M) -> Result<bool, Status> {
        let Some(filter) = &self.0 else {
            return Ok(true);
        };
        let value = json::to_snake_json(message).map_err(|error| Status::internal(error.to_string()))?;
        filter
            .passes(&value, &mut Budget::default())
            .map_err(|error| Status::invalid_argument(format!("the jqFilter failed: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_api::pps_v2::{JobInfo, JobState};

    fn failed() -> JobInfo {
        JobInfo {
            state: JobState::JobFailure as i32,
            data_total: 3,
            ..Default::default()
        }
    }

    #[test]
    fn filters_that_clients_send_select_messages() {
        let sent = ".state == \"JOB_FAILURE\" or .state == \"JOB_KILLED\"";
        assert!(JqFilter::new(sent).unwrap().passes(&failed()).unwrap());
        let other = ".state == \"JOB_SUCCESS\"";
        assert!(!JqFilter::new(other).unwrap().passes(&failed()).unwrap());
        assert!(JqFilter::new("").unwrap().passes(&failed()).unwrap());
        let select = "select(.data_total == \"3\")";
        assert!(JqFilter::new(select).unwrap().passes(&failed()).unwrap());
        assert!(!JqFilter::new("empty").unwrap().passes(&failed()).unwrap());
        assert!(!JqFilter::new(".nothing").unwrap().passes(&failed()).unwrap());
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in [".state ==", "nonsense(.)", "error(env)", "halt", "def f: f; f"] {
            let status = JqFilter::new(text).expect_err("not a filter");
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains("invalid jqFilter: at character"));
        }
    }
}
