//! Conversion between messages and canonical protobuf JSON.
//!
//! The form is that of every protobuf library: names in camelCase, enums by name, 64-bit integers as strings, times in
//! RFC 3339, durations in seconds (`"1.5s"`), bytes in base64, no zero values. A reader also accepts names in
//! snake_case, enum numbers and plain integers. An unknown field is an error, except in [`from_json_lenient`].

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

/// Descriptors of every message, enum and service of this API, for reflection.
pub static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"))[..])
        .expect("the descriptors were written by this crate's own build script")
});

/// Why a conversion failed.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON.
    #[error("not valid JSON: {0}")]
    Syntax(#[source] serde_json::Error),
    /// The JSON does not fit the message: unknown field, wrong type, number out of range.
    #[error("{message}: {source}")]
    Shape {
        /// Full name of the expected message.
        message: String,
        /// Cause.
        source: serde_json::Error,
    },
    /// The message has no JSON form, for example because a time is out of range.
    #[error("cannot write {message} as JSON: {source}")]
    Write {
        /// Full name of the message.
        message: String,
        /// Cause.
        source: serde_json::Error,
    },
}

fn descriptor<M: Name>() -> MessageDescriptor {
    DESCRIPTORS
        .get_message_by_name(&M::full_name())
        .expect("generated types and descriptors come from the same files")
}

fn write<M: Message + Name>(message: &M, options: &SerializeOptions) -> Result<Value, JsonError> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic
        .transcode_from(message)
        .expect("generated types and descriptors come from the same files");
    let failed = |source| JsonError::Write {
        message: M::full_name(),
        source,
    };
    // Through text, which has a 32-bit float in its shortest form (`0.1`). A value made directly has it widened to 64
    // bits (`0.10000000149011612`), and such a number would get into specs and from there into the log.
    let mut text = Vec::new();
    dynamic
        .serialize_with_options(&mut serde_json::Serializer::new(&mut text), options)
        .map_err(failed)?;
    serde_json::from_slice(&text).map_err(failed)
}

/// Returns a message as canonical JSON.
pub fn to_json<M: Message + Name>(message: &M) -> Result<Value, JsonError> {
    write(message, &SerializeOptions::new())
}

/// Returns a message as JSON with the names of the `.proto` files (snake_case).
///
/// `jqFilter` programs get this form.
pub fn to_snake_json<M: Message + Name>(message: &M) -> Result<Value, JsonError> {
    write(message, &SerializeOptions::new().use_proto_field_name(true))
}

/// Reads a message from JSON; an unknown field is an error.
pub fn from_json<M: Message + Name + Default>(value: &Value) -> Result<M, JsonError> {
    read(value, true)
}

/// Reads a message from JSON text; an unknown field is an error.
pub fn from_str<M: Message + Name + Default>(text: &str) -> Result<M, JsonError> {
    from_json(&serde_json::from_str(text).map_err(JsonError::Syntax)?)
}

/// Reads a message from JSON, without the fields that the message does not have.
///
/// For JSON with fields of Howdah that the wire format does not have.
pub fn from_json_lenient<M: Message + Name + Default>(value: &Value) -> Result<M, JsonError> {
    read(value, false)
}

fn read<M: Message + Name + Default>(value: &Value, strict: bool) -> Result<M, JsonError> {
    let shape = |source| JsonError::Shape {
        message: M::full_name(),
        source,
    };
    let options = DeserializeOptions::new().deny_unknown_fields(strict);
    let dynamic = DynamicMessage::deserialize_with_options(descriptor::<M>(), value, &options).map_err(shape)?;
    Ok(dynamic
        .transcode_to()
        .expect("generated types and descriptors come from the same files"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pfs_v2, pps_v2, transaction_v2};
    use serde_json::json;

    #[test]
    fn floats_of_32_bits_keep_their_shortest_form() {
        let spec = pps_v2::ResourceSpec {
            cpu: 0.1,
            ..Default::default()
        };
        let written = to_json(&spec).unwrap();
        assert_eq!(written, json!({"cpu": 0.1}));
        assert_eq!(from_json::<pps_v2::ResourceSpec>(&written).unwrap(), spec);
    }

    #[test]
    fn integers_of_64_bits_are_strings_and_enums_are_names() {
        let info = pps_v2::JobInfo {
            data_total: 5_000_000_000,
            state: pps_v2::JobState::JobFailure as i32,
            created: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 500_000_000,
            }),
            ..Default::default()
        };
        assert_eq!(
            to_json(&info).unwrap(),
            json!({
                "dataTotal": "5000000000",
                "state": "JOB_FAILURE",
                "created": "2023-11-14T22:13:20.500Z",
            })
        );
        assert_eq!(to_snake_json(&info).unwrap()["data_total"], json!("5000000000"));
    }

    #[test]
    fn names_that_are_not_snake_case_stay_as_they_are() {
        let request = pps_v2::ListJobRequest {
            jq_filter: ".state".into(),
            pagination_marker: Some(prost_types::Timestamp::default()),
            ..Default::default()
        };
        assert_eq!(
            to_json(&request).unwrap(),
            json!({"jqFilter": ".state", "paginationMarker": "1970-01-01T00:00:00Z"})
        );
        let egress = pps_v2::Egress {
            url: "s3://bucket/prefix".into(),
            target: None,
        };
        assert_eq!(to_json(&egress).unwrap(), json!({"URL": "s3://bucket/prefix"}));
    }

    #[test]
    fn bytes_are_base64_and_durations_are_seconds() {
        let info = pfs_v2::FileInfo {
            hash: vec![1, 2, 3],
            file_type: pfs_v2::FileType::Dir as i32,
            ..Default::default()
        };
        assert_eq!(to_json(&info).unwrap(), json!({"hash": "AQID", "fileType": "DIR"}));
        let stats = pps_v2::ProcessStats {
            process_time: Some(prost_types::Duration {
                seconds: 1,
                nanos: 500_000_000,
            }),
            ..Default::default()
        };
        assert_eq!(to_json(&stats).unwrap(), json!({"processTime": "1.500s"}));
    }

    #[test]
    fn reading_accepts_both_spellings_and_refuses_unknown_fields() {
        let camel: pps_v2::CreatePipelineRequest =
            from_json(&json!({"datumTries": "4", "transform": {"errCmd": ["a"]}})).unwrap();
        let snake: pps_v2::CreatePipelineRequest =
            from_json(&json!({"datum_tries": 4, "transform": {"err_cmd": ["a"]}})).unwrap();
        assert_eq!(camel, snake);
        let error = from_json::<pps_v2::CreatePipelineRequest>(&json!({"datumTrys": 4})).expect_err("a misspelt field");
        assert!(error.to_string().contains("datumTrys"), "{error}");
        let lenient: pps_v2::Transform = from_json_lenient(&json!({"image": "x", "writableInputs": true})).unwrap();
        assert_eq!(lenient.image, "x");
    }

    #[test]
    fn a_message_is_the_same_after_json() {
        let request = transaction_v2::BatchTransactionRequest {
            requests: vec![transaction_v2::TransactionRequest {
                start_commit: Some(pfs_v2::StartCommitRequest {
                    branch: Some(crate::convert::branch("default", "images", "master")),
                    description: "first".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }],
        };
        let json = to_json(&request).unwrap();
        assert_eq!(
            from_json::<transaction_v2::BatchTransactionRequest>(&json).unwrap(),
            request
        );
    }
}
