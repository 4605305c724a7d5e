"""Compares what a run left behind and says what the proxy refused.

usage: report.py DIRECTORY "Django VERSION" "SQLAlchemy VERSION" [RESULTS.md]

A refusal counts where the proxy's audit trail has it. It is PostgreSQL's as well where a statement of the same shape failed with the same
SQLSTATE on the plain side, or never succeeded there: suites send wrong statements on purpose.
"""

import collections
import json
import os
import pathlib
import re
import sys

work = pathlib.Path(sys.argv[1])
suites = {title.split()[0].lower(): title for title in sys.argv[2:4]}
target = sys.argv[4] if len(sys.argv) > 4 else None

MOST_OF_ONE_TEXT = 1_000

LITERALS = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b|(?<=[a-zA-Z_])\d+")


def shape(text):
    text = LITERALS.sub(lambda m: "'…'" if m[0].startswith("'") else "0", text)
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"\((?:\s*(?:%s|\$0|0|'…'|NULL|true|false)\s*,?)+\)", "(…)", text)


def statements(suite, side):
    for file in sorted((work / f"{suite}-{side}").glob("statements-*.jsonl")):
        with open(file, encoding="utf-8") as f:
            yield from map(json.loads, f)


def tests(suite, side):
    outcomes = {}
    for file in sorted((work / f"{suite}-{side}").glob("tests-*.json")):
        outcomes.update(json.loads(file.read_text()))
    return outcomes


def table(rows):
    head, *body = rows
    lines = ["| " + " | ".join(map(str, head)) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in body]


out = []
summary = [("suite", "statements", "different shapes", "refused", "of them refused by PostgreSQL too", "accepted", "passed on PostgreSQL", "of them passed through the proxy")]
details = []
for suite, title in suites.items():
    if not (work / f"{suite}-lab").exists():
        continue
    plain_failures = {}
    plain_accepted = set()
    plain_sent = 0
    for text, sqlstate, _, _, _, count in statements(suite, "plain"):
        plain_sent += count
        if sqlstate:
            plain_failures.setdefault(shape(text), set()).add(sqlstate)
        else:
            plain_accepted.add(shape(text))
    sent = 0
    all_sent = 0
    shared = 0
    shapes_sent = set()
    refused = collections.Counter()
    later = collections.Counter()
    groups = collections.defaultdict(lambda: [0, collections.Counter()])
    for text, sqlstate, reason, message, hint, count in statements(suite, "lab"):
        all_sent += count
        # One loop of a test must not outweigh a suite.
        count = min(count, MOST_OF_ONE_TEXT)
        sent += count
        key = shape(text)
        shapes_sent.add(key)
        if not sqlstate:
            continue
        if reason is None:
            if sqlstate not in plain_failures.get(key, ()):
                later[sqlstate, key] += count
            continue
        # What PostgreSQL was never asked counts against the proxy.
        if sqlstate in plain_failures.get(key, ()) or key in plain_failures and key not in plain_accepted:
            shared += count
            continue
        refused[sqlstate, reason] += count
        group = groups[sqlstate, reason, re.sub(r'"[^"]*"|\'[^\']*\'|\d+', "…", message)]
        group[0] += count
        group[1][key] += count
    total = sum(refused.values())
    on_plain, through = tests(suite, "plain"), tests(suite, "lab")
    # A run of some parts is compared with those parts.
    part = lambda test: test.split("::")[0] if "::" in test else re.sub(r".*\((.*)\)", r"\1", test).split(".")[0]
    ran = {part(t) for t in through}
    on_plain = {t: o for t, o in on_plain.items() if part(t) in ran}
    passed = [t for t, o in on_plain.items() if o == "passed" and t in through]
    absent = [t for t, o in on_plain.items() if o == "passed" and t not in through]
    lost = sorted(t for t in passed if through[t] != "passed")
    accepted = 100 * (1 - total / sent) if sent else 0
    summary.append((title, f"{sent:,}", f"{len(shapes_sent):,}", f"{total + shared:,}", f"{shared:,}", f"{accepted:.3f} %", f"{len(passed):,}", f"{len(passed) - len(lost):,}"))
    details += ["", f"## {title}", ""]
    details += ["Parts that ran: " + ", ".join(sorted(ran)) + ".", ""]
    if absent:
        details += [f"{len(absent):,} further tests that pass on PostgreSQL were not run through the proxy (the run was ended early, or their class could not be set up); they are not counted.", ""]
    details += [f"{all_sent:,} statements in all; one text counts {MOST_OF_ONE_TEXT:,} times at most. Of the different shapes {sum(len(g[1]) for g in groups.values()):,} are refused.", ""]
    details += [f"On PostgreSQL itself {sum(o in ('failed', 'error') for o in on_plain.values()):,} of their tests do not pass either; {sum(o == 'skipped' for o in on_plain.values()):,} are skipped by the suite.", ""]
    if groups:
        details += ["Refused by the proxy alone:", ""]
        rows = [("times", "SQLSTATE", "reason", "what it says", "an example's shape")]
        for (sqlstate, reason, message), (count, shapes) in sorted(groups.items(), key=lambda g: -g[1][0])[:80]:
            rows.append((count, sqlstate, reason, message[:110], f"`{shapes.most_common(1)[0][0][:150]}` ({len(shapes)})"))
        details += table(rows)
    by_module = collections.Counter()
    for test in lost:
        by_module[part(test)] += 1
    if by_module:
        details += ["", f"Tests that pass on PostgreSQL and not through the proxy ({len(lost)}), by place: " + ", ".join(f"{m} {n}" for m, n in by_module.most_common()) + "."]
    (work / f"{suite}-lost.txt").write_text("\n".join(lost) + "\n")
    (work / f"{suite}-refused.json").write_text(
        json.dumps([[*k, v[0], v[1].most_common(12)] for k, v in sorted(groups.items(), key=lambda g: -g[1][0])], indent=1, ensure_ascii=False)
    )
    (work / f"{suite}-later.json").write_text(json.dumps([[*k, n] for k, n in later.most_common(300)], indent=1, ensure_ascii=False))

out += [
    "# The statements of Django's and SQLAlchemy's test suites",
    "",
    "Written by `make corpora` (what is counted, and what is left out: [README.md](README.md)).",
    *filter(None, [os.environ.get("CORPORA_NOTE")]),
    "",
    *table(summary),
    *details,
]
text = "\n".join(out) + "\n"
print(text)
if target:
    pathlib.Path(target).write_text(text, encoding="utf-8")
