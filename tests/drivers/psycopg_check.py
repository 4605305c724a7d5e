"""psycopg 3 before the proxy: what an application does with it, on a table whose columns are protected.

usage: psycopg_check.py URL FIRST_ID session|transaction    (exit 0, or 1 with every problem on standard output)
"""

import datetime as dt
import decimal
import sys
import threading
import time
import uuid

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

URL, FIRST, MODE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
problems = []


def check(name, got, expected):
    if got != expected:
        problems.append(f"{name}: expected {expected!r}, got {got!r}")


VALUES = {
    "v_text": "Zoë's “text” \\ with\nlines",
    "v_int4": -2147483648,
    "v_int8": 9223372036854775807,
    "v_float8": 0.1,
    "v_bool": True,
    "v_date": dt.date(1999, 12, 31),
    "v_timestamptz": dt.datetime(2026, 11, 23, 12, 34, 56, 789012, dt.timezone.utc),
    "v_numeric": decimal.Decimal("-12345.6789"),
    "v_uuid": uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "v_bytea": bytes(range(256)),
    "v_jsonb": {"b": [1, 2.5, None, "x"], "a": {"ü": True}},
    "v_varchar": "twenty characters ok",
    "secret": "nobody searches this",
}
COLUMNS = list(VALUES)
SEARCHABLE = [c for c in COLUMNS if c not in ("v_jsonb", "secret")]


def adapted(column):
    return Jsonb(VALUES[column]) if column == "v_jsonb" else VALUES[column]


