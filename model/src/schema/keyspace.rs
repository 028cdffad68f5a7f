//! Keyspaces, and what `ALTER TYPE` may change: the definitions beside tables.

use super::codec::{check_version, cut, get_all, get_bool, get_string, put_all};
use super::{Schema, check_name};
use crate::{CqlType, KEY_BYTES_MAX, ModelError, UserField, UserType, varint};
use std::collections::BTreeMap;
use std::sync::Arc;

const KEYSPACE_VERSION: u8 = 1;
const TYPE_VERSION: u8 = 1;

/// A keyspace's definition.
///
/// ```
/// use scrollback_model::Keyspace;
///
/// let chat = Keyspace::new("chat");
/// assert_eq!(chat.replication["replication_factor"], "1");
/// assert!(chat.durable_writes);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyspace {
    /// Its name, as written after folding.
    pub name: String,
    /// The map of CQL, by name, `class` included.
    pub replication: BTreeMap<String, String>,
    /// `DURABLE_WRITES`: kept to be shown again; every write is logged.
    pub durable_writes: bool,
}

impl Keyspace {
    /// What a keyspace is that has tables and was never defined: `SimpleStrategy`, one replica, durable writes.
    #[must_use]
    pub fn new(name: &str) -> Keyspace {
        let option = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let replication = [
            ("class", "org.apache.cassandra.locator.SimpleStrategy"),
            ("replication_factor", "1"),
        ];
        Keyspace {
            name: name.to_owned(),
            replication: replication.into_iter().map(option).collect(),
            durable_writes: true,
        }
    }

    /// Checks the name. What the replication says is checked by whoever replicates.
    ///
    /// # Errors
    /// [`ModelError::Schema`]: the name is not 1 to 48 letters, digits and underscores.
    pub fn validate(&self) -> Result<(), ModelError> {
        check_name("keyspace", &self.name)
    }

    /// The definition as bytes, for the manifest (`docs/format/schema.md`).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![KEYSPACE_VERSION];
        varint::put_bytes(&mut out, self.name.as_bytes());
        put_all(&mut out, &Vec::from_iter(&self.replication), |out, (name, value)| {
            varint::put_bytes(out, name.as_bytes());
            varint::put_bytes(out, value.as_bytes());
        });
        out.push(u8::from(self.durable_writes));
        out
    }

    /// Reads a definition, and checks it as [`validate`](Self::validate) does.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are not exactly one definition; [`ModelError::TooNew`] if a newer release wrote it;
    /// [`ModelError::Schema`] if it breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Keyspace, ModelError> {
        let input = &mut &*bytes;
        let [version] = varint::get_array(input).ok_or(cut())?;
        check_version("keyspace", version, KEYSPACE_VERSION)?;
        let name = get_string(input)?;
        let pairs = get_all(input, |input| Ok((get_string(input)?, get_string(input)?)))?;
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(ModelError::corrupt("keyspace's replication out of order"));
        }
        let keyspace = Keyspace {
            name,
            replication: pairs.into_iter().collect(),
            durable_writes: get_bool(input)?,
        };
        if !input.is_empty() {
            return Err(cut());
        }
        keyspace.validate()?;
        Ok(keyspace)
    }
}

/// One change of a user-defined type.
///
/// [`UserType::altered`](crate::UserType::altered) gives the type that comes of it.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum TypeAlteration {
    /// `ADD`: a field behind the others; it is null in what was written before.
    Add {
        /// Its name.
        name: String,
        /// Its type.
        ty: CqlType,
    },
    /// `RENAME`: values hold positions, so nothing else changes.
    Rename {
        /// The name that it has.
        from: String,
        /// The name that it gets.
        to: String,
    },
}

impl TypeAlteration {
    /// `ADD name ty`.
    #[must_use]
    pub fn add(name: &str, ty: CqlType) -> TypeAlteration {
        TypeAlteration::Add {
            name: name.to_owned(),
            ty,
        }
    }

    /// `RENAME from TO to`.
    #[must_use]
    pub fn rename(from: &str, to: &str) -> TypeAlteration {
        TypeAlteration::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }
}

