//! Answers for people and for machines from one description.

use serde_json::{Map, Value};

/// Facts, rows, or both.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    facts: Vec<(&'static str, Value)>,
    table: Option<Rows>,
}

#[derive(Debug)]
struct Rows {
    /// The key of the rows in JSON, if there are facts too.
    key: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Shown {
    /// Adds a fact.
    pub(crate) fn fact(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    /// Sets the rows. Each has a value per column.
    pub(crate) fn rows(
        mut self,
        key: &'static str,
        columns: &'static [&'static str],
        rows: Vec<Vec<Value>>,
    ) -> Self {
        debug_assert!(rows.iter().all(|row| row.len() == columns.len()), "a value per column");
        self.table = Some(Rows { key, columns, rows });
        self
    }

    /// A list of objects; with facts, an object.
    pub(crate) fn to_json(&self) -> Value {
        let rows = self.table.as_ref().map(|table| {
            let object = |row: &Vec<Value>| {
                let names = table.columns.iter().map(|name| (*name).to_owned());
                Value::Object(names.zip(row.iter().cloned()).collect())
            };
            (table.key, Value::Array(table.rows.iter().map(object).collect()))
        });
        if self.facts.is_empty() {
            return rows.map_or(Value::Array(Vec::new()), |(_, rows)| rows);
        }
        let facts = self.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut object: Map<_, _> = facts.collect();
        if let Some((key, rows)) = rows {
            object.insert(key.to_owned(), rows);
        }
        Value::Object(object)
    }

    /// Aligned columns; numbers to the right.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in &self.facts {
            push_line(&mut text, &format!("{name:width$}  {}", cell(value)));
        }
        let Some(table) = &self.table else { return text };
        if !self.facts.is_empty() {
            text.push('\n');
        }
        let cells: Vec<Vec<String>> =
            table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        let width_of = |column: usize| {
            let widest = cells.iter().map(|row| row[column].chars().count()).max();
            widest.unwrap_or_default().max(table.columns[column].len())
        };
        let widths: Vec<usize> = (0..table.columns.len()).map(width_of).collect();
        let is_number =
            |column: usize| table.rows.first().is_some_and(|row| row[column].is_number());
        let mut line = |row: &[&str]| {
            let mut out = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                let padded = if is_number(column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:width$}")
                };
                out.push_str(&padded);
                out.push_str("  ");
            }
            push_line(&mut text, &out);
        };
        line(table.columns);
        for row in &cells {
            line(&row.iter().map(String::as_str).collect::<Vec<_>>());
        }
        text
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown() -> Shown {
        let rows = vec![
            vec![json!("a"), json!(5), json!(["x", "y"])],
            vec![json!("longer"), json!(1_000), Value::Null],
        ];
        Shown::default().rows("things", &["name", "count", "tags"], rows)
    }

    #[test]
    fn columns_align() {
        assert_eq!(
            shown().to_text(),
            "name    count  tags\na           5  x y\nlonger   1000  -\n"
        );
        assert_eq!(Shown::default().rows("things", &["name"], Vec::new()).to_text(), "name\n");
    }

    #[test]
    fn facts_make_an_object() {
        assert_eq!(shown().to_json()[1]["count"], 1_000);
        let with_fact = shown().fact("version", 7);
        assert_eq!(with_fact.to_json()["things"][0]["tags"], json!(["x", "y"]));
        assert!(with_fact.to_text().starts_with("version  7\n\nname "));
    }
}
