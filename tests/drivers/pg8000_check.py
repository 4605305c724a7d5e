"""pg8000 before the proxy: a driver in pure Python, with a protocol of its own hand: every statement is parsed, described and flushed.

usage: pg8000_check.py HOST PORT DATABASE USER PASSWORD FIRST_ID session|transaction
"""

import sys
from datetime import date, datetime, timezone
from decimal import Decimal

import pg8000.native
from pg8000.exceptions import DatabaseError

HOST, PORT, DATABASE, USER, PASSWORD, FIRST, MODE = sys.argv[1:8]
FIRST = int(FIRST)
problems = []


def check(what, found, expected):
    if found != expected:
        problems.append(f"{what}: {found!r} is not {expected!r}")


def fails(what, sql, state, **values):
    try:
        conn.run(sql, **values)
        problems.append(f"{what} was answered")
    except DatabaseError as error:
        check(what, error.args[0].get("C"), state)
        return error.args[0]


conn = pg8000.native.Connection(USER, host=HOST, port=int(PORT), database=DATABASE, password=PASSWORD)
values = {
    "v_text": "Zoë's “text”\n",
    "v_int8": 2**63 - 1,
    "v_bool": False,
    "v_date": date(2026, 11, 24),
    "v_timestamptz": datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=timezone.utc),
    "v_numeric": Decimal("1.5000"),
    "v_bytea": bytes([0, 1, 255]),
    "secret": "opaque",
}
conn.run(
    f"INSERT INTO things (id, {', '.join(values)}) VALUES (:id, {', '.join(':' + name for name in values)})",
    id=FIRST, **values,
)
check("inserted", conn.row_count, 1)
check("read", conn.run(f"SELECT {', '.join(values)}, note FROM things WHERE id = :id", id=FIRST), [[*values.values(), None]])
for name in ["v_text", "v_int8", "v_date", "v_bytea"]:
    found = conn.run(f"SELECT id FROM things WHERE {name} = :value AND id = :id", value=values[name], id=FIRST)
    check(f"search by {name}", found, [[FIRST]])

prepared = conn.prepare("SELECT v_text, CAST(:n AS int4) FROM things WHERE id = :id")
check("prepared", [prepared.run(n=n, id=FIRST) for n in range(3)], [[[values["v_text"], n]] for n in range(3)])
prepared.close()

fails("a foreign relation", "SELECT * FROM sys_account.accounts", "42P01")
fails("a division", "SELECT 1 / CAST(:n AS int4)", "22012", n=0)
if not (fails("a function", "SELECT pg_read_file('x')", "42501") or {}).get("H"):
    problems.append("a refusal without a hint")
check("after errors", conn.run("SELECT 1"), [[1]])

conn.run("START TRANSACTION")
conn.run("UPDATE things SET v_text = 'changed' WHERE id = :id", id=FIRST)
check("inside", conn.run("SELECT v_text FROM things WHERE id = :id", id=FIRST), [["changed"]])
conn.run("ROLLBACK")
check("after a rollback", conn.run("SELECT v_text FROM things WHERE id = :id", id=FIRST), [[values["v_text"]]])
conn.run("COMMIT")
check("a notice", [n.get(b"C") for n in conn.notices], [b"25P01"])
check("a large result", len(conn.run("SELECT n, repeat('x', 200) FROM generate_series(1, 20000) AS g(n)")), 20000)
if MODE == "session":
    conn.run("LISTEN jobs")
else:
    refused = fails("LISTEN", "LISTEN jobs", "0A000") or {}
    check("its hint", "pool_mode" in refused.get("H", ""), True)
conn.run("DELETE FROM things WHERE id = :id", id=FIRST)
check("deleted", conn.row_count, 1)
conn.close()
print("\n".join(problems))
sys.exit(1 if problems else 0)