impl UserType {
    /// The type's name with its keyspace: `keyspace.name`.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", self.keyspace, self.name)
    }

    /// Checks all rules of a definition.
    ///
    /// # Errors
    /// [`ModelError::Schema`], with the first rule that is broken: a keyspace's name of 1 to 48 letters, digits and underscores; a name;
    /// 1 to 32,767 fields of names of their own and legal types; no type inside itself.
    pub fn validate(&self) -> Result<(), ModelError> {
        check_name("keyspace", &self.keyspace)?;
        let too_long = |name: &String| name.len() > KEY_BYTES_MAX;
        if too_long(&self.name) || self.fields.iter().any(|field| too_long(&field.name)) {
            return self.refuse("a name is too long".to_owned());
        }
        if self.types().any(|ty| ty.uses_type(&self.keyspace, &self.name)) {
            return self.refuse("a type cannot be inside itself".to_owned());
        }
        match CqlType::udt(self.clone()).frozen().fault() {
            Some(what) => self.refuse(what.to_owned()),
            None => Ok(()),
        }
    }

    /// The definition after `alterations`, made one after another.
    ///
    /// # Errors
    /// [`ModelError::Schema`]: a field that is not there, or is there already; or what [`validate`](Self::validate) refuses.
    pub fn altered(&self, alterations: &[TypeAlteration]) -> Result<UserType, ModelError> {
        let mut altered = self.clone();
        for alteration in alterations {
            let position = |name: &String| altered.fields.iter().position(|field| field.name == *name);
            match alteration {
                TypeAlteration::Add { name, .. } | TypeAlteration::Rename { to: name, .. }
                    if position(name).is_some() =>
                {
                    return self.refuse(format!("there is a field {name} already"));
                }
                TypeAlteration::Add { name, ty } => altered.fields.push(UserField {
                    name: name.clone(),
                    ty: ty.clone(),
                }),
                TypeAlteration::Rename { from, to } => match position(from) {
                    Some(at) => altered.fields[at].name.clone_from(to),
                    None => return self.refuse(format!("there is no field {from}")),
                },
            }
        }
        altered.validate()?;
        Ok(altered)
    }

    fn refuse<T>(&self, what: String) -> Result<T, ModelError> {
        let what = format!("type {}: {what}", self.qualified_name());
        Err(ModelError::Schema { what })
    }

    /// The definition as bytes, for the manifest (`docs/format/schema.md`).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![TYPE_VERSION];
        CqlType::udt(self.clone()).encode(&mut out);
        out
    }

    /// Reads a definition, and checks it as [`validate`](Self::validate) does.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are not exactly one definition; [`ModelError::TooNew`] and [`ModelError::UnknownType`] if
    /// a newer release wrote it; [`ModelError::Schema`] if it breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<UserType, ModelError> {
        let input = &mut &*bytes;
        let [version] = varint::get_array(input).ok_or(cut())?;
        check_version("user-defined type", version, TYPE_VERSION)?;
        let CqlType::Udt(ty) = CqlType::decode(input)? else {
            return Err(ModelError::corrupt("a user-defined type is of another kind"));
        };
        if !input.is_empty() {
            return Err(cut());
        }
        ty.validate()?;
        Ok(Arc::unwrap_or_clone(ty))
    }
}

impl CqlType {
    /// Whether the user-defined type of this name is it, or is anywhere inside.
    #[must_use]
    pub fn uses_type(&self, keyspace: &str, name: &str) -> bool {
        let is_it = matches!(self, CqlType::Udt(ty) if ty.keyspace == keyspace && ty.name == name);
        is_it || self.inside().into_iter().any(|ty| ty.uses_type(keyspace, name))
    }

    /// The same with this user-defined type wherever one of its name is.
    #[must_use]
    pub fn with_type(&self, new: &Arc<UserType>) -> CqlType {
        let with = |ty: &CqlType| ty.with_type(new);
        match self {
            CqlType::Udt(ty) if ty.keyspace == new.keyspace && ty.name == new.name => CqlType::Udt(Arc::clone(new)),
            CqlType::Udt(ty) if self.uses_type(&new.keyspace, &new.name) => CqlType::udt(ty.with_type(new)),
            CqlType::List(of) => with(of).list(),
            CqlType::Set(of) => with(of).set(),
            CqlType::Frozen(of) => with(of).frozen(),
            CqlType::Map(key, value) => with(key).map(with(value)),
            CqlType::Tuple(types) => CqlType::tuple(types.iter().map(with)),
            other => other.clone(),
        }
    }
}

impl UserType {
    /// The same with this user-defined type wherever one of its name is inside.
    #[must_use]
    pub fn with_type(&self, new: &Arc<UserType>) -> UserType {
        let field = |field: &UserField| UserField {
            name: field.name.clone(),
            ty: field.ty.with_type(new),
        };
        UserType {
            keyspace: self.keyspace.clone(),
            name: self.name.clone(),
            fields: self.fields.iter().map(field).collect(),
        }
    }
}

impl Schema {
    /// Whether a column has the user-defined type of this name in it. Dropped ones do not count.
    #[must_use]
    pub fn uses_type(&self, keyspace: &str, name: &str) -> bool {
        self.columns().any(|column| column.ty.uses_type(keyspace, name))
    }

