//! `ALTER TABLE`: what may change of a definition, and what it is then.

use super::{Column, DroppedColumn, Schema, TableOptions};
use crate::{ColumnId, CqlType, ModelError};

/// One change of a table's definition.
///
/// [`Schema::altered`](crate::Schema::altered) gives the table that comes of it.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Alteration {
    /// `ADD`: a column that no row has yet.
    Add {
        /// Its name.
        name: String,
        /// Its type.
        ty: CqlType,
        /// One value per partition.
        is_static: bool,
    },
    /// `DROP`: a static or regular column. What it held is never shown again, even if a column of that name is added later.
    Drop {
        /// Its name.
        name: String,
    },
    /// `RENAME`: a column of the key; rows are not touched.
    Rename {
        /// The name that it has.
        from: String,
        /// The name that it gets.
        to: String,
    },
    /// `WITH`: all options, those that stay as they are included.
    Options(TableOptions),
}

impl Alteration {
    /// `ADD name ty`.
    #[must_use]
    pub fn add(name: &str, ty: CqlType) -> Alteration {
        Alteration::Add {
            name: name.to_owned(),
            ty,
            is_static: false,
        }
    }

    /// `ADD name ty STATIC`.
    #[must_use]
    pub fn add_static(name: &str, ty: CqlType) -> Alteration {
        Alteration::Add {
            name: name.to_owned(),
            ty,
            is_static: true,
        }
    }

    /// `DROP name`.
    #[must_use]
    pub fn drop(name: &str) -> Alteration {
        Alteration::Drop { name: name.to_owned() }
    }

    /// `RENAME from TO to`.
    #[must_use]
    pub fn rename(from: &str, to: &str) -> Alteration {
        Alteration::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }
}

impl Schema {
    /// The definition after `alterations`, made one after another at `now_micros` (microseconds since the Unix epoch).
    ///
    /// # Errors
    /// [`ModelError::Schema`]: a column that is not there, is there already, or is of the key; one that was dropped with a type
    /// whose values the new one does not read; or what [`validate`](Self::validate) refuses.
    pub fn altered(&self, alterations: &[Alteration], now_micros: i64) -> Result<Schema, ModelError> {
        let mut schema = self.clone();
        for alteration in alterations {
            match alteration {
                Alteration::Add { name, ty, is_static } => schema.add(name, ty, *is_static)?,
                Alteration::Drop { name } => schema.drop(name, now_micros)?,
                Alteration::Rename { from, to } => schema.rename(from, to)?,
                Alteration::Options(options) => schema.options = options.clone(),
            }
        }
        schema.validate()?;
        Ok(schema)
    }

    /// The columns whose cells are no longer shown; ascending.
    #[must_use]
    pub fn dropped_columns(&self) -> Vec<ColumnId> {
        let mut ids: Vec<ColumnId> = self.dropped.iter().map(|dropped| dropped.column.id).collect();
        ids.sort_unstable();
        ids
    }

    fn refuse<T>(&self, what: String) -> Result<T, ModelError> {
        let what = format!("{}: {what}", self.qualified_name());
        Err(ModelError::Schema { what })
    }

    fn is_key(&self, name: &str) -> bool {
        let mut clustering = self.clustering.iter().map(|of| &of.column);
        self.partition_key.iter().any(|column| column.name == name) || clustering.any(|column| column.name == name)
    }

    fn add(&mut self, name: &str, ty: &CqlType, is_static: bool) -> Result<(), ModelError> {
        if self.column(name).is_some() {
            return self.refuse(format!("there is a column {name} already"));
        }
        // Files may hold its old values; ids keep them apart, but whoever reads the table's history would not know which is which.
        let mut before = self.dropped.iter().filter(|dropped| dropped.column.name == name);
        if let Some(before) = before
            .next_back()
            .filter(|before| !ty.reads_values_of(&before.column.ty))
        {
            return self.refuse(format!(
                "column {name} was {} until it was dropped, and cannot be added as {ty}; choose another name",
                before.column.ty
            ));
        }
        let id = self.next_column;
        self.next_column = ColumnId(id.0 + 1);
        let column = Column {
            id,
            name: name.to_owned(),
            ty: ty.clone(),
        };
        match is_static {
            true => self.statics.push(column),
            false => self.regulars.push(column),
        }
        Ok(())
    }

    fn drop(&mut self, name: &str, now_micros: i64) -> Result<(), ModelError> {
        if self.is_key(name) {
            return self.refuse(format!("{name} is of the primary key, which cannot lose a column"));
        }
        let at = |columns: &[Column]| columns.iter().position(|column| column.name == name);
        let (column, is_static) = match (at(&self.statics), at(&self.regulars)) {
            (Some(at), _) => (self.statics.remove(at), true),
            (None, Some(at)) => (self.regulars.remove(at), false),
            (None, None) => return self.refuse(format!("there is no column {name}")),
        };
        self.dropped.push(DroppedColumn {
            column,
            is_static,
            dropped_at: now_micros,
        });
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), ModelError> {
        if self.column(from).is_none() {
            return self.refuse(format!("there is no column {from}"));
        }
        if !self.is_key(from) {
            return self.refuse(format!(
                "{from} is not of the primary key, and only such columns can be renamed"
            ));
        }
        if self.column(to).is_some() {
            return self.refuse(format!("there is a column {to} already"));
        }
        let clustering = self.clustering.iter_mut().map(|of| &mut of.column);
        let column = self.partition_key.iter_mut().chain(clustering).find(|c| c.name == from);
        column.expect("looked for above").name = to.to_owned();
        Ok(())
    }
}

