//! The seconds of a report as CSV (RFC 4180): a line each, the names first.

use std::fmt::Write as _;

use super::Report;

/// The names of the columns.
const NAMES: &str = "t,phase,connections,in_flight,sent,received,errors,p50_ms,p99_ms,max_ms,cpu,by_hand\r\n";

/// The whole file.
#[must_use]
pub(crate) fn csv(report: &Report) -> String {
    let mut text = NAMES.to_owned();
    let cell = |value: Option<f64>| value.map(|value| format!("{value:.4}")).unwrap_or_default();
    for second in &report.series {
        let _ = write!(
            text,
            "{:.0},{},{},{},{},{},{},{},{},{},{:.4},{}\r\n",
            second.t,
            second.phase,
            second.connections,
            second.in_flight,
            second.sent,
            second.received,
            second.errors,
            cell(second.p50),
            cell(second.p99),
            cell(second.max),
            second.cpu,
            second.by_hand.join("; ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Second;

    #[test]
    fn a_second_is_a_line() {
        let second = Second { t: 1.0, phase: "measure".to_owned(), sent: 5, p50: Some(0.25), ..Second::default() };
        let report = Report { series: vec![second], ..Report::default() };
        assert_eq!(csv(&report), format!("{NAMES}1,measure,0,0,5,0,0,0.2500,,,0.0000,\r\n"));
    }
}
