//! A record: a JSON object, of which each field stands once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::shown::{plain, quoted};

/// Most fields of a record.
const FIELDS_MAX: usize = 1000;

/// A field, with its value as it is written.
pub(crate) struct Field {
    pub(crate) name: String,
    value: Box<RawValue>,
}

impl Field {
    /// The value, safe to print: texts without their escapes of JSON, all else as it is written.
    pub(crate) fn shown(&self) -> String {
        self.text().map_or_else(|| plain(self.value.get()), |text| quoted(&text))
    }

    fn text(&self) -> Option<String> {
        serde_json::from_str(self.value.get()).ok()
    }
}

/// The fields of a record in their order, or what is wrong with it.
pub(crate) fn fields(record: &str) -> Result<Vec<Field>, String> {
    let fields: Fields = serde_json::from_str(record)
        .map_err(|error| format!("cannot be read: {}", plain(&error.to_string())))?;
    Ok(fields.0)
}

/// The request that a record is of.
pub(crate) fn request(fields: &[Field]) -> Option<String> {
    fields.iter().find(|field| field.name == "request").and_then(Field::text)
}

/// One of the facts of a record; none if any of them stands twice.
pub(crate) fn fact(record: &[Field], name: &str) -> Option<String> {
    let facts = record.iter().find(|field| field.name == "facts")?;
    fields(facts.value.get()).ok()?.iter().find(|fact| fact.name == name)?.text()
}

struct Fields(Vec<Field>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let mut fields: Vec<Field> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    // Of two values one program would believe the first, and another the last.
                    if fields.iter().any(|field| field.name == name) {
                        return Err(M::Error::custom(format!("the field {} stands twice", quoted(&name))));
                    }
                    if fields.len() == FIELDS_MAX {
                        return Err(M::Error::custom(format!("it has more than {FIELDS_MAX} fields")));
                    }
                    fields.push(Field { name, value });
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}
