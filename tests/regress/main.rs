//! PostgreSQL's own regression suite through the module `lab`: `make regress`.
//!
//! Each file is run by psql twice against databases that were laid alike: directly, as lab's role on plain PostgreSQL (that is the measure, not the source's
//! expected output), and through the proxy. Where a statement is refused, the direct run is repeated with that statement failing too, so
//! that what only follows from a refusal is told from a difference of ours. `README.md` beside this file says how to read the table.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints its table")]

mod outcome;
mod place;
mod report;
mod schedule;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{env, fs, thread};

use outcome::{Printed, Verdict, newly_refused, read, verdict};
use place::{Fault, Place, Side};
use report::Row;
use schedule::File;
use script::{Segment, marked, split};

/// How often a file's direct run is repeated at most, in either phase.
const ROUNDS: usize = 40;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("files that may differ by refusals alone differ otherwise; see above");
            ExitCode::FAILURE
        }
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

/// `postern-regress SOURCE [FILE…]`: the source's `src/test/regress`; files without `.sql`, all where none is named. With all, the table is written.
fn run() -> Result<bool, Fault> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((source, wanted)) = arguments.split_first() else {
        return Err("usage: postern-regress SOURCE/src/test/regress [FILE…]".to_owned());
    };
    let source = PathBuf::from(source);
    let me = env::current_exe().map_err(|e| e.to_string())?;
    let postern = me.with_file_name("postern");
    let files = schedule::read(&source)?;
    let chosen: Vec<&File> = files
        .iter()
        .filter(|f| wanted.is_empty() || wanted.contains(&f.name))
        .collect();
    if chosen.len() < wanted.len() {
        return Err(format!("not all of these are files of the suite: {wanted:?}"));
    }
    let details = me.with_file_name("regress");
    fs::create_dir_all(&details).map_err(|e| format!("{}: {e}", details.display()))?;
    let rows = all(&chosen, &source, &postern, &details)?;
    println!("\n{}", report::refusals(&rows));
    if wanted.is_empty() {
        let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("regress/RESULTS.md");
        fs::write(&to, report::table(&rows)).map_err(|e| format!("{}: {e}", to.display()))?;
    }
    println!("what differs, statement by statement: {}", details.display());
    Ok(rows
        .iter()
        .all(|r| !r.file.named || r.count(Verdict::Other) + r.count(Verdict::Shorter) == 0))
}

/// Runs files side by side, as many as there are processors: each worker has a cluster and a proxy of its own.
fn all(chosen: &[&File], source: &Path, postern: &Path, details: &Path) -> Result<Vec<Row>, Fault> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(chosen.len());
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Row)>, Fault> {
        let mut place = Place::make(source, postern)?;
        let mut rows = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = chosen.get(n) else { break };
            let began = Instant::now();
            // Where one fails, the others need not go on.
            let row = one(&mut place, file, details).inspect_err(|_| next.store(chosen.len(), Ordering::Relaxed))?;
            println!("{}  ({} s)", row.line(), began.elapsed().as_secs());
            rows.push((n, row));
        }
        place.lower();
        Ok(rows)
    };
    let mut rows = thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut rows = Vec::with_capacity(chosen.len());
        for worker in running {
            rows.extend(worker.join().map_err(|_| "a worker ended before its work".to_owned())??);
        }
        Ok::<_, Fault>(rows)
    })?;
    rows.sort_by_key(|(n, _)| *n);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn one(place: &mut Place, file: &File, details: &Path) -> Result<Row, Fault> {
    let path = place.suite.join("sql").join(format!("{}.sql", file.name));
    // Some files are in encodings of their own.
    let text = String::from_utf8_lossy(&fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?).into_owned();
    let segments = split(&text);
    let whole = marked(&segments, &BTreeSet::new());
    place.lay(Side::Through, file.indexed, &file.needs)?;
    let through = read(&place.run(Side::Through, &file.name, &whole)?);
    let mut directly = |refused: &BTreeSet<usize>| -> Result<BTreeMap<usize, Printed>, Fault> {
        place.lay(Side::Direct, file.indexed, &file.needs)?;
        Ok(read(&place.run(Side::Direct, &file.name, &marked(&segments, refused))?))
    };
    let direct = directly(&BTreeSet::new())?;
    let mut failing = direct.clone();
    let mut refused = BTreeSet::new();
    // Those that may follow from others come last: a name may be missing only because what would have made it was refused.
    for following_too in [false, true] {
        for _ in 0..ROUNDS {
            let more = newly_refused(&failing, &through, &refused, following_too);
            if more.is_empty() {
                break;
            }
            // One by one, since the next may follow from this.
            let some = if following_too { 1 } else { more.len() };
            refused.extend(more.into_iter().take(some));
            failing = directly(&refused)?;
        }
    }
    let mut row = Row::new(file.clone());
    let nothing = Printed::default();
    let mut said = String::new();
    for (n, segment) in segments.iter().enumerate() {
        let (d, f, t) = (direct.get(&n), failing.get(&n), through.get(&n));
        if (d.is_none() && t.is_none()) || !segment.asks() {
            continue;
        }
        let (d, f, t) = (d.unwrap_or(&nothing), f.unwrap_or(&nothing), t.unwrap_or(&nothing));
        let found = verdict(d, f, t, refused.contains(&n));
        row.add(found, t.refusal.as_ref());
        if found != Verdict::Same {
            said.push_str(&difference(found, segment, d, f, t));
        }
    }
    let to = details.join(format!("{}.txt", file.name));
    fs::write(&to, said).map_err(|e| format!("{}: {e}", to.display()))?;
    Ok(row)
}

fn difference(found: Verdict, segment: &Segment, direct: &Printed, failing: &Printed, through: &Printed) -> String {
    let mut out = format!("######## {} line {}\n{}", found.word(), segment.line, segment.text);
    out.push_str(&format!("-------- directly\n{}", direct.text));
    if matches!(found, Verdict::Other) && failing.text != direct.text {
        out.push_str(&format!("-------- directly, refused statements failing\n{}", failing.text));
    }
    out.push_str(&format!("-------- through Postern\n{}", through.text));
    out
}
