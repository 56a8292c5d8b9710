//! Serde forms that the types share.

/// Tells whether a field has the value of an absent field; such a field is not printed.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Serde form of a project: `{"name": ...}`.
pub(super) mod project {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Default, Serialize, Deserialize)]
    #[serde(default)]
    struct ProjectForm {
        name: String,
    }

    pub(crate) fn serialize<S: Serializer>(name: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let name = name.to_owned();
        ProjectForm { name }.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        ProjectForm::deserialize(deserializer).map(|project| project.name)
    }
}

/// Serde form of the parallelism: `{"constant": N}`.
pub(super) mod constant {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Default, Serialize, Deserialize)]
    #[serde(default)]
    struct ParallelismForm {
        constant: u64,
    }

    pub(crate) fn serialize<S: Serializer>(constant: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        ParallelismForm { constant: *constant }.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        ParallelismForm::deserialize(deserializer).map(|spec| spec.constant)
    }
}
