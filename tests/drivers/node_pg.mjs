// node's `pg` before the proxy, on a table whose columns are protected.
//
// usage: node node_pg.mjs PG_MODULE URL FIRST_ID session|transaction    (exit 0, or 1 with every problem on standard output)

import { createRequire } from "node:module";
import { deepStrictEqual } from "node:assert";

const [, , pgPath, url, first, mode] = process.argv;
const require = createRequire(import.meta.url);
const { Client, Pool, types } = require(pgPath);
const FIRST = Number(first);
const problems = [];

function check(name, got, expected) {
  try {
    deepStrictEqual(got, expected);
  } catch {
    problems.push(`${name}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);
  }
}

async function fails(name, promise, state) {
  try {
    await promise;
    problems.push(`${name} was answered`);
  } catch (error) {
    check(name, error.code, state);
    return error;
  }
  return {};
}

const VALUES = {
  v_text: "Zoë's “text” \\ with\nlines",
  v_int4: -2147483648,
  v_int8: "9223372036854775807",
  v_float8: 0.1,
  v_bool: true,
  v_date: "1999-12-31",
  v_timestamptz: "2026-11-23 12:34:56.789012+00",
  v_numeric: "-12345.6789",
  v_uuid: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
  v_bytea: Buffer.from([0, 1, 2, 253, 254, 255, 92, 39]),
  v_jsonb: { a: { ü: true }, b: [1, 2.5, null, "x"] },
  v_varchar: "twenty characters ok",
  secret: "nobody searches this",
};
const COLUMNS = Object.keys(VALUES);
// Dates as text, so that the host's time zone has no say.
types.setTypeParser(1082, (text) => text);
types.setTypeParser(1184, (text) => text);

const client = new Client({ connectionString: url });
await client.connect();
await client.query("SET TimeZone = 'UTC'");

const holes = COLUMNS.map((_, n) => `$${n + 2}`).join(", ");
const insert = `INSERT INTO things (id, ${COLUMNS.join(", ")}) VALUES ($1, ${holes})`;
let result = await client.query(insert, [FIRST, ...Object.values(VALUES)]);
check("tag of an insert", [result.command, result.rowCount], ["INSERT", 1]);

// Text and binary results; simple, extended, and prepared by name.
const select = `SELECT ${COLUMNS.join(", ")} FROM things WHERE id = `;
check("simple", (await client.query(`${select}${FIRST}`)).rows[0], VALUES);
check("extended", (await client.query(`${select}$1`, [FIRST])).rows[0], VALUES);
for (let n = 0; n < 5; n += 1) {
  check("prepared", (await client.query({ name: "by-id", text: `${select}$1`, values: [FIRST] })).rows[0], VALUES);
}
// pg reads few types in binary; these it does.
const binary = await client.query({ text: "SELECT id, v_text, v_bool FROM things WHERE id = $1", values: [FIRST], binary: true });
check("binary", binary.rows[0], { id: FIRST, v_text: VALUES.v_text, v_bool: true });
check("an array row", (await client.query({ text: "SELECT id, v_varchar FROM things WHERE id = $1", values: [FIRST], rowMode: "array" })).rows, [[FIRST, VALUES.v_varchar]]);
check(
  "types",
  result.fields.length || (await client.query(`SELECT ${COLUMNS.join(", ")} FROM things WHERE false`)).fields.map((f) => f.dataTypeID),
  [25, 23, 20, 701, 16, 1082, 1184, 1700, 2950, 17, 3802, 1043, 25],
);

for (const column of COLUMNS.filter((c) => !["v_jsonb", "secret"].includes(c))) {
  const found = await client.query(`SELECT id FROM things WHERE ${column} = $1 AND id = $2`, [VALUES[column], FIRST]);
  check(`search of ${column}`, found.rows, [{ id: FIRST }]);
}
check("= ANY", (await client.query("SELECT id FROM things WHERE v_text = ANY ($1) AND id = $2", [["x", VALUES.v_text], FIRST])).rows, [{ id: FIRST }]);

await client.query("INSERT INTO things (id, v_text, v_bytea) VALUES ($1, $2, $3), ($4, $5, $6)", [FIRST + 1, "", Buffer.alloc(0), FIRST + 2, null, null]);
check("NULL and ''", (await client.query("SELECT v_text, v_bytea FROM things WHERE id > $1 AND id < $2 ORDER BY id", [FIRST, FIRST + 3])).rows, [
  { v_text: "", v_bytea: Buffer.alloc(0) },
  { v_text: null, v_bytea: null },
]);

await fails("a foreign relation", client.query("SELECT * FROM sys_account.accounts"), "42P01");
await fails("a foreign relation, extended", client.query("SELECT * FROM sys_account.accounts WHERE id = $1", ["x"]), "42P01");
await fails("a division", client.query("SELECT 1 / $1::int", [0]), "22012");
await fails("a wrong value", client.query("INSERT INTO things (id, v_int4) VALUES ($1, $2)", [FIRST + 3, "many"]), "22P02");
const refused = await fails("a function", client.query("SELECT pg_read_file('x')"), "42501");
if (!refused.hint) problems.push("a refusal without a hint");
check("after errors", (await client.query("SELECT 1 AS n")).rows, [{ n: 1 }]);

await client.query("BEGIN");
await client.query("UPDATE things SET v_text = $2 WHERE id = $1", [FIRST, "changed"]);
check("inside", (await client.query("SELECT v_text FROM things WHERE id = $1", [FIRST])).rows, [{ v_text: "changed" }]);
await client.query("ROLLBACK");
check("after a rollback", (await client.query("SELECT v_text FROM things WHERE id = $1", [FIRST])).rows, [{ v_text: VALUES.v_text }]);

// Queued queries answer in order, failures among them.
const queued = await Promise.allSettled([
  client.query("SELECT 1 AS n"),
  client.query("SELECT * FROM nowhere"),
  client.query("SELECT $1::int AS n", [3]),
  client.query("SELECT pg_read_file('x')"),
  client.query("SELECT v_text AS n FROM things WHERE id = $1", [FIRST]),
]);
check("queued answers", queued.map((q) => (q.status === "fulfilled" ? q.value.rows[0].n : q.reason.code)), [1, "42P01", 3, "42501", VALUES.v_text]);

const big = await client.query("SELECT n, repeat('x', 200) AS t FROM generate_series(1, 50000) AS g(n)");
check("a large result", big.rows.length, 50000);

const notices = [];
client.on("notice", (notice) => notices.push(notice.code));
await client.query("COMMIT");
check("a notice", notices, ["25P01"]);

// What would have to stay on the server's connection.
if (mode === "session") {
  await client.query("LISTEN jobs");
} else {
  const refused = await fails("LISTEN", client.query("LISTEN jobs"), "0A000");
  check("its hint", (refused.hint ?? "").includes("pool_mode"), true);
}

// Cancel: from a second connection, as pg's own cancel does.
const slow = client.query("SELECT count(*) FROM generate_series(1, 100000000) a");
setTimeout(() => {
  const other = new Client({ connectionString: url });
  other.cancel(client, client.activeQuery ?? client._activeQuery);
}, 500);
await fails("a cancelled query", slow, "57014");
check("after a cancel", (await client.query("SELECT 1 AS n")).rows, [{ n: 1 }]);

const pool = new Pool({ connectionString: url, max: 4 });
const many = await Promise.all(Array.from({ length: 40 }, (_, n) => pool.query("SELECT v_text, $2::int AS n FROM things WHERE id = $1", [FIRST, n])));
check("a pool", many.map((r) => [r.rows[0].v_text, r.rows[0].n]), Array.from({ length: 40 }, (_, n) => [VALUES.v_text, n]));
await pool.end();

result = await client.query("DELETE FROM things WHERE id >= $1 AND id < $2", [FIRST, FIRST + 900]);
check("rows deleted", result.rowCount, 3);
await client.end();

const wrong = new Client({ connectionString: url.replace(/:[^:@/]*@/, ":wrong@") });
await fails("a wrong password", wrong.connect(), "28P01");

if (problems.length) console.log(problems.join("\n"));
process.exit(problems.length ? 1 : 0);
