-- login: disco
-- group: expressions and casts
SELECT CASE WHEN pledged > 40 THEN 'much' WHEN pledged > 20 THEN 'some' ELSE 'little' END AS how, count(*) FROM support_role_values GROUP BY how ORDER BY how;
SELECT id, CASE unit_of_measures WHEN 'hours' THEN 1 WHEN 'beds' THEN 2 END FROM support_role_types ORDER BY id;
SELECT id, coalesce(comment, description, '-'), nullif(name, 'Host') FROM support_role_types ORDER BY id;
SELECT greatest(1, 2, 3), least('b', 'a'), greatest(NULL, 1);
SELECT '12'::int, 12::text, '1.5'::numeric(5,2), 'true'::bool, '2026-02-03'::date, CAST('7' AS bigint), int2 '4', '{1,2}'::int[];
SELECT 'a  '::bpchar = 'a', length(name::bpchar), NULL::bpchar IS NULL, 5::bpchar, CAST(name || 'char' AS bpchar), (upper(name)::bpchar)::char(3), bpchar 'x  ' || 'y', coalesce(NULL::bpchar, true::text::bpchar) FROM support_role_types ORDER BY id;
SELECT name AS "char", CASE WHEN name::bpchar <> 'Host  ' THEN NULL::bpchar ELSE 'x  ' END FROM support_role_types ORDER BY id;
SELECT upper(name) || '/' || lower(unit_of_measures), length(name), substr(name, 2, 3), left(name, 2), right(name, 2) FROM support_role_types ORDER BY id;
SELECT id FROM support_role_types WHERE name ILIKE '%st%' ORDER BY id;
SELECT id FROM support_role_types WHERE name LIKE 'H_st' OR name SIMILAR TO 'D(r|x)%' ORDER BY id;
SELECT id FROM support_role_types WHERE name ~* '^tr' AND name !~ 'z' ORDER BY id;
SELECT id, pledged + 1, pledged * 2, pledged / 7, pledged % 7, -pledged, pledged ^ 2, @ (pledged - 30), |/ pledged FROM support_role_values WHERE id < 'srv-0006' ORDER BY id;
SELECT id, pledged & 7, pledged | 8, pledged # 5, ~pledged, pledged << 2, pledged >> 1 FROM support_role_values WHERE id < 'srv-0006' ORDER BY id;
SELECT id, created_at + interval '1 day', created_at AT TIME ZONE 'UTC', date_trunc('hour', created_at), extract(epoch FROM created_at) FROM support_role_values WHERE id < 'srv-0006' ORDER BY id;
SELECT created_at::date, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') FROM support_role_values WHERE id < 'srv-0006' ORDER BY id;
SELECT age(timestamptz '2026-03-01 00:00:00+00', timestamptz '2026-01-01 00:00:00+00'), timestamptz '2026-03-01 00:00:00+00' - timestamptz '2026-01-01 00:00:00+00';
SELECT project_id, video_url, video_url[1], array_length(video_url, 1), cardinality(video_url) FROM projects ORDER BY project_id;
SELECT project_id, u FROM projects, unnest(video_url) AS u ORDER BY project_id;
SELECT project_id FROM projects WHERE 'https://video.example/pa1' = ANY (video_url);
SELECT project_id FROM projects WHERE video_url @> ARRAY['https://video.example/pb1'];
SELECT ARRAY[1, 2] || 3, ARRAY[[1, 2], [3, 4]], (ARRAY[5, 6, 7])[2:3], array_position(ARRAY['a', 'b'], 'b');
SELECT ROW(1, 'a'), ROW(1, 2) = ROW(1, 2), (1, 2) < (1, 3);
SELECT '{"a": {"b": [1, 2]}}'::jsonb -> 'a' -> 'b' ->> 1, '{"a": 1}'::jsonb @> '{"a": 1}', '{"a": 1}'::jsonb ? 'a', jsonb_build_object('k', 1.0);
SELECT n, n * n FROM generate_series(1, 5) AS g(n) ORDER BY n;
SELECT * FROM generate_series(10, 1, -3) AS s ORDER BY s DESC;
SELECT 1 = 1 AND NOT (2 = 3) OR NULL, NULL IS NULL, 1 IS NOT NULL, (NULL = 1) IS UNKNOWN, 1 IS DISTINCT FROM NULL;
SELECT 2147483647, 2147483648, -2147483648, 9223372036854775807, 1e10, .5, 5., 1.0e-3;
SELECT 'a'
  'b' AS continued;
-- fails: 42601
SELECT 'a' 'b';
-- fails: 42601
SELECT 'a' FROM;
SELECT B'101', X'1F', E'\\x41'::bytea, '\x4142'::bytea;
SELECT position('b' IN 'abc'), trim(both 'x' FROM 'xxaxx'), overlay('abcdef' PLACING 'zz' FROM 2 FOR 3), substring('abcdef' FROM 2 FOR 2), substring('foobar' FROM 'o.b');
SELECT extract(year FROM date '2026-11-23'), date '2026-11-23' + 7, date '2026-11-23' - date '2026-01-01', make_date(2026, 2, 28);
SELECT md5('postern'), encode('abc'::bytea, 'hex'), decode('616263', 'hex'), repeat('ab', 3), reverse('abc'), replace('aXbX', 'X', '-'), split_part('a,b,c', ',', 2), lpad('7', 3, '0'), initcap('hello world');
SELECT round(2.567, 2), trunc(-2.5), ceil(2.1), floor(-2.1), mod(7, 3), power(2, 10), sqrt(2::float8), abs(-3), sign(-2.5), div(7, 2);
SELECT 1.0 / 3, 10::numeric(10,4) / 3, 1::float8 / 3, 7 / 2;
SELECT format('%s-%I-%L', 'a', 'b c', 'd''e'), concat('a', NULL, 1), concat_ws(',', 'a', 'b'), quote_literal('x''y'), quote_ident('a b');
SELECT regexp_replace('abc123', '[0-9]+', '#'), regexp_matches('a1b2', '([a-z])([0-9])'), regexp_split_to_array('a,b', ',');
SELECT CURRENT_DATE - CURRENT_DATE, now() - now() AS zero;
SELECT 'NaN'::float8, 'Infinity'::float8, '-0'::float8, 'NaN'::numeric;
SELECT id COLLATE "C" FROM support_role_types ORDER BY id COLLATE "C" LIMIT 3;
SELECT survey_user_ref_id, pledged FROM support_role_values WHERE id = 'srv-0000' AND (pledged IS NULL OR pledged >= 0);
SELECT t.name AS "Weird ""Name""", 1 AS "select" FROM support_role_types t WHERE t.id = 'srt-PA1-0';
