//! The schema, the types and the page for users have the same fields.

use std::collections::BTreeSet;

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::*;
use crate::node::camel;
use crate::types::{
    CronInput, DatumSetSpec, Determined, Egress, FileFormat, GpuSpec, Input, Metadata, ObjectStorageEgress, PfsInput,
    PipelineId, PipelineSpec, PropagationSpec, ResourceSpec, SchedulingSpec, SecretMount, Service, SpecBranch,
    SpecCommit, SpecRepo, Spout, SqlDatabaseEgress, SqlSecret, Toleration, Transform, TriggerSpec,
};

/// A deserializer without data. It keeps the names of the fields or variants that a type asks for.
struct NamesOnly<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for NamesOnly<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("neither a struct nor an enum"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("there are only names"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("there are only names"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// Returns the names of a type's fields or variants in its serde form.
fn names_of<T: DeserializeOwned>() -> BTreeSet<String> {
    let mut names: &'static [&'static str] = &[];
    // Always an error: there is no data.
    let _ = T::deserialize(NamesOnly(&mut names));
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Returns the objects of the schema, each with the names of the fields of its type.
fn typed_objects() -> Vec<(&'static ObjectSchema, BTreeSet<String>)> {
    vec![
        (&PIPELINE_SPEC, names_of::<PipelineSpec>()),
        (&PIPELINE, names_of::<PipelineId>()),
        (&METADATA, names_of::<Metadata>()),
        (&TRANSFORM, names_of::<Transform>()),
        (&SECRET, names_of::<SecretMount>()),
        (&INPUT, names_of::<Input>()),
        (&PFS, names_of::<PfsInput>()),
        (&TRIGGER, names_of::<TriggerSpec>()),
        (&PROPAGATION, names_of::<PropagationSpec>()),
        (&CRON, names_of::<CronInput>()),
        (&EGRESS, names_of::<Egress>()),
        (&OBJECT_STORAGE, names_of::<ObjectStorageEgress>()),
        (&SQL_DATABASE, names_of::<SqlDatabaseEgress>()),
        (&FILE_FORMAT, names_of::<FileFormat>()),
        (&SQL_SECRET, names_of::<SqlSecret>()),
        (&DATUM_SET, names_of::<DatumSetSpec>()),
        (&RESOURCE_SPEC, names_of::<ResourceSpec>()),
        (&GPU, names_of::<GpuSpec>()),
        (&SCHEDULING, names_of::<SchedulingSpec>()),
        (&TOLERATION, names_of::<Toleration>()),
        (&SERVICE, names_of::<Service>()),
        (&SPOUT, names_of::<Spout>()),
        (&DETERMINED, names_of::<Determined>()),
        (&COMMIT, names_of::<SpecCommit>()),
        (&BRANCH, names_of::<SpecBranch>()),
        (&REPO, names_of::<SpecRepo>()),
        // Written by functions, as the text or the number that they hold (`types/forms.rs`).
        (&PROJECT, BTreeSet::from(["name".to_owned()])),
        (&PARALLELISM, BTreeSet::from(["constant".to_owned()])),
    ]
}

/// Returns every object that a spec can have at any depth.
fn reachable_objects() -> Vec<&'static ObjectSchema> {
    let mut found: Vec<&'static ObjectSchema> = Vec::new();
    let mut open = vec![&PIPELINE_SPEC];
    while let Some(object) = open.pop() {
        if !found.iter().any(|known| std::ptr::eq(*known, object)) {
            found.push(object);
            open.extend(object.fields.iter().filter_map(|field| object_of(&field.kind)));
        }
    }
    found
}

fn object_of(kind: &'static FieldType) -> Option<&'static ObjectSchema> {
    match kind {
        FieldType::Object(object) => Some(*object),
        FieldType::List(item) => object_of(item),
        _ => None,
    }
}

/// A field that only the schema has would be accepted and then dropped without a message; one that only the type has
/// could not be written.
#[test]
fn schema_and_types_have_the_same_fields() {
    let typed = typed_objects();
    for object in reachable_objects() {
        let fields: BTreeSet<String> = object.fields.iter().map(|field| camel(field.name)).collect();
        let of_type = typed.iter().find(|(known, _)| std::ptr::eq(*known, object));
        let Some((_, names)) = of_type else {
            panic!("add the object with these fields, and its type, to the list of this test: {fields:?}");
        };
        assert_eq!(&fields, names);
    }
}

#[test]
fn every_field_is_on_the_page_for_users() {
    const PAGE: &str = include_str!("../../../../docs/pipeline-spec.md");
    let rows = PAGE.lines().filter(|line| line.starts_with('|'));
    let words: BTreeSet<&str> = rows
        .flat_map(|row| row.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .collect();
    // The other objects are stored or planned as a whole: the page has their own fields only.
    let explained = [
        &PIPELINE_SPEC,
        &PIPELINE,
        &METADATA,
        &TRANSFORM,
        &INPUT,
        &PFS,
        &PARALLELISM,
        &DATUM_SET,
        &RESOURCE_SPEC,
    ];
    for field in explained.iter().flat_map(|object| object.fields) {
        assert!(
            words.contains(field.name),
            "no row of docs/pipeline-spec.md names {}",
            field.name
        );
    }
}
