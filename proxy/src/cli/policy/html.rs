//! The matrix as one page of HTML that refers to nothing else and runs nothing.

use std::fmt::Write as _;

use postern_config::policy::matrix::Line;

use super::matrix::{Notes, tables};
use super::printable;

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
<title>Policy matrix</title>
<style>
body { font: 14px sans-serif; margin: 2em; }
table { border-collapse: collapse; margin-bottom: 2em; }
th, td { border: 1px solid #bbb; padding: 0.2em 0.6em; text-align: left; vertical-align: top; }
.columns { padding-left: 2em; }
.all { background: #fde2c8; }
.some { background: #fdf6c8; }
.none { background: #e4f4e4; }
code { white-space: pre-wrap; }
</style>
</head>
<body>
<h1>Policy matrix</h1>
";

/// The whole page.
pub(super) fn page(subjects: &[&str], lines: &[Line]) -> String {
    let mut notes = Notes::default();
    let mut text = HEAD.to_owned();
    for (title, rows) in tables(lines) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "<h2>{}</h2>\n<table>\n<tr><th></th><th>columns are</th>",
            escaped(&title)
        );
        for subject in subjects {
            let _ = write!(text, "<th>{}</th>", escaped(subject));
        }
        text.push_str("</tr>\n");
        for row in rows {
            let class = if row.of_columns() { " class=\"columns\"" } else { "" };
            let _ = write!(
                text,
                "<tr><td{class}>{}</td><td>{}</td>",
                escaped(&row.label()),
                escaped(&row.marks())
            );
            for cell in row.cells() {
                let (word, note) = notes.cell(cell.as_ref());
                let class = if cell.is_some() { word } else { "absent" };
                let _ = write!(text, "<td class=\"{class}\">{word}");
                if let Some(note) = note {
                    let _ = write!(text, " <a href=\"#rows-{note}\">[{note}]</a>");
                }
                text.push_str("</td>");
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</table>\n");
    }
    if !notes.rows.is_empty() {
        text.push_str("<h2>Rows</h2>\n<ol>\n");
        for (number, rows) in notes.rows.iter().enumerate() {
            let _ = writeln!(text, "<li id=\"rows-{}\"><code>{}</code></li>", number + 1, escaped(rows));
        }
        text.push_str("</ol>\n");
    }
    text.push_str("</body>\n</html>\n");
    text
}

/// Text that is text wherever it stands, in an attribute too.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use postern_config::expr::{Const, Expr};
    use postern_config::manifest::Operation;
    use postern_config::policy::fold::Folded;
    use postern_config::policy::matrix::Step;
    use postern_config::{Ident, ModuleName, TableRef};

    use super::*;

    #[test]
    fn markup_in_names_and_rows_is_text() {
        let name = |n: &str| Ident::new(n).expect("PostgreSQL takes it");
        let rows = Expr::Compare(
            postern_config::expr::Compare::Eq,
            Box::new(Expr::Column(name("a<b"))),
            Box::new(Expr::Const(Const::Text("</code><script>".to_owned()))),
        );
        let line = Line {
            module: ModuleName::new("m").expect("a name"),
            table: TableRef {
                schema: name("m"),
                name: name("<img src=x>"),
            },
            step: Step::Reaches(Operation::Select),
            column: None,
            marks: Vec::new(),
            cells: vec![Some(Folded::Some(rows)), None],
        };
        let page = page(&["<script>alert(1)</script>", "\" onload='x' &\n"], &[line]);
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        for text in [
            "<th>&lt;script&gt;alert(1)&lt;/script&gt;</th>",
            "<th>&quot; onload=&#39;x&#39; &amp;\u{fffd}</th>",
            "m: m.&lt;img src=x&gt;",
            "<td class=\"some\">some <a href=\"#rows-1\">[1]</a></td><td class=\"absent\">–</td>",
            "<li id=\"rows-1\"><code>(&quot;a&lt;b&quot; = &#39;&lt;/code&gt;&lt;script&gt;&#39;)</code></li>",
        ] {
            assert!(page.contains(text), "no {text} in {page}");
        }
    }
}
