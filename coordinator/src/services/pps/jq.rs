//! `jqFilter`: a jq program that selects the messages of a list that are sent.
//!
//! The input of the program is the message as JSON, with snake_case field names and the names of enum values. A message
//! passes if the program has a result, and the first one is neither `false` nor `null`.

use howdah_api::json;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use prost::{Message, Name};
use tonic::Status;

type JqProgram = jaq_core::compile::Filter<jaq_core::Native<data::JustLut<Val>>>;

/// A compiled filter. Every message passes an empty program.
pub struct JqFilter(Option<JqProgram>);

impl JqFilter {
    /// Compiles a program.
    pub fn new(text: &str) -> Result<Self, Status> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let bad = |what: &str| {
            Status::invalid_argument(format!(
                "invalid jq filter {text:?}: {what}; an example of a valid one is \
                 .state == \"JOB_FAILURE\""
            ))
        };
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(definitions)
            .load(&arena, File { code: text, path: () })
            .map_err(|_| bad("it is not a jq program"))?;
        let program = Compiler::default()
            .with_funs(functions)
            .compile(modules)
            .map_err(|errors| {
                let names: Vec<String> = errors
                    .iter()
                    .flat_map(|(_, errors)| errors.iter().map(|(name, _)| format!("{name:?}")))
                    .collect();
                bad(&format!("unknown names {}", names.join(", ")))
            })?;
        Ok(Self(Some(program)))
    }

    /// Returns whether a message passes.
    pub fn passes<M: Message + Name>(&self, message: &M) -> Result<bool, Status> {
        let Some(program) = &self.0 else {
            return Ok(true);
        };
        let value = json::to_snake_json(message)
            .map_err(|error| Status::internal(error.to_string()))?
            .to_string();
        let input = read::parse_single(value.as_bytes())
            .map_err(|error| Status::internal(format!("jq cannot read a message: {error:?}")))?;
        let context = Ctx::<data::JustLut<Val>>::new(&program.lut, Vars::new([]));
        match program.id.run((context, input)).map(unwrap_valr).next() {
            None => Ok(false),
            Some(Ok(value)) => Ok(!matches!(value, Val::Null | Val::Bool(false))),
            Some(Err(error)) => Err(Status::invalid_argument(format!("the jq filter failed: {error}"))),
        }
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
    fn programs_that_clients_send_select_messages() {
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
    fn an_invalid_program_is_refused() {
        for text in [".state ==", "nonsense(.)"] {
            let status = JqFilter::new(text).err().expect("not a program");
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains("invalid jq filter"));
        }
    }
}
