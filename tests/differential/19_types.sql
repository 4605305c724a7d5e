-- login: alltypes.service
-- group: every protected type, written and read
BEGIN;
INSERT INTO things (id, v_text, v_int4, v_int8, v_float8, v_bool, v_date, v_timestamptz, v_numeric, v_uuid, v_bytea, v_jsonb, v_varchar, secret, note) VALUES (1, 'one', 1, 10000000000, 1.5, true, '2026-11-23', '2026-11-23 12:34:56.789012+00', 12.3456, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\xdeadbeef', '{"b": 1, "a": [1, 2.50, "x", null]}', 'short', 'nobody searches this', 'plain');
INSERT INTO things (id) VALUES (2);
INSERT INTO things (id, v_text, v_varchar, v_bytea, secret) VALUES (3, '', '', '', '');
INSERT INTO things (id, v_int4, v_int8, v_float8, v_numeric) VALUES (4, -2147483648, -9223372036854775808, '-Infinity', -9999999999.9999), (5, 2147483647, 9223372036854775807, 'NaN', 'NaN'), (6, 0, 0, '-0', 0), (7, -1, -1, 5e-324, 0.0001);
INSERT INTO things (id, v_date, v_timestamptz) VALUES (8, 'infinity', 'infinity'), (9, '-infinity', '-infinity'), (10, '4713-01-01 BC', '4713-01-01 00:00:00+00 BC'), (11, '5874897-12-31', '294276-12-31 23:59:59.999999+00'), (12, '2000-01-01', '2000-01-01 00:00:00+00');
INSERT INTO things (id, v_text, v_jsonb) VALUES (13, E'tab\t newline\n quote'' backslash\\ percent% umlaut ü emoji 😀', '"\u00e4 \ud83d\ude00 \" \\ \n"'), (14, 'long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long ', '[]'), (15, ' leading and trailing ', '{}'), (16, 'NULL', 'null'), (17, '\xdeadbeef', '-0.0'), (18, '{a,b}', '1e5');
INSERT INTO things (id, v_bool, v_uuid) VALUES (19, false, 'A0EEBC999C0B4EF8BB6D6BB9BD380A11'), (20, 'yes', '{00000000-0000-0000-0000-000000000000}');
SELECT * FROM things ORDER BY id;
SELECT id, v_text, length(note) FROM things WHERE note = 'plain';
SELECT id FROM things WHERE v_text IS NULL ORDER BY id;
SELECT id FROM things WHERE v_text IS NOT NULL ORDER BY id;
SELECT id FROM things WHERE v_text = '';
SELECT id FROM things WHERE v_text = 'one';
SELECT id, v_text FROM things WHERE v_text = E'tab\t newline\n quote'' backslash\\ percent% umlaut ü emoji 😀';
SELECT id FROM things WHERE v_text <> 'one' ORDER BY id;
SELECT id FROM things WHERE v_text IN ('one', 'NULL', 'absent') ORDER BY id;
SELECT id FROM things WHERE v_int4 = 2147483647;
SELECT id FROM things WHERE v_int4 = -1;
SELECT id FROM things WHERE v_int4 IN (0, 1, -2147483648) ORDER BY id;
SELECT id FROM things WHERE v_int4 = ANY (ARRAY[0, 1]) ORDER BY id;
SELECT id FROM things WHERE v_int4 = ANY ('{-1,NULL,2147483647}') ORDER BY id;
SELECT id FROM things WHERE v_int8 = 9223372036854775807;
SELECT id FROM things WHERE v_int8 = 1 OR v_int8 = -1 ORDER BY id;
SELECT id FROM things WHERE v_float8 = 0;
SELECT id FROM things WHERE v_float8 = '-0';
SELECT id FROM things WHERE v_float8 = 'NaN';
SELECT id FROM things WHERE v_float8 = 1.5;
SELECT id FROM things WHERE v_float8 = '-Infinity';
SELECT id FROM things WHERE v_bool = true ORDER BY id;
SELECT id FROM things WHERE v_bool IS NULL ORDER BY id;
SELECT id FROM things WHERE v_date = '2026-11-23';
SELECT id FROM things WHERE v_date = date '2000-01-01';
SELECT id FROM things WHERE v_date = 'infinity';
SELECT id FROM things WHERE v_timestamptz = '2026-11-23 13:34:56.789012+01';
SELECT id FROM things WHERE v_timestamptz = timestamptz '2000-01-01 00:00:00+00';
SELECT id FROM things WHERE v_numeric = 12.3456;
SELECT id FROM things WHERE v_numeric = 12.34560000;
SELECT id FROM things WHERE v_numeric = 0.00;
SELECT id FROM things WHERE v_numeric = 'NaN';
SELECT id FROM things WHERE v_numeric IN (-9999999999.9999, 0.0001) ORDER BY id;
SELECT id FROM things WHERE v_uuid = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' ORDER BY id;
SELECT id FROM things WHERE v_uuid = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11' ORDER BY id;
SELECT id FROM things WHERE v_bytea = '\xdeadbeef';
SELECT id FROM things WHERE v_bytea = '';
SELECT id FROM things WHERE v_varchar = 'short';
SELECT v_uuid, count(*) FROM things GROUP BY v_uuid;
SELECT v_bool, count(*) FROM things GROUP BY v_bool;
SELECT DISTINCT v_uuid FROM things;
SELECT count(DISTINCT v_text), count(v_text), count(*) FROM things;
SELECT a.id, b.id FROM things a JOIN things b ON a.v_uuid = b.v_uuid ORDER BY a.id, b.id;
SELECT id, secret FROM things WHERE secret IS NOT NULL ORDER BY id;
UPDATE things SET v_text = 'two', v_int4 = 2, v_bool = false WHERE id = 2 RETURNING *;
UPDATE things SET v_float8 = 2.5, v_date = '1999-12-31', v_timestamptz = '1999-12-31 23:59:59+00', v_numeric = 1, v_uuid = '11111111-2222-3333-4444-555555555555', v_bytea = '\x00', v_jsonb = '{"k":   "v"}', v_varchar = '12345678901234567890' WHERE v_text = 'two' RETURNING v_float8, v_date, v_timestamptz, v_numeric, v_uuid, v_bytea, v_jsonb, v_varchar;
UPDATE things SET v_text = NULL WHERE id > 12 RETURNING id;
SELECT count(*) FROM things WHERE v_text IS NULL;
DELETE FROM things WHERE v_uuid = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' RETURNING id, v_text;
SAVEPOINT s;
-- fails: 22001
INSERT INTO things (id, v_varchar) VALUES (30, '123456789012345678901');
ROLLBACK TO s;
-- fails: 22003
INSERT INTO things (id, v_int4) VALUES (30, 2147483648);
ROLLBACK TO s;
-- fails: 22P02
INSERT INTO things (id, v_int4) VALUES (30, 'x');
ROLLBACK TO s;
-- fails: 22P02
INSERT INTO things (id, v_uuid) VALUES (30, 'not-a-uuid');
ROLLBACK TO s;
-- fails: 22P02
INSERT INTO things (id, v_bool) VALUES (30, 'perhaps');
ROLLBACK TO s;
-- fails: 22023
INSERT INTO things (id, v_bytea) VALUES (30, '\xzz');
ROLLBACK TO s;
-- fails: 22P02
INSERT INTO things (id, v_jsonb) VALUES (30, '{');
ROLLBACK TO s;
-- fails: 22003
INSERT INTO things (id, v_numeric) VALUES (30, 12345678901);
ROLLBACK TO s;
-- fails: 22008
INSERT INTO things (id, v_date) VALUES (30, '2026-02-30');
ROLLBACK TO s;
-- fails: 22P02
SELECT id FROM things WHERE v_int4 = 'x';
ROLLBACK TO s;
INSERT INTO things (id, v_numeric) VALUES (31, 1.00005), (32, 1.00004999), (33, -1.00005) RETURNING v_numeric;
INSERT INTO things (id, v_int4, v_int8) VALUES (34, '  42 ', ' -7') RETURNING v_int4, v_int8;
SAVEPOINT later;
-- later: 0A000 a protected column filled from a query
INSERT INTO things (id, v_text) SELECT 40 + n, 'made ' || n FROM generate_series(1, 0) n;
ROLLBACK TO later;
ROLLBACK;

-- group: every protected type as a parameter
BEGIN;
-- bind: ["101", "text", "7", "8", "0.1", "t", "2026-01-02", "2026-01-02 03:04:05.000006+00", "3.1400", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "\\x0001ff", "{\"z\": 1, \"a\": 2}", "vc"]
INSERT INTO things (id, v_text, v_int4, v_int8, v_float8, v_bool, v_date, v_timestamptz, v_numeric, v_uuid, v_bytea, v_jsonb, v_varchar) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING *;
-- bind: ["102", null, null, null, null, null, null, null, null, null, null, null, null]
INSERT INTO things (id, v_text, v_int4, v_int8, v_float8, v_bool, v_date, v_timestamptz, v_numeric, v_uuid, v_bytea, v_jsonb, v_varchar) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING *;
-- bind: ["7"]
SELECT id FROM things WHERE v_int4 = $1;
-- bind: ["8"]
SELECT id FROM things WHERE v_int8 = $1;
-- bind: ["0.1"]
SELECT id FROM things WHERE v_float8 = $1;
-- bind: ["t"]
SELECT id FROM things WHERE v_bool = $1;
-- bind: ["2026-01-02"]
SELECT id FROM things WHERE v_date = $1;
-- bind: ["2026-01-02 04:04:05.000006+01"]
SELECT id FROM things WHERE v_timestamptz = $1;
-- bind: ["3.14"]
SELECT id FROM things WHERE v_numeric = $1;
-- bind: ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"]
SELECT id FROM things WHERE v_uuid = $1;
-- bind: ["\\x0001ff"]
SELECT id FROM things WHERE v_bytea = $1;
-- bind: ["{7,NULL,9}"]
SELECT id FROM things WHERE v_int4 = ANY ($1);
-- bind: ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"]
SELECT id FROM things WHERE v_uuid = ANY ($1);
-- bind: ["{2026-01-02,2026-01-03}"]
SELECT id FROM things WHERE v_date = ANY ($1);
-- bind: ["101", "8", "9.9", "{}"]
UPDATE things SET v_int4 = $2, v_numeric = $3, v_jsonb = $4 WHERE id = $1 RETURNING v_int4, v_numeric, v_jsonb;
-- fails: 22P02
-- bind: ["x"]
SELECT id FROM things WHERE v_int4 = $1;
ROLLBACK;

-- group: join groups, unique and bound columns
BEGIN;
INSERT INTO pairs (id, owner, a, b) VALUES (1, 'bob', 'x', 'y'), (2, 'ana', 'y', 'z'), (3, 'bob', 'z', 'x'), (4, 'ana', NULL, 'y'), (5, 'ana', NULL, NULL);
SELECT p.id, q.id FROM pairs p JOIN pairs q ON p.a = q.b ORDER BY p.id, q.id;
SELECT id FROM pairs WHERE a = b;
SELECT id FROM pairs WHERE a IN (SELECT b FROM pairs) ORDER BY id;
SAVEPOINT later;
-- later: 0A000 INTERSECT over protected columns
SELECT a FROM pairs WHERE a IS NOT NULL INTERSECT SELECT b FROM pairs;
ROLLBACK TO later;
SELECT b, count(*) FROM pairs GROUP BY b;
SELECT owner, count(DISTINCT b) FROM pairs GROUP BY owner ORDER BY owner;
INSERT INTO pairs (id, owner, a) VALUES (6, 'bob', 'x') ON CONFLICT (a) DO NOTHING;
SAVEPOINT later;
-- later: 0A000 a conflict on another key than the one values are bound to
INSERT INTO pairs (id, owner, a, b) VALUES (7, 'bob', 'x', 'new b') ON CONFLICT (a) DO UPDATE SET b = EXCLUDED.b RETURNING id, a, b;
ROLLBACK TO later;
UPDATE pairs SET owner = 'carl' WHERE id = 1 RETURNING id, owner, a, b;
SELECT id, owner, a, b FROM pairs ORDER BY id;
SAVEPOINT later;
-- later: 0A000 a computed value for a column that values are bound to
UPDATE pairs SET id = id + 100 WHERE owner = 'ana' RETURNING id, a, b;
ROLLBACK TO later;
UPDATE pairs SET id = 104 WHERE id = 4 RETURNING id, a, b;
SELECT id, owner, a, b FROM pairs ORDER BY id;
-- fails: 23505
UPDATE pairs SET a = 'z' WHERE id = 1;
ROLLBACK;

-- group: a protected key
BEGIN;
INSERT INTO keyed (code, amount, note) VALUES ('k1', 1, 'first'), ('k2', 2, 'second'), ('', 0, 'empty') RETURNING code, amount;
SELECT * FROM keyed WHERE code = 'k1';
SELECT code, amount FROM keyed WHERE code IN ('k1', 'k2', '');
UPDATE keyed SET amount = 10 WHERE code = 'k1' RETURNING code, amount;
UPDATE keyed SET note = 'changed' WHERE amount = 2 RETURNING code, note;
UPDATE keyed SET code = 'k3' WHERE code = 'k2' RETURNING code, amount, note;
SELECT code, amount, note FROM keyed;
INSERT INTO keyed (code, amount) VALUES ('k1', 5) ON CONFLICT (code) DO UPDATE SET amount = EXCLUDED.amount RETURNING code, amount, note;
DELETE FROM keyed WHERE code = '' RETURNING amount;
SELECT count(*) FROM keyed;
-- fails: 23505
INSERT INTO keyed (code) VALUES ('k1');
ROLLBACK;
