SELECT 1
SELECT 1;
SELECT
SELECT 0, -0, 0.0, '', false, NULL, -1, 2147483648, -2147483648, 1e10, .5, 5.
SELECT 'it''s', E'a\tb', U&'d\0061t', B'101', X'1F', $$x$$, $tag$ 'y' $tag$, N'n'
SELECT 1 AS "Mixed Case", 2 AS "ünïcode", 3 AS select_
SELECT DATE '2020-01-01', TIME '10:00', TIMESTAMP '2020-01-01 00:00', TIMESTAMPTZ '2020-01-01 00:00+00', INTERVAL '1 day', INTERVAL '1' DAY, INTERVAL '1-2' YEAR TO MONTH, INTERVAL(3) '1 s'
SELECT int '1', float8 '1.5', bool 't', numeric(10,2) '1.5', double precision '1', character varying(3) 'a', bit varying(3) '1', time with time zone '10:00+00'
SELECT CAST('1' AS int), '1'::int, '{1,2}'::int[], '{a}'::text[], CAST(NULL AS numeric(10,2)), '1'::char, '1'::"char", 'a'::bpchar, 'a'::character(3)
SELECT now(), CURRENT_TIMESTAMP, CURRENT_TIMESTAMP(3), CURRENT_DATE, CURRENT_TIME, LOCALTIME, LOCALTIMESTAMP(0), transaction_timestamp(), clock_timestamp()
SELECT CURRENT_USER, SESSION_USER, USER, CURRENT_ROLE, CURRENT_CATALOG, CURRENT_SCHEMA
SELECT EXTRACT(EPOCH FROM now()), EXTRACT('year' FROM now()), date_part('month', now()), date_trunc('day', now()), date_trunc('day', now(), 'UTC')
SELECT OVERLAY('abc' PLACING 'x' FROM 2 FOR 1), POSITION('b' IN 'abc'), SUBSTRING('abc' FROM 2 FOR 1), SUBSTRING('abc' FROM 2), SUBSTRING('abc' FOR 2), SUBSTRING('abc' SIMILAR 'a#"b#"c' ESCAPE '#'), substring('abc', 1, 2)
SELECT TRIM('x'), TRIM(BOTH 'x' FROM 'xax'), TRIM(LEADING FROM ' a'), TRIM(TRAILING 'x' FROM 'ax'), btrim('a'), ltrim('a', 'b'), rtrim('a')
SELECT now() AT TIME ZONE 'UTC', now() AT TIME ZONE INTERVAL '1 hour', timezone('UTC', now())
SELECT 'a' || 'b', 'a' || 1, 2 ^ 3, 5 % 3, 5 / 2, -5, +5, @ -5, |/ 4.0, ||/ 8.0, 5 & 3, 5 | 3, 5 # 3, ~5, 1 << 2, 8 >> 1
SELECT 1 = 1, 1 <> 2, 1 != 2, 1 < 2, 1 <= 2, 1 > 0, 1 >= 1, NOT true, true AND false, true OR false
SELECT 'a' LIKE 'a%', 'a' NOT LIKE 'b', 'a' ILIKE 'A', 'a%' LIKE 'a!%' ESCAPE '!', 'a' SIMILAR TO 'a|b', 'a' NOT SIMILAR TO 'b', 'a' ~ 'a', 'a' ~* 'A', 'a' !~ 'b', 'a' !~* 'b', 'abc' ^@ 'ab'
SELECT 1 BETWEEN 0 AND 2, 1 NOT BETWEEN 0 AND 2, 1 BETWEEN SYMMETRIC 2 AND 0, 1 IN (1, 2), 1 NOT IN (3), 'a' IN ('a')
SELECT 1 IS NULL, 1 IS NOT NULL, 1 ISNULL, 1 NOTNULL, true IS TRUE, true IS NOT FALSE, NULL IS UNKNOWN, 1 IS DISTINCT FROM 2, 1 IS NOT DISTINCT FROM NULL
SELECT ROW(1, 2) IS DISTINCT FROM ROW(1, 3), ROW(1, 2) = ROW(1, 2), (1, 2) < (1, 3), ROW(), ROW(1), ROW(1, NULL) IS NULL, (1, 2) OVERLAPS (1, 3) IS NULL
SELECT (DATE '2020-01-01', DATE '2020-02-01') OVERLAPS (DATE '2020-01-15', DATE '2020-03-01')
SELECT 1 = ANY (ARRAY[1, 2]), 1 = ALL (ARRAY[1]), 1 <> ALL ('{1}'::int[]), 1 = SOME (ARRAY[1]), 'a' LIKE ANY (ARRAY['a', 'b']), 1 < ANY (SELECT 2), 1 IN (SELECT 1), EXISTS (SELECT 1), NOT EXISTS (SELECT 1 WHERE false), (1, 2) IN (SELECT 1, 2)
SELECT CASE WHEN true THEN 1 END, CASE 1 WHEN 1 THEN 'a' WHEN 2 THEN 'b' ELSE 'c' END, COALESCE(NULL, 1), NULLIF(1, 2), GREATEST(1, 2), LEAST(1, 2, 3)
SELECT ARRAY[1, 2], ARRAY[[1, 2], [3, 4]], ARRAY[]::int[], (ARRAY[1, 2, 3])[1], (ARRAY[1, 2, 3])[1:2], (ARRAY[1, 2, 3])[:2], (ARRAY[[1]])[1][1], ARRAY(SELECT 1), ARRAY[1] || 2, ARRAY[1] @> ARRAY[1], ARRAY[1] && ARRAY[2]
SELECT '{"a": 1}'::json -> 'a', '{"a": 1}'::jsonb ->> 'a', '{"a": {"b": 1}}'::jsonb #> '{a,b}', '{"a": 1}'::jsonb #>> '{a}', '{"a": 1}'::jsonb @> '{"a": 1}', '{"a": 1}'::jsonb ? 'a', '{"a": 1}'::jsonb ?| ARRAY['a'], '{"a": 1}'::jsonb - 'a', '{"a":1}'::jsonb || '{"b":2}', '{"a":1}'::jsonb @? '$.a', '{"a":1}'::jsonb @@ '$.a == 1'
SELECT json_build_object('a', 1), jsonb_build_array(1, 'a'), to_json(1), to_jsonb('a'::text), row_to_json(ROW(1, 2)), json_agg(1), jsonb_agg(1), json_object_agg('a', 1), jsonb_set('{}', '{a}', '1'), jsonb_pretty('{}'), jsonb_path_query_array('{}', '$')
SELECT lower('A'), upper('a'), initcap('a'), length('a'), char_length('a'), octet_length('a'), bit_length('a'), left('a', 1), right('a', 1), repeat('a', 2), replace('a', 'b', 'c'), reverse('a'), split_part('a,b', ',', 1), strpos('a', 'a'), translate('a', 'b', 'c'), lpad('a', 3), rpad('a', 3, 'x'), md5('a'), encode('a', 'hex'), decode('61', 'hex'), concat('a', 1, NULL), concat_ws(',', 'a', 'b'), format('%s %I %L', 'a', 'b', 'c'), quote_ident('a'), quote_literal('a'), ascii('a'), chr(65), to_hex(10), regexp_replace('a', 'a', 'b', 'g'), regexp_matches('a', 'a'), regexp_split_to_array('a b', ' '), string_to_array('a,b', ','), array_to_string(ARRAY['a'], ',')
SELECT abs(-1), ceil(1.5), ceiling(1.5), floor(1.5), round(1.5), round(1.555, 2), trunc(1.5), sqrt(4), power(2, 3), exp(1), ln(2), log(10), log(2, 8), mod(5, 2), sign(-1), pi(), random(), sin(1), cos(1), tan(1), atan2(1, 2), degrees(1), radians(1), gcd(4, 6), lcm(4, 6), width_bucket(1, 0, 10, 5), div(5, 2)
SELECT to_char(now(), 'YYYY'), to_char(1, '9'), to_date('2020', 'YYYY'), to_timestamp(0), to_timestamp('2020', 'YYYY'), to_number('1', '9'), age(now()), age(now(), now()), make_date(2020, 1, 1), make_interval(days => 1), make_timestamp(2020, 1, 1, 0, 0, 0), justify_days('30 days'), isfinite(now())
SELECT generate_series(1, 3), unnest(ARRAY[1, 2]), array_length(ARRAY[1], 1), array_append(ARRAY[1], 2), array_position(ARRAY[1], 1), array_remove(ARRAY[1], 1), cardinality(ARRAY[1]), array_upper(ARRAY[1], 1), array_agg(1)
SELECT version(), pg_backend_pid(), current_database(), current_schema(), current_schema, current_schemas(true), current_user, pg_catalog.pg_client_encoding(), pg_is_in_recovery(), txid_current(), inet_client_addr()
SELECT pg_typeof(1), pg_typeof('a'::text)::text, pg_column_size(1), gen_random_uuid(), 'a'::uuid IS NULL
SELECT count(*), count(1), count(DISTINCT 1), sum(1), avg(1), min(1), max(1), bool_and(true), every(true), bit_or(1), stddev(1), variance(1), corr(1, 1), string_agg('a', ','), string_agg('a', ',' ORDER BY 1 DESC), array_agg('a' ORDER BY 'b'), count(*) FILTER (WHERE true), percentile_cont(0.5) WITHIN GROUP (ORDER BY 1), mode() WITHIN GROUP (ORDER BY 1), rank(1) WITHIN GROUP (ORDER BY 1), percentile_disc(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY 1)
SELECT int4range(1, 5), '[1,5)'::int4range @> 3, lower(int4range(1, 5)), tstzrange(now(), NULL), numrange(1, 2, '[]'), isempty(int4range(1, 1)), int4range(1, 5) && int4range(2, 3), int4range(1, 2) -|- int4range(2, 3)
SELECT to_tsvector('english', 'a b'), plainto_tsquery('a'), to_tsvector('a') @@ to_tsquery('a'), ts_rank(to_tsvector('a'), to_tsquery('a')), ts_headline('english', 'a', to_tsquery('a')), websearch_to_tsquery('english', 'a b'), setweight(to_tsvector('a'), 'A')
SELECT 'a' COLLATE "C", 'a' < 'b' COLLATE "C", 'a' COLLATE pg_catalog."default"
SELECT inet '192.168.1.1', cidr '192.168.0.0/16', inet '192.168.1.1' << inet '192.168.0.0/16', host(inet '192.168.1.1'), macaddr '08:00:2b:01:02:03'
SELECT point(1, 2), box '(1,1),(0,0)', circle '((0,0),1)', point '(1,2)' <-> point '(3,4)', '\x00'::bytea, get_byte('\x00', 0), sha256('a'), '1'::money
SELECT $1, $2::int, $1 || 'a', $3 = ANY ($4::int[])
SELECT $1::text IS NULL, ($2)::uuid, CAST($3 AS date)
SELECT normalize('a'), 'a' IS NORMALIZED, 'a' IS NFC NORMALIZED
SELECT length(x => 'a') WHERE false
SELECT make_interval(0, 0, 0, days => 10), concat(VARIADIC ARRAY['a', 'b']), format('%s', VARIADIC ARRAY['a'])
SELECT (1 + 2) * 3, ((1)), -(-1), - -1, NOT (NOT true), (SELECT 1), ((SELECT 1)), (VALUES (1))
SELECT 1 WHERE true
SELECT 1 WHERE 1 = 1 AND 2 = 2 OR 3 = 3
SELECT 5 OPERATOR(pg_catalog.+) 6, 'a' OPERATOR(pg_catalog.~) '^(a)$'
SELECT pg_sleep(0)