    /// The same with this user-defined type wherever one of its name is; dropped columns included.
    #[must_use]
    pub fn with_type(&self, new: &Arc<UserType>) -> Schema {
        let mut schema = self.clone();
        let of_clustering = schema.clustering.iter_mut().map(|of| &mut of.column);
        let of_dropped = schema.dropped.iter_mut().map(|of| &mut of.column);
        let columns = schema.partition_key.iter_mut().chain(of_clustering);
        let columns = columns.chain(&mut schema.statics).chain(&mut schema.regulars);
        for column in columns.chain(of_dropped) {
            if column.ty.uses_type(&new.keyspace, &new.name) {
                column.ty = column.ty.with_type(new);
            }
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> UserType {
        UserType::new("chat", "address", [("street", CqlType::Text), ("number", CqlType::Int)])
    }

    #[test]
    fn definitions_read_back() {
        let mut keyspace = Keyspace::new("chat");
        keyspace.durable_writes = false;
        keyspace.replication.insert("dc1".to_owned(), "3".to_owned());
        assert_eq!(Keyspace::decode(&keyspace.encode()), Ok(keyspace.clone()));
        assert_eq!(UserType::decode(&address().encode()), Ok(address()));
        for (bytes, is_keyspace) in [(keyspace.encode(), true), (address().encode(), false)] {
            let fails = |bytes: &[u8]| match is_keyspace {
                true => Keyspace::decode(bytes).err(),
                false => UserType::decode(bytes).err(),
            };
            for len in 0..bytes.len() {
                assert!(fails(&bytes[..len]).is_some(), "cut after {len}");
            }
            assert!(fails(&[&bytes[..], &[0]].concat()).is_some(), "longer");
            let newer = [&[2], &bytes[1..]].concat();
            assert!(matches!(fails(&newer), Some(ModelError::TooNew { .. })));
        }
        assert!(UserType::decode(&[1, 9]).is_err(), "an int");
    }

    #[test]
    fn replication_out_of_order_is_refused() {
        let mut bytes = vec![1, 1, b'k', 2];
        bytes.extend([1, b'b', 1, b'1', 1, b'a', 1, b'2', 1]);
        assert!(matches!(Keyspace::decode(&bytes), Err(ModelError::Corrupt { .. })));
    }

    #[test]
    fn a_type_is_altered_wherever_it_is_used() {
        let wrapped = CqlType::udt(UserType::new(
            "chat",
            "person",
            [("lives", CqlType::udt(address()).frozen())],
        ));
        let schema = Schema::builder("chat", "people")
            .partition_key("id", CqlType::Int)
            .regular("of", wrapped.clone().frozen().list())
            .regular("plain", CqlType::udt(address()))
            .build()
            .expect("legal");
        assert!(schema.uses_type("chat", "address") && !schema.uses_type("other", "address"));
        let changes = [
            TypeAlteration::add("city", CqlType::Text),
            TypeAlteration::rename("number", "no"),
        ];
        let altered = Arc::new(address().altered(&changes).expect("legal"));
        let names: Vec<_> = altered.fields.iter().map(|field| &field.name[..]).collect();
        assert_eq!(names, ["street", "no", "city"]);
        let after = schema.with_type(&altered);
        after.validate().expect("legal");
        assert_eq!(
            after.column("plain").map(|column| &column.ty),
            Some(&CqlType::Udt(Arc::clone(&altered)))
        );
        let CqlType::List(of) = &after.column("of").expect("there").ty else {
            panic!("a list")
        };
        assert!(
            matches!(of.unfrozen(), CqlType::Udt(ty) if ty.fields[0].ty.unfrozen() == &CqlType::Udt(Arc::clone(&altered)))
        );
        assert_eq!(after.with_type(&Arc::new(address())), schema);
    }

    #[test]
    fn rejects_what_a_type_cannot_become() {
        let inside = CqlType::udt(address()).frozen().list().frozen();
        for (change, says) in [
            (
                TypeAlteration::add("street", CqlType::Int),
                "there is a field street already",
            ),
            (
                TypeAlteration::rename("street", "number"),
                "there is a field number already",
            ),
            (TypeAlteration::rename("town", "city"), "there is no field town"),
            (TypeAlteration::add("", CqlType::Int), "empty name"),
            (TypeAlteration::add("again", inside), "inside itself"),
        ] {
            let told = address().altered(&[change]).expect_err("refused").to_string();
            assert!(told.contains(says), "{told:?} does not say {says:?}");
        }
        let mut nameless = address();
        nameless.keyspace = "no such".to_owned();
        assert!(nameless.validate().is_err());
        assert!(Keyspace::new(&"k".repeat(49)).validate().is_err());
    }
}
