//! The text of statements (pure).
//!
//! Invariant: names are quoted, so that none of them is ever read as SQL.

use super::settings::{Conflict, Table};

/// Writes an `INSERT` of one row with a placeholder for each column.
pub(super) fn insert<'c>(table: &Table, columns: impl Iterator<Item = &'c str> + Clone, conflict: &Conflict) -> String {
    let table = table.0.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".");
    let names = columns.clone().map(quoted).collect::<Vec<_>>().join(", ");
    let places = (1..=columns.clone().count()).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ");
    let row = if places.is_empty() { "DEFAULT VALUES".to_owned() } else { format!("({names}) VALUES ({places})") };
    let conflict = match conflict {
        Conflict::Refuse => String::new(),
        Conflict::Nothing(key) => format!(" ON CONFLICT{} DO NOTHING", target(key)),
        Conflict::Update(key) => {
            let others = columns.filter(|column| !key.iter().any(|name| name == column)).map(quoted);
            let updates: Vec<String> = others.map(|name| format!("{name} = EXCLUDED.{name}")).collect();
            if updates.is_empty() {
                format!(" ON CONFLICT{} DO NOTHING", target(key))
            } else {
                format!(" ON CONFLICT{} DO UPDATE SET {}", target(key), updates.join(", "))
            }
        }
    };
    format!("INSERT INTO {table} {row}{conflict}")
}

fn target(key: &[String]) -> String {
    match key {
        [] => String::new(),
        key => format!(" ({})", key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_conflicts_said() {
        let names = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        let table = Table(names(&["s", "t\"; DROP"]));
        let key = |items: &[&str]| names(items);
        let head = "INSERT INTO \"s\".\"t\"\"; DROP\" (\"a\", \"B c\") VALUES ($1, $2)";
        let rows = [
            (Conflict::Refuse, String::new()),
            (Conflict::Nothing(Vec::new()), " ON CONFLICT DO NOTHING".to_owned()),
            (Conflict::Nothing(key(&["a"])), " ON CONFLICT (\"a\") DO NOTHING".to_owned()),
            (Conflict::Update(key(&["a"])), " ON CONFLICT (\"a\") DO UPDATE SET \"B c\" = EXCLUDED.\"B c\"".to_owned()),
            (Conflict::Update(key(&["a", "B c"])), " ON CONFLICT (\"a\", \"B c\") DO NOTHING".to_owned()),
        ];
        for (conflict, tail) in rows {
            assert_eq!(insert(&table, ["a", "B c"].into_iter(), &conflict), format!("{head}{tail}"));
        }
        assert_eq!(
            insert(&Table(names(&["t"])), std::iter::empty(), &Conflict::Refuse),
            "INSERT INTO \"t\" DEFAULT VALUES"
        );
    }
}