impl CqlType {
    /// Whether every value of `other` is one of this type, too, with the same meaning: what a dropped column may come back as.
    fn reads_values_of(&self, other: &CqlType) -> bool {
        self == other
            || match self {
                CqlType::Blob => !other.is_multi_cell(),
                CqlType::Text => *other == CqlType::Ascii,
                CqlType::Varint => matches!(
                    other,
                    CqlType::BigInt | CqlType::Int | CqlType::SmallInt | CqlType::TinyInt
                ),
                CqlType::BigInt => *other == CqlType::Timestamp,
                CqlType::Uuid => *other == CqlType::TimeUuid,
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Schema {
        Schema::builder("k", "t")
            .partition_key("p", CqlType::Int)
            .clustering_desc("c", CqlType::BigInt)
            .static_column("s", CqlType::Text)
            .regular("v", CqlType::Ascii)
            .build()
            .expect("legal")
    }

    fn refused(schema: &Schema, alterations: &[Alteration]) -> String {
        schema.altered(alterations, 1).expect_err("refused").to_string()
    }

    #[test]
    fn a_dropped_column_keeps_its_id_to_itself() {
        let before = table();
        let old = before.column("v").expect("there").id;
        let without = before.altered(&[Alteration::drop("v")], 7).expect("dropped");
        assert_eq!(without.column("v"), None);
        assert_eq!(without.dropped_columns(), [old]);
        assert_eq!(
            (without.dropped[0].dropped_at, without.dropped[0].is_static),
            (7, false)
        );
        let again = without
            .altered(&[Alteration::add("v", CqlType::Text)], 8)
            .expect("added");
        assert!(again.column("v").expect("there").id > old);
        assert_eq!(again.dropped_columns(), [old]);
        assert_eq!(Schema::decode(&again.encode()), Ok(again.clone()));
        let both = again
            .altered(&[Alteration::drop("s"), Alteration::drop("v")], 9)
            .expect("dropped");
        assert!(both.dropped_columns().is_sorted() && both.dropped.len() == 3);
        assert!(both.dropped[1].is_static);
    }

    #[test]
    fn columns_are_added_and_renamed() {
        let alterations = [
            Alteration::add("w", CqlType::Int.set()),
            Alteration::add_static("z", CqlType::Int),
            Alteration::rename("p", "partition"),
            Alteration::rename("c", "at"),
            Alteration::Options(TableOptions {
                default_ttl: 9,
                ..TableOptions::default()
            }),
        ];
        let after = table().altered(&alterations, 1).expect("altered");
        let names: Vec<&str> = after.columns().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["partition", "at", "s", "z", "v", "w"]);
        assert_eq!(after.options.default_ttl, 9);
        assert_eq!(after.column("at").map(|c| c.id), table().column("c").map(|c| c.id));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let table = table();
        for (alterations, says) in [
            (vec![Alteration::add("v", CqlType::Int)], "there is a column v already"),
            (vec![Alteration::add("c", CqlType::Int)], "there is a column c already"),
            (vec![Alteration::drop("x")], "there is no column x"),
            (vec![Alteration::drop("p")], "is of the primary key"),
            (vec![Alteration::drop("c")], "is of the primary key"),
            (vec![Alteration::rename("x", "y")], "there is no column x"),
            (vec![Alteration::rename("v", "y")], "is not of the primary key"),
            (vec![Alteration::rename("p", "c")], "there is a column c already"),
            (
                vec![Alteration::drop("v"), Alteration::add("v", CqlType::Int)],
                "column v was ascii until it was dropped, and cannot be added as int",
            ),
            (
                vec![Alteration::add("", CqlType::Int)],
                "column name \"\" is empty or too long",
            ),
            (
                vec![Alteration::add("w", CqlType::Int.list().list())],
                "inside one that is not frozen",
            ),
            (
                vec![Alteration::Options(TableOptions {
                    default_ttl: u32::MAX,
                    ..TableOptions::default()
                })],
                "default_time_to_live",
            ),
        ] {
            let told = refused(&table, &alterations);
            assert!(told.contains(says), "{alterations:?}: {told:?} does not say {says:?}");
        }
        let flat = Schema::builder("k", "t")
            .partition_key("p", CqlType::Int)
            .build()
            .expect("legal");
        let told = refused(&flat, &[Alteration::add_static("s", CqlType::Int)]);
        assert!(told.contains("static columns but no clustering column"), "{told}");
    }
}
