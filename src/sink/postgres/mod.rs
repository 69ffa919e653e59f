//! PostgreSQL as the sink of a pipeline: each message is a row, rows are written in transactions.
//!
//! Leaves what an address says to `settings`, SQL to `statement`, values to `value` and the connection to `link`; trying
//! again is the dispatcher's. Invariants: a message is delivered when its transaction is committed; order is kept; of a
//! batch that is refused only those rows are given up that are refused alone.

mod link;
pub(crate) mod settings;
mod statement;
mod value;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Statement;

pub(crate) use self::link::Way;
use self::link::{Link, Verdict, judge};
use self::settings::{Conflict, PostgresSettings, Table, Work};
use self::value::Param;
use crate::broker::{again, refused};
use crate::filter::apart::begin;
use crate::filter::{Filter, Json};
use crate::queue::end::{BatchSink, EndError, LocalFuture, Problem, Report};
use crate::queue::envelope::Envelope;

/// Most statements that are kept prepared.
const MAX_STATEMENTS: usize = 100;

pub(crate) struct PostgresSink {
    settings: PostgresSettings,
    /// One for each column or placeholder.
    filters: Vec<Filter>,
    way: Way,
    raw_input: bool,
    /// How long to wait for a transaction.
    timeout: Duration,
    link: Option<Link>,
    /// The statement of every row, where it is the same for all.
    sql: Option<Rc<str>>,
    /// Prepared, by their text; of this connection.
    statements: HashMap<Rc<str>, Statement>,
    /// The server that is tried next.
    next: usize,
}

/// A row on its way.
struct Row {
    sql: Rc<str>,
    params: Vec<Param>,
}

/// Why a transaction was not committed.
enum Failure {
    /// A row was refused.
    Row(String),
    /// All rows were taken, and the transaction as a whole was refused.
    Whole(String),
    Other(Problem),
}

impl BatchSink for PostgresSink {
    fn name(&self) -> &str {
        &self.settings.shown
    }

    fn open(&mut self) -> LocalFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            self.connect().await?;
            // Fields are known when there is a message.
            let Some(sql) = self.sql.clone() else { return Ok(()) };
            match self.prepare(&sql).await? {
                Ok(()) => Ok(()),
                Err(reason) => Err(Problem::Broken(refused(&self.settings.shown, &reason))),
            }
        })
    }

    fn deliver<'a>(&'a mut self, batch: &'a [Envelope]) -> LocalFuture<'a, Report> {
        Box::pin(async move {
            let limit = self.timeout;
            let report = tokio::time::timeout(limit, self.write(batch)).await;
            report.unwrap_or_else(|_| {
                // Whatever the server still does is no longer ours to know.
                self.link = None;
                Report::Partly(0, again(format!("no answer within {limit:?}")))
            })
        })
    }

    fn finish(&mut self) -> LocalFuture<'_, Result<(), EndError>> {
        Box::pin(async move {
            if let Some(link) = self.link.take() {
                link.close().await;
            }
            Ok(())
        })
    }
}

impl PostgresSink {
    /// Returns a sink that has not connected.
    pub(crate) fn new(
        settings: PostgresSettings,
        filters: Vec<Filter>,
        way: Way,
        raw_input: bool,
        timeout: Duration,
    ) -> Self {
        let sql = match &settings.work {
            Work::Fields(..) => None,
            Work::Columns(table, columns, conflict) => {
                let names = columns.iter().map(|(name, _)| name.as_str());
                Some(statement::insert(table, names, conflict).into())
            }
            Work::Sql(sql, _) => Some(sql.as_str().into()),
        };
        let statements = HashMap::new();
        Self { settings, filters, way, raw_input, timeout, link: None, sql, statements, next: 0 }
    }

    async fn connect(&mut self) -> Result<(), Problem> {
        if self.link.as_ref().is_some_and(|link| !link.is_lost()) {
            return Ok(());
        }
        self.link = None;
        self.statements.clear();
        let servers = &self.settings.servers;
        let mut last = again("no server");
        for _ in 0..servers.len() {
            let server = &servers[self.next % servers.len()];
            match Link::open(&self.settings, &self.way, server).await {
                Ok(link) => {
                    self.link = Some(link);
                    return Ok(());
                }
                Err(problem) => {
                    self.next += 1;
                    last = problem;
                }
            }
        }
        Err(last)
    }

