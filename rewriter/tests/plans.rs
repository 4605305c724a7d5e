//! SQL in, SQL out: golden files over the reference domain, in `tests/golden/`. Each file holds cases divided by blank lines: a line
//! `-- module[/login-kind]`, the statement, and behind `=>` what comes of it. Run with `POSTERN_BLESS=1` to write what is there now;
//! read the difference before you commit it.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

mod desk;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use desk::{on_a_deep_stack, with_guild};
use postern_config::settings::Enforce;
use postern_config::{Config, Login, LoginKind, ModuleName};
use postern_rewriter::catalog::Catalog;
use postern_rewriter::plan::{Plan, Run};
use postern_rewriter::{Ask, plan_batch};

fn describe(plan: &Plan) -> String {
    let mut out = String::new();
    match &plan.run {
        Run::Once(s) => {
            writeln!(out, "=> {}", s.sql.sql()).unwrap();
            if !s.forwards_params() {
                writeln!(out, "   params {:?}", s.params).unwrap();
            }
            if let Some(o) = &s.output {
                writeln!(out, "   output {o:?}").unwrap();
            }
        }
        Run::PerRow(p) => {
            writeln!(out, "=> read {}", p.read.sql.sql()).unwrap();
            writeln!(out, "   params {:?}", p.read.params).unwrap();
            writeln!(out, "   opened {:?}", p.opened).unwrap();
            writeln!(out, "   write {}", p.write.sql.sql()).unwrap();
            writeln!(out, "   params {:?}", p.write.params).unwrap();
        }
        Run::Answer(tag) => writeln!(out, "=> answered {tag} {:?}", plan.effect).unwrap(),
    }
    out
}

fn judge(config: &Config, who: &str, sql: &str, enforce: Enforce) -> String {
    let (module, kind) = who.split_once('/').unwrap_or((who, "runtime"));
    let manifest = config.module(&ModuleName::new(module).unwrap()).unwrap();
    let kind = match kind {
        "migrator" => LoginKind::Migrator,
        "service" => LoginKind::Service,
        _ => LoginKind::Runtime,
    };
    let fallback = manifest.logins.first().unwrap();
    let login: Login = manifest.logins.iter().find(|l| l.kind == kind).unwrap_or(fallback).clone();
    let catalog = Catalog::of_manifest(manifest, 1);
    let ask = Ask {
        catalog: &catalog,
        module: &manifest.module,
        login: &login,
        superadmin: false,
        undeclared: login.kind != LoginKind::Runtime,
        enforce,
        max_sql_bytes: 1 << 20,
    };
    match plan_batch(sql, &ask) {
        Ok(plans) => plans.iter().map(describe).collect(),
        Err(r) => format!(
            "=> {} {}{}\n",
            r.sqlstate,
            r.message,
            r.hint.map(|h| format!(" | {h}")).unwrap_or_default()
        ),
    }
}

fn run(file: PathBuf, enforce: Enforce) -> Vec<String> {
    let config = with_guild();
    let text = std::fs::read_to_string(&file).unwrap();
    let mut failures = Vec::new();
    let mut blessed = String::new();
    for case in text.split("\n\n").map(str::trim).filter(|c| !c.is_empty()) {
        let (who, rest) = case.strip_prefix("-- ").unwrap().split_once('\n').unwrap();
        let (sql, expected) = match rest.find("\n=>") {
            Some(i) => (&rest[..i], rest[i + 1..].trim_end()),
            None => (rest, ""),
        };
        let got = judge(&config, who.trim(), sql.trim(), enforce);
        if got.trim_end() != expected {
            failures.push(format!("{}\n{sql}\nexpected {expected}\n     got {got}", file.display()));
        }
        write!(blessed, "-- {who}\n{}\n{got}\n", sql.trim()).unwrap();
    }
    if std::env::var_os("POSTERN_BLESS").is_some() {
        std::fs::write(&file, blessed.trim_end().to_owned() + "\n").unwrap();
        eprintln!("wrote {}", file.display());
        return Vec::new();
    }
    failures
}

#[test]
fn golden_files_hold() {
    on_a_deep_stack(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let mut failures = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let enforce = if path.file_stem().unwrap().to_str().unwrap().starts_with("rewrite") {
                Enforce::Rewrite
            } else {
                Enforce::Both
            };
            failures.extend(run(path, enforce));
        }
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    });
}

#[test]
fn every_predicate_of_the_examples_reads_the_same() {
    for manifest in &with_guild().modules {
        postern_rewriter::verify_policies(manifest).unwrap();
    }
}
