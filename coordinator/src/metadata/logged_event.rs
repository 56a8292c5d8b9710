//! [`LoggedEvent`]: an event as the metadata log has it, with the name of who asked for it.
//!
//! ```text
//! {"ProjectCreated":{"name":"edges",...},"by":"user:alice"}
//! ```
//!
//! Records of earlier releases have no names.

use std::fmt;

use howdah_model::Event;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Error, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An event, and who asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    /// What happened.
    pub event: Event,
    /// Name of the caller, see [`crate::caller::Caller`]; `None` in records of earlier releases.
    pub by: Option<String>,
}

impl Serialize for LoggedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(by) = &self.by else {
            return self.event.serialize(serializer);
        };
        let mut text = serde_json::to_string(&self.event).map_err(S::Error::custom)?;
        let by = serde_json::to_string(by).map_err(S::Error::custom)?;
        if text.pop() != Some('}') {
            return Err(S::Error::custom("an event is not a JSON object"));
        }
        text.push_str(",\"by\":");
        text.push_str(&by);
        text.push('}');
        RawValue::from_string(text)
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LoggedEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LoggedEventVisitor)
    }
}

struct LoggedEventVisitor;

impl<'de> Visitor<'de> for LoggedEventVisitor {
    type Value = LoggedEvent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LoggedEvent, A::Error> {
        // The event is the first entry: it is read without a copy.
        let event = Event::deserialize(MapAccessDeserializer::new(&mut map))?;
        let mut by = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "by" {
                by = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(LoggedEvent { event, by })
    }
}

#[cfg(test)]
mod tests {
    use howdah_model::ProjectName;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn events_with_and_without_a_name_are_read() {
        let event = Event::ProjectCreated {
            name: ProjectName::new("edges").unwrap(),
            description: "}\"".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        let old = serde_json::to_string(&[&event]).unwrap();
        for by in [None, Some("user:al\"ice".to_owned())] {
            let logged = LoggedEvent {
                event: event.clone(),
                by,
            };
            let text = serde_json::to_string(&[&logged]).unwrap();
            assert_eq!(text == old, logged.by.is_none());
            assert_eq!(serde_json::from_str::<Vec<LoggedEvent>>(&text).unwrap(), [logged]);
        }
        let later = old.replace("}]", ",\"by\":\"token:ci\",\"later\":[1]}]");
        let read: Vec<LoggedEvent> = serde_json::from_str(&later).unwrap();
        assert_eq!(read[0].by.as_deref(), Some("token:ci"));
        assert!(serde_json::from_str::<Vec<LoggedEvent>>("[{\"Unknown\":{}}]").is_err());
        assert!(serde_json::from_str::<Vec<LoggedEvent>>("[{\"by\":\"x\"}]").is_err());
    }
}
