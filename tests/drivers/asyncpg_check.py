"""asyncpg before the proxy: binary in both directions, statements prepared and described with Flush, cursors, a pool that resets.

usage: asyncpg_check.py URL FIRST_ID session|transaction
"""

import asyncio
import sys
from datetime import date, datetime, timezone
from decimal import Decimal
from uuid import UUID

import asyncpg

URL, FIRST, MODE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
problems = []


def check(what, found, expected):
    if found != expected:
        problems.append(f"{what}: {found!r} is not {expected!r}")


async def fails(what, awaitable, state):
    try:
        await awaitable
        problems.append(f"{what} was answered")
    except asyncpg.PostgresError as error:
        check(what, error.sqlstate, state)
        return error


VALUES = {
    "v_text": "Zoë's “text” \\ with\nlines",
    "v_int4": -(2**31),
    "v_int8": 2**63 - 1,
    "v_float8": 0.1,
    "v_bool": True,
    "v_date": date(2026, 11, 24),
    "v_timestamptz": datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=timezone.utc),
    "v_numeric": Decimal("1.5000"),
    "v_uuid": UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "v_bytea": bytes([0, 1, 253, 254, 255]),
    "v_varchar": "short",
    "secret": "opaque",
}


async def main():
    conn = await asyncpg.connect(URL, ssl=False)
    names = ", ".join(VALUES)
    marks = ", ".join(f"${n + 2}" for n in range(len(VALUES)))
    status = await conn.execute(f"INSERT INTO things (id, {names}) VALUES ($1, {marks})", FIRST, *VALUES.values())
    check("inserted", status, "INSERT 0 1")
    row = await conn.fetchrow(f"SELECT {names}, note FROM things WHERE id = $1", FIRST)
    check("read", dict(row), VALUES | {"note": None})
    for name in ["v_text", "v_int4", "v_int8", "v_bool", "v_date", "v_timestamptz", "v_numeric", "v_uuid", "v_bytea"]:
        found = await conn.fetchval(f"SELECT id FROM things WHERE {name} = $1 AND id = $2", VALUES[name], FIRST)
        check(f"search by {name}", found, FIRST)
    check("= ANY", await conn.fetchval("SELECT id FROM things WHERE v_text = ANY($1) AND id = $2", ["x", None, VALUES["v_text"]], FIRST), FIRST)

    # Executemany is one pipeline; a failure in it takes all of it back.
    await conn.executemany("INSERT INTO things (id, v_text) VALUES ($1, $2)", [(FIRST + n, f"many {n}") for n in range(1, 101)])
    check("executemany", await conn.fetchval("SELECT count(*) FROM things WHERE id > $1 AND id <= $2", FIRST, FIRST + 100), 100)
    await fails("executemany with a duplicate", conn.executemany("INSERT INTO things (id) VALUES ($1)", [(FIRST + 200,), (FIRST,)]), "23505")
    check("nothing of it", await conn.fetchval("SELECT count(*) FROM things WHERE id = $1", FIRST + 200), 0)

    prepared = await conn.prepare("SELECT v_text, $2::int4 AS n FROM things WHERE id = $1")
    check("parameters", [t.name for t in prepared.get_parameters()], ["int4", "int4"])
    check("columns", [a.type.name for a in prepared.get_attributes()], ["text", "int4"])
    check("prepared", [tuple(await prepared.fetchrow(FIRST, n)) for n in range(3)], [(VALUES["v_text"], n) for n in range(3)])

    await fails("a foreign relation", conn.fetch("SELECT * FROM sys_account.accounts"), "42P01")
    await fails("a division", conn.fetch("SELECT 1 / $1::int4", 0), "22012")
    refused = await fails("a function", conn.fetch("SELECT pg_read_file('x')"), "42501")
    if refused is not None and not refused.hint:
        problems.append("a refusal without a hint")
    check("after errors", await conn.fetchval("SELECT 1"), 1)

    # A transaction with a savepoint, and a cursor: a portal that is suspended.
    async with conn.transaction():
        await conn.execute("UPDATE things SET v_text = 'changed' WHERE id = $1", FIRST)
        try:
            async with conn.transaction():
                await conn.execute("SELECT 1 / 0")
        except asyncpg.DivisionByZeroError:
            pass
        check("inside", await conn.fetchval("SELECT v_text FROM things WHERE id = $1", FIRST), "changed")
        seen = 0
        async for row in conn.cursor("SELECT v_text, n FROM things, generate_series(1, 1000) AS g(n) WHERE id = $1", FIRST, prefetch=64):
            seen += row["n"]
        check("a cursor", seen, 1000 * 1001 // 2)
    big = await conn.fetch("SELECT n, repeat('x', 200) AS t FROM generate_series(1, 50000) AS g(n)")
    check("a large result", len(big), 50000)

    # Notices, and a setting that is reported.
    notices = []
    conn.add_log_listener(lambda _, message: notices.append(message.sqlstate))
    await conn.execute("COMMIT")
    await asyncio.sleep(0.1)
    check("a notice", notices, ["25P01"])
    await conn.execute("SET TimeZone = 'Asia/Tokyo'")
    check("reported", conn.get_settings().TimeZone, "Asia/Tokyo")

    # What would have to stay on the server's connection.
    if MODE == "session":
        heard = []
        await conn.add_listener("jobs", lambda *said: heard.append(said[2:]))
        await conn.execute("SELECT pg_notify('jobs', 'work')")
        await asyncio.sleep(0.2)
        check("notified", heard, [("jobs", "work")])
    else:
        refused = await fails("LISTEN", conn.add_listener("jobs", lambda *_: None), "0A000")
        check("its hint", "pool_mode" in (refused.hint or ""), True)

    # A time-out cancels over a second connection, and the connection goes on.
    try:
        await conn.fetch("SELECT count(*) FROM generate_series(1, 100000000) a", timeout=0.5)
        problems.append("a cancelled query was answered")
    except asyncio.TimeoutError:
        pass
    check("after a cancel", await conn.fetchval("SELECT v_text IS NOT NULL FROM things WHERE id = $1", FIRST), True)
    check("deleted", await conn.execute("DELETE FROM things WHERE id >= $1 AND id < $2", FIRST, FIRST + 900), "DELETE 101")
    await conn.close()

    async with asyncpg.create_pool(URL, ssl=False, min_size=1, max_size=4) as pool:
        async def one(n):
            return await pool.fetchval("SELECT $1::int4", n)

        check("a pool", await asyncio.gather(*(one(n) for n in range(40))), list(range(40)))


asyncio.run(main())
print("\n".join(problems))
sys.exit(1 if problems else 0)
