//! The tables: read from `schema.cql`, held against what a keyspace has.
//!
//! Pure. Owns what counts as a difference: a column that is missing, of another type, or in another place of the key.
//! Columns that are not ours are left alone. Called by the porch to Cassandra.

use std::collections::BTreeMap;

/// The file that is shipped.
pub const CQL: &str = include_str!("schema.cql");

/// What a column is for: `partition_key`, `clustering`, `regular`, `static`, as `system_schema.columns` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub kind: String,
    /// Within its part of the key; -1 outside.
    pub position: i32,
    pub cql_type: String,
    /// `asc`, `desc`, or `none`.
    pub order: String,
}

/// By table, by column.
pub type Tables = BTreeMap<String, BTreeMap<String, Column>>;

/// Each `CREATE TABLE` of the file, without its comments.
pub fn statements() -> Vec<String> {
    let code: String = CQL.lines().map(|line| line.split("--").next().unwrap_or_default()).fold(
        String::new(),
        |mut code, line| {
            code.push_str(line);
            code.push('\n');
            code
        },
    );
    code.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

/// What the file makes.
pub fn wanted() -> Tables {
    statements().iter().filter_map(|statement| table(statement)).collect()
}

fn table(statement: &str) -> Option<(String, BTreeMap<String, Column>)> {
    let (head, rest) = statement.split_once('(')?;
    let name = head.split_whitespace().last()?.to_owned();
    let (columns, key) = rest.split_once("PRIMARY KEY ((")?;
    let (partition, rest) = key.split_once(')')?;
    let clustering = rest.split_once(')')?.0;
    let descends = |column: &str| rest.contains(&format!("{column} DESC"));
    let place = |list: &str, name: &str| {
        list.split(',').map(str::trim).filter(|part| !part.is_empty()).position(|part| part == name)
    };
    let mut table = BTreeMap::new();
    for line in columns.split(',') {
        let mut words = line.split_whitespace();
        let (Some(column), Some(cql_type)) = (words.next(), words.next()) else { continue };
        let (kind, position, order) = if let Some(at) = place(partition, column) {
            ("partition_key", at as i32, "none")
        } else if let Some(at) = place(clustering, column) {
            ("clustering", at as i32, if descends(column) { "desc" } else { "asc" })
        } else {
            (if words.next() == Some("static") { "static" } else { "regular" }, -1, "none")
        };
        let column_of = Column {
            kind: kind.to_owned(),
            position,
            cql_type: cql_type.to_owned(),
            order: order.to_owned(),
        };
        table.insert(column.to_owned(), column_of);
    }
    Some((name, table))
}

/// Tables that are not there.
pub fn missing(found: &Tables) -> Vec<String> {
    wanted().into_keys().filter(|table| !found.contains_key(table)).collect()
}

/// The first thing that differs, in one line for a person.
pub fn difference(keyspace: &str, found: &Tables) -> Option<String> {
    for (table, columns) in wanted() {
        let Some(there) = found.get(&table) else {
            return Some(format!("the table {keyspace}.{table} is missing"));
        };
        for (name, column) in &columns {
            let Some(has) = there.get(name) else {
                return Some(format!("the table {keyspace}.{table} has no column {name}"));
            };
            if has != column {
                return Some(format!(
                    "the table {keyspace}.{table} has {name} as {}, and it must be {}",
                    described(has),
                    described(column)
                ));
            }
        }
        let strange = |(name, column): (&String, &Column)| {
            (column.position >= 0 && !columns.contains_key(name)).then(|| name.clone())
        };
        if let Some(name) = there.iter().find_map(strange) {
            return Some(format!(
                "the table {keyspace}.{table} has {name} in its key, which does not belong there"
            ));
        }
    }
    None
}

fn described(column: &Column) -> String {
    let Column { kind, position, cql_type, order } = column;
    match kind.as_str() {
        "partition_key" => format!("{cql_type}, part {} of the partition key", position + 1),
        "clustering" => format!("{cql_type}, part {} of the clustering, {order}", position + 1),
        "static" => format!("{cql_type} static"),
        _ => cql_type.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_cassandra_reads_it() {
        let tables = wanted();
        let names: Vec<_> = tables.keys().map(String::as_str).collect();
        let expected = [
            "deliveries_by_notification",
            "marks_by_user",
            "notifications_by_topic",
            "notifications_by_user",
            "subscriptions_by_user",
        ];
        assert_eq!(names, expected);
        let column = |table: &str, column: &str| {
            let Column { kind, position, cql_type, order } = tables[table][column].clone();
            (kind, position, cql_type, order)
        };
        let is = |kind: &str, position, cql_type: &str, order: &str| {
            (kind.to_owned(), position, cql_type.to_owned(), order.to_owned())
        };
        assert_eq!(column("notifications_by_user", "user_id"), is("partition_key", 0, "text", "none"));
        assert_eq!(column("notifications_by_user", "created_at"), is("clustering", 0, "timestamp", "desc"));
        assert_eq!(column("notifications_by_user", "notification_id"), is("clustering", 1, "uuid", "asc"));
        assert_eq!(column("notifications_by_topic", "topic"), is("partition_key", 1, "text", "none"));
        assert_eq!(column("deliveries_by_notification", "head"), is("static", -1, "text", "none"));
        assert_eq!(column("deliveries_by_notification", "state"), is("regular", -1, "text", "none"));
    }

    #[test]
    fn a_difference_is_named_and_more_columns_are_none() {
        let mut found = wanted();
        assert_eq!(difference("ks", &found), None);
        let extra = Column {
            kind: "regular".to_owned(),
            position: -1,
            cql_type: "int".to_owned(),
            order: "none".to_owned(),
        };
        let table =
            |found: &mut Tables| found.get_mut("notifications_by_user").expect("it is wanted").clone();
        let mut others = table(&mut found);
        others.insert("theirs".to_owned(), extra.clone());
        found.insert("notifications_by_user".to_owned(), others);
        found.insert("theirs".to_owned(), BTreeMap::new());
        assert_eq!(difference("ks", &found), None);
        let mut wrong = table(&mut found);
        wrong.get_mut("created_at").expect("it is wanted").cql_type = "text".to_owned();
        found.insert("notifications_by_user".to_owned(), wrong);
        let told = difference("ks", &found).expect("a difference");
        assert!(told.contains("ks.notifications_by_user has created_at as text"), "{told}");
        found.remove("marks_by_user");
        assert_eq!(missing(&found), ["marks_by_user"]);
        let mut keyed = wanted();
        keyed
            .get_mut("marks_by_user")
            .expect("it is wanted")
            .insert("device".to_owned(), Column { kind: "clustering".to_owned(), position: 1, ..extra });
        assert!(difference("ks", &keyed).expect("a difference").contains("device in its key"));
    }
}