    /// Prepares a statement; the inner error is what the server has against it.
    async fn prepare(&mut self, sql: &Rc<str>) -> Result<Result<(), String>, Problem> {
        if self.statements.contains_key(sql) {
            return Ok(Ok(()));
        }
        let Some(link) = &self.link else { return Err(again("not connected")) };
        match link.prepare(sql).await {
            Ok(statement) => {
                let (placeholders, filters) = (statement.params().len(), self.filters.len());
                if let Work::Sql(..) = &self.settings.work
                    && placeholders != filters
                {
                    let text = format!("?sql has {placeholders} placeholders and ?params {filters} filters");
                    return Err(Problem::Broken(refused(&self.settings.shown, &text)));
                }
                self.statements.insert(Rc::clone(sql), statement);
                Ok(Ok(()))
            }
            Err(error) => match judge(&error) {
                Verdict::Row(reason) => Ok(Err(reason)),
                verdict => Err(self.problem(verdict)),
            },
        }
    }

    /// What is to be done about what is not a row's fault.
    fn problem(&mut self, verdict: Verdict) -> Problem {
        match verdict {
            Verdict::Row(reason) => Problem::Never(reason),
            Verdict::Again(reason) => {
                // The next server may be the one that takes rows; a new connection knows no old statements.
                self.link = None;
                self.next += 1;
                again(reason)
            }
            Verdict::Final(reason) => Problem::Broken(refused(&self.settings.shown, &reason)),
        }
    }

    async fn write(&mut self, batch: &[Envelope]) -> Report {
        if let Err(problem) = self.connect().await {
            return Report::Partly(0, problem);
        }
        if self.statements.len() > MAX_STATEMENTS {
            self.statements.clear();
        }
        let mut fates: Vec<Result<(), Problem>> = Vec::with_capacity(batch.len());
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for (place, envelope) in batch.iter().enumerate() {
            let row = match self.row(envelope).await {
                Ok(row) => match self.prepare(&row.sql).await {
                    Ok(Ok(())) => Ok(row),
                    // Fields come from the message, all else from the address.
                    Ok(Err(reason)) if matches!(self.settings.work, Work::Fields(..)) => Err(reason),
                    Ok(Err(reason)) => {
                        return Report::Partly(0, Problem::Broken(refused(&self.settings.shown, &reason)));
                    }
                    Err(problem) => return Report::Partly(0, problem),
                },
                Err(reason) => Err(reason),
            };
            match row {
                Ok(row) => {
                    rows.push(row);
                    places.push(place);
                    fates.push(Ok(()));
                }
                Err(reason) => fates.push(Err(Problem::Never(reason))),
            }
        }
        let refused = match self.together(&rows).await {
            Ok(()) => Vec::new(),
            Err(Failure::Other(problem)) => return Report::Partly(0, problem),
            Err(Failure::Row(reason) | Failure::Whole(reason)) if rows.len() == 1 => vec![(0, reason)],
            Err(failure) => match self.one_by_one(&rows, matches!(failure, Failure::Whole(_))).await {
                Ok(refused) => refused,
                Err(problem) => return Report::Partly(0, problem),
            },
        };
        for (row, reason) in refused {
            fates[places[row]] = Err(Problem::Never(reason));
        }
        Report::Each(fates)
    }

