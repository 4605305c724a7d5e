//! The matrix as comma-separated values (RFC 4180): one record for each line and subject.
//!
//! Every field is quoted. A field that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`, a tab or the end of a
//! line) begins with an apostrophe, because names and claims come from files that others write.

use postern_config::policy::fold::Folded;
use postern_config::policy::matrix::Line;

const HEAD: [&str; 8] = ["module", "table", "operation", "column", "marks", "subject", "access", "rows"];

/// The whole sheet.
pub(super) fn csv(subjects: &[&str], lines: &[Line]) -> String {
    let mut text = String::new();
    record(&HEAD, &mut text);
    for line in lines {
        let marks = line.marks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let step = line.step.to_string();
        let column = line.column.as_ref().map_or("", |c| c.as_str());
        for (subject, cell) in subjects.iter().zip(&line.cells) {
            let (access, rows) = match cell {
                None => ("no login", String::new()),
                Some(Folded::All) => ("all", String::new()),
                Some(Folded::None) => ("none", String::new()),
                Some(Folded::Some(rows)) => ("some", rows.source()),
            };
            let (module, table) = (line.module.as_str(), line.table.to_string());
            record(&[module, &table, &step, column, &marks, subject, access, &rows], &mut text);
        }
    }
    text
}

fn record(fields: &[&str], text: &mut String) {
    for (n, value) in fields.iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        text.push_str(&field(value));
    }
    text.push_str("\r\n");
}

fn field(value: &str) -> String {
    let formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, value.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_are_no_formulas() {
        for (value, written) in [
            ("plain", "\"plain\""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("a=1", "\"a=1\""),
            ("", "\"\""),
        ] {
            assert_eq!(field(value), written);
        }
    }

    #[test]
    fn records_end_as_the_rfc_says() {
        let mut text = String::new();
        record(&["a", "b"], &mut text);
        assert_eq!(text, "\"a\",\"b\"\r\n");
    }
}