with psycopg.connect(URL, autocommit=True) as conn:
    conn.execute("SET TimeZone = 'UTC'")
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    for n, (placeholder, binary) in enumerate([("%s", False), ("%b", True), ("%t", False)]):
        row = FIRST + n
        holes = sql.SQL(", ").join([sql.SQL(placeholder)] * len(COLUMNS))
        statement = sql.SQL("INSERT INTO things (id, {}) VALUES (%s, {})").format(names, holes)
        cur = conn.execute(statement, [row, *map(adapted, COLUMNS)])
        check(f"tag of an insert ({placeholder})", cur.statusmessage, "INSERT 0 1")
        for result_binary in (False, True):
            cur = conn.cursor(binary=result_binary)
            cur.execute(sql.SQL("SELECT {} FROM things WHERE id = %s").format(names), [row])
            got = cur.fetchone()
            for column, value in zip(COLUMNS, got):
                check(f"{column}, {placeholder}, binary result {result_binary}", value, VALUES[column])
        for column in SEARCHABLE:
            cur = conn.execute(
                sql.SQL("SELECT id FROM things WHERE {} = {} AND id = %s").format(sql.Identifier(column), sql.SQL(placeholder)),
                [VALUES[column], row],
            )
            check(f"search of {column} ({placeholder})", cur.fetchall(), [(row,)])

    # = ANY with a list, and a prepared statement that is run often.
    cur = conn.execute("SELECT id FROM things WHERE v_int4 = ANY (%s) AND id = %s", [[1, VALUES["v_int4"]], FIRST])
    check("= ANY", cur.fetchall(), [(FIRST,)])
    for _ in range(12):
        cur = conn.execute("SELECT v_text FROM things WHERE id = %s", [FIRST], prepare=True)
        check("prepared", cur.fetchone(), (VALUES["v_text"],))
    conn.prepare_threshold = 0

    # NULL and ''
    conn.execute("INSERT INTO things (id, v_text, v_bytea) VALUES (%s, '', %s)", [FIRST + 10, b""])
    conn.execute("INSERT INTO things (id, v_text, v_bytea) VALUES (%s, %s, %s)", [FIRST + 11, None, None])
    cur = conn.execute("SELECT v_text, v_bytea FROM things WHERE id IN (%s, %s) ORDER BY id", [FIRST + 10, FIRST + 11])
    check("NULL and ''", cur.fetchall(), [("", b""), (None, None)])

    # executemany, which pipelines
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO things (id, v_text) VALUES (%s, %s)", [(FIRST + 20 + n, f"many {n}") for n in range(20)])
        check("executemany", cur.rowcount, 20)

    # errors keep SQLSTATE and HINT, and the connection goes on
    for statement, state in [
        ("SELECT * FROM sys_account.accounts", "42P01"),
        ("SELECT 1 / 0", "22012"),
        ("SELEC", "42601"),
        ("SELECT pg_read_file('x')", "42501"),
        (f"INSERT INTO things (id) VALUES ({FIRST})", "23505"),
    ]:
        try:
            conn.execute(statement)
            problems.append(f"{statement} was answered")
        except psycopg.Error as error:
            check(statement, error.sqlstate, state)
            if state == "42501" and not error.diag.message_hint:
                problems.append(f"{statement}: no hint")
    check("after errors", conn.execute("SELECT 1").fetchone(), (1,))
    try:
        conn.execute("INSERT INTO things (id, v_int4) VALUES (%s, %t)", [FIRST + 50, "not a number"])
        problems.append("a text was taken for an int4")
    except psycopg.Error as error:
        check("a wrong value", error.sqlstate, "22P02")

    # transactions and savepoints
    try:
        with conn.transaction():
            conn.execute("UPDATE things SET v_text = 'changed' WHERE id = %s", [FIRST])
            try:
                with conn.transaction():
                    conn.execute("UPDATE things SET v_text = 'inner' WHERE id = %s", [FIRST])
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            check("after a savepoint", conn.execute("SELECT v_text FROM things WHERE id = %s", [FIRST]).fetchone(), ("changed",))
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    check("after a rollback", conn.execute("SELECT v_text FROM things WHERE id = %s", [FIRST]).fetchone(), (VALUES["v_text"],))

    # pipeline mode
    if psycopg.Pipeline.is_supported():
        with conn.pipeline() as pipeline:
            cursors = [conn.execute("SELECT v_text, %s::int FROM things WHERE id = %s", [n, FIRST]) for n in range(50)]
            update = conn.execute("UPDATE things SET v_int8 = %s WHERE id = %s", [77, FIRST + 1])
            pipeline.sync()
            check("pipelined", [c.fetchone() for c in cursors], [(VALUES["v_text"], n) for n in range(50)])
            check("pipelined update", update.rowcount, 1)
        try:
            with conn.pipeline():
                conn.execute("SELECT 1")
                conn.execute("SELECT * FROM sys_account.accounts")
                conn.execute("UPDATE things SET v_int8 = 78 WHERE id = %s", [FIRST + 1])
            problems.append("a refusal in a pipeline was not told")
        except psycopg.Error as error:
            check("a refusal in a pipeline", error.sqlstate, "42P01")
        check("after it", conn.execute("SELECT v_int8 FROM things WHERE id = %s", [FIRST + 1]).fetchone(), (77,))
    else:
        problems.append("libpq is too old for pipelines")

    # a server-side cursor, and a large result read in pieces
    with conn.transaction():
        with conn.cursor(name="big") as cur:
            cur.itersize = 500
            cur.execute("SELECT n, repeat('x', 100) FROM generate_series(1, 5000) AS g(n)")
            check("a server-side cursor", sum(n for n, _ in cur), 5000 * 5001 // 2)
    cur = conn.execute("SELECT n, repeat('x', 200) FROM generate_series(1, 50000) AS g(n)")
    check("a large result", sum(1 for _ in cur), 50000)
    cur = conn.cursor()
    check("stream", sum(1 for _ in cur.stream("SELECT v_text FROM things WHERE id >= %s AND id < %s", [FIRST, FIRST + 3])), 3)

    # cancel
    timer = threading.Timer(0.5, conn.cancel)
    timer.start()
    began = time.monotonic()
    try:
        conn.execute("SELECT count(*) FROM generate_series(1, 100000000) a")
        problems.append("a cancelled query was answered")
    except psycopg.errors.QueryCanceled:
        pass
    if time.monotonic() - began > 10:
        problems.append("the cancel took long")
    timer.join()
    check("after a cancel", conn.execute("SELECT v_text FROM things WHERE id = %s", [FIRST]).fetchone(), (VALUES["v_text"],))

    # notices, and settings that the server reports
    notices = []
    conn.add_notice_handler(lambda diag: notices.append(diag.sqlstate))
    conn.execute("COMMIT")
    check("a notice", notices, ["25P01"])
    conn.execute("SET TimeZone = 'Asia/Tokyo'")
    check("reported", conn.info.parameter_status("TimeZone"), "Asia/Tokyo")
    conn.execute("RESET TimeZone")

    # what would have to stay on the server's connection
    for name, keep in [
        ("LISTEN", lambda: conn.execute("LISTEN jobs")),
        ("WITH HOLD", lambda: conn.cursor(name="held", withhold=True).execute("SELECT 1")),
        ("a lock", lambda: conn.execute("SELECT pg_advisory_lock(7)")),
    ]:
        try:
            keep()
            check(name, MODE, "session")
        except psycopg.Error as error:
            check(name, (error.sqlstate, MODE), ("0A000", "transaction"))
            check(f"{name}: its hint", "pool_mode" in (error.diag.message_hint or ""), True)

    # types as the client is told them
    cur = conn.execute(sql.SQL("SELECT {} FROM things WHERE false").format(names))
    oids = [c.type_code for c in cur.description]
    check("types", oids, [25, 23, 20, 701, 16, 1082, 1184, 1700, 2950, 17, 3802, 1043, 25])

    cur = conn.execute("DELETE FROM things WHERE id >= %s AND id < %s", [FIRST, FIRST + 900])
    check("rows deleted", cur.rowcount, 25)

print("\n".join(problems))
sys.exit(1 if problems else 0)
