-- psql before the proxy: variables, \gset, \bind-free prepared statements, COPY refused with a hint, \d of a protected table.
\set ON_ERROR_STOP off
\set VERBOSITY verbose
\pset format unaligned
\pset tuples_only on
\pset null (null)
SET TimeZone = 'UTC';
\echo == write
INSERT INTO things (id, v_text, v_int4, v_int8, v_float8, v_bool, v_date, v_timestamptz, v_numeric, v_uuid, v_bytea, v_jsonb, v_varchar, secret, note) VALUES (:first, 'text of psql', 4, 8, 0.5, false, '2026-11-23', '2026-11-23 01:02:03+00', 1.5, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\x00ff', '{"k":1}', 'vc', 'opaque', 'plain');
\echo == read
SELECT v_text, v_int4, v_int8, v_float8, v_bool, v_date, v_timestamptz, v_numeric, v_uuid, v_bytea, v_jsonb, v_varchar, secret, note FROM things WHERE id = :first;
\echo == variable
SELECT v_text AS got FROM things WHERE id = :first \gset
\echo :got
\echo == search
SELECT count(*) FROM things WHERE v_text = :'got' AND id = :first;
\echo == prepared
PREPARE p (text, int) AS SELECT note FROM things WHERE v_text = $1 AND id = $2;
EXECUTE p('text of psql', :first);
\echo == errors
SELECT * FROM sys_account.accounts;
\echo :LAST_ERROR_SQLSTATE
SELECT pg_read_file('x');
\echo :LAST_ERROR_SQLSTATE
SELECT 1/0;
\echo :LAST_ERROR_SQLSTATE
\echo == transaction
BEGIN;
UPDATE things SET v_text = NULL WHERE id = :first;
SELECT v_text FROM things WHERE id = :first;
ROLLBACK;
SELECT v_text FROM things WHERE id = :first;
\echo == cursor
BEGIN;
DECLARE c CURSOR FOR SELECT v_text FROM things WHERE id = :first;
FETCH 1 FROM c;
COMMIT;
\set FETCH_COUNT 10
SELECT sum(n) FROM (SELECT n FROM generate_series(1, 100) n) x;
\unset FETCH_COUNT
\echo == end
DELETE FROM things WHERE id = :first;
\echo :ROW_COUNT
\echo == listen
LISTEN jobs;
\echo :SQLSTATE