    /// All rows in one transaction, sent in one go.
    async fn together(&mut self, rows: &[Row]) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let Some(link) = &self.link else { return Err(Failure::Other(again("not connected"))) };
        let statements: Option<Vec<_>> =
            rows.iter().map(|row| Some((self.statements.get(&row.sql)?, row.params.as_slice()))).collect();
        let Some(statements) = statements else { return Err(Failure::Other(again("too many statements"))) };
        let answers = link.run_all("BEGIN", statements.into_iter(), "COMMIT").await;
        // The first error is the one that counts: behind it the transaction is aborted, and COMMIT undoes it.
        let Some((place, error)) =
            answers.iter().enumerate().find_map(|(place, answer)| Some((place, answer.as_ref().err()?)))
        else {
            return Ok(());
        };
        match judge(error) {
            Verdict::Row(reason) if (1..=rows.len()).contains(&place) => Err(Failure::Row(reason)),
            // Constraints that are deferred until then.
            Verdict::Row(reason) => Err(Failure::Whole(reason)),
            verdict => Err(Failure::Other(self.problem(verdict))),
        }
    }

    /// One row after another in one transaction, those that are refused left out. Returns their places.
    async fn one_by_one(&mut self, rows: &[Row], is_deferred: bool) -> Result<Vec<(usize, String)>, Problem> {
        const SAVE: &str = "SAVEPOINT wsp";
        const UNDO: &str = "ROLLBACK TO SAVEPOINT wsp; RELEASE SAVEPOINT wsp";

        let Some(link) = &self.link else { return Err(again("not connected")) };
        let begin = if is_deferred { "BEGIN; SET CONSTRAINTS ALL IMMEDIATE" } else { "BEGIN" };
        let mut refused = Vec::new();
        let result = async {
            link.run(begin).await?;
            for (place, row) in rows.iter().enumerate() {
                let Some(statement) = self.statements.get(&row.sql) else { continue };
                let one = std::iter::once((statement, row.params.as_slice()));
                let answers = link.run_all(SAVE, one, "RELEASE SAVEPOINT wsp").await;
                let Some(error) = answers.into_iter().find_map(Result::err) else { continue };
                match judge(&error) {
                    Verdict::Row(reason) => {
                        refused.push((place, reason));
                        link.run(UNDO).await?;
                    }
                    _ => return Err(error),
                }
            }
            link.run("COMMIT").await
        };
        match result.await.map_err(|error| judge(&error)) {
            Ok(()) => Ok(refused),
            Err(Verdict::Row(reason)) => Err(self.problem(Verdict::Again(reason))),
            Err(verdict) => Err(self.problem(verdict)),
        }
    }

    async fn row(&self, envelope: &Envelope) -> Result<Row, String> {
        let input = Json::of_message(&envelope.message, self.raw_input)?;
        match (&self.settings.work, &self.sql) {
            (Work::Fields(table, conflict), _) => fields(table, input, conflict),
            (_, Some(sql)) => Ok(Row { sql: Rc::clone(sql), params: self.values(envelope, &input).await? }),
            (_, None) => Err("no statement".to_owned()),
        }
    }

    /// The first value each filter yields; null where it yields none.
    async fn values(&self, envelope: &Envelope, input: &Json) -> Result<Vec<Param>, String> {
        let names_meta = self.filters.iter().any(Filter::names_meta);
        let meta = || envelope.origin.meta(&envelope.message, envelope.time, envelope.seq);
        let meta = if names_meta { meta() } else { Json::null() };
        let begun = begin(
            || firsts(&self.filters, input, &meta),
            || {
                let (filters, input, meta) = (self.filters.clone(), input.clone(), meta.clone());
                move || firsts(&filters, &input, &meta)
            },
        );
        begun.finish().await?.map_err(|(place, error)| match &self.settings.work {
            Work::Columns(_, columns, _) => format!("column {}: {error}", columns[place].0),
            _ => format!("${}: {error}", place + 1),
        })
    }
}

/// The first value each filter yields; an error comes with the filter's place.
fn firsts(filters: &[Filter], input: &Json, meta: &Json) -> Result<Vec<Param>, (usize, String)> {
    let first = |(place, filter): (usize, &Filter)| {
        let value = filter.first(input, meta).map_err(|error| (place, error))?;
        Ok(Param(value.map_or(Value::Null, Json::into_serde)))
    };
    filters.iter().enumerate().map(first).collect()
}

fn fields(table: &Table, input: Json, conflict: &Conflict) -> Result<Row, String> {
    let Value::Object(fields) = input.into_serde() else {
        return Err("not a JSON object; set the columns with ?columns=NAME=JQ".to_owned());
    };
    let sql = statement::insert(table, fields.keys().map(String::as_str), conflict).into();
    Ok(Row { sql, params: fields.into_iter().map(|(_, value)| Param(value)).collect() })
}
