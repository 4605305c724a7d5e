SELECT * FROM roles
SELECT roles.* FROM roles
SELECT r.* FROM roles r
SELECT r.*, o.* FROM roles r, projects o
SELECT id, role + 1 AS next FROM roles WHERE role > 1 ORDER BY next DESC NULLS LAST, id LIMIT 10 OFFSET 5
SELECT id FROM roles LIMIT ALL
SELECT id FROM roles LIMIT NULL
SELECT id FROM roles LIMIT $1 OFFSET $2
SELECT id FROM roles OFFSET 1 ROWS FETCH NEXT 5 ROWS ONLY
SELECT id FROM roles ORDER BY role FETCH FIRST 3 ROWS WITH TIES
SELECT id FROM roles ORDER BY role FETCH FIRST ROW ONLY
SELECT DISTINCT role FROM roles ORDER BY 1
SELECT DISTINCT ON (org_id) org_id, id FROM roles ORDER BY org_id, id DESC
SELECT DISTINCT ON (o) org_id AS o, id FROM roles ORDER BY o
SELECT DISTINCT ON (1, 2) org_id, id FROM roles
SELECT count(*) FROM roles
SELECT count(*) AS "__count" FROM "roles" WHERE "roles"."org_id" = 'A'
SELECT role, count(*) FROM roles GROUP BY role HAVING count(*) > 1 ORDER BY count(*) DESC
SELECT role AS r, count(*) FROM roles GROUP BY r
SELECT org_id, role, count(*) FROM roles GROUP BY 1, 2
SELECT org_id, role, count(*), grouping(org_id, role) FROM roles GROUP BY GROUPING SETS ((org_id, role), (org_id), ())
SELECT org_id, role, sum(role) FROM roles GROUP BY ROLLUP (org_id, role)
SELECT org_id, role, sum(role) FROM roles GROUP BY CUBE (org_id, role), project_id
SELECT org_id FROM roles GROUP BY DISTINCT org_id
SELECT r.id, r.role, r.created_at FROM roles r GROUP BY r.id
SELECT id, row_number() OVER (), rank() OVER (PARTITION BY org_id ORDER BY role), lag(role, 1, 0) OVER w, sum(role) OVER (w ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM roles WINDOW w AS (PARTITION BY org_id ORDER BY id)
SELECT sum(role) OVER (ORDER BY id RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING), sum(role) OVER (ORDER BY role GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE TIES), first_value(id) OVER (ORDER BY id), ntile(4) OVER (ORDER BY id), count(*) FILTER (WHERE role > 1) OVER () FROM roles
SELECT sum(role) OVER (ORDER BY created_at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW) FROM roles
SELECT r.id, p.name FROM roles r JOIN projects p ON p.id = r.project_id
SELECT r.id, p.name FROM roles r INNER JOIN projects AS p ON (p.id = r.project_id) LEFT OUTER JOIN orgs o ON o.id = p.org_id WHERE o.id IS NULL
SELECT * FROM roles r RIGHT JOIN projects p ON r.project_id = p.id
SELECT * FROM roles r FULL JOIN projects p ON r.project_id = p.id
SELECT * FROM roles CROSS JOIN projects
SELECT * FROM roles a JOIN roles b USING (id)
SELECT id, a.role FROM roles a JOIN roles b USING (id, account_id) WHERE id > '' ORDER BY id
SELECT * FROM roles a NATURAL JOIN roles b
SELECT * FROM (roles a JOIN projects b ON a.project_id = b.id) JOIN projects c ON c.id = b.id
SELECT j.name FROM (roles a JOIN projects b ON a.project_id = b.id) AS j
SELECT j.a FROM (roles JOIN projects ON roles.project_id = projects.id) AS j (a, b, c)
SELECT s.id FROM (SELECT id FROM roles) s
SELECT s.x FROM (SELECT id, role FROM roles) AS s (x, y) WHERE s.y > 1
SELECT x FROM roles AS t (x, y)
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (n, t)
SELECT * FROM (VALUES (1), (2)) v JOIN roles r ON r.role = v.column1
SELECT * FROM generate_series(1, 10)
SELECT g, g.g FROM generate_series(1, 10) g
SELECT n, t.ordinality FROM unnest(ARRAY['a', 'b']) WITH ORDINALITY AS t (n, ordinality)
SELECT t.oid FROM unnest(ARRAY[1, 2]) AS t (oid)
SELECT d::date FROM generate_series('2020-01-01'::timestamp, '2020-01-05', '1 day') d
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS t (a, b)
SELECT * FROM json_to_recordset('[{"a":1}]') AS x (a int, b text)
SELECT key, value FROM json_each('{"a": 1}')
SELECT e.key, e.value FROM jsonb_each_text('{"a": 1}') e
SELECT value->>'a' FROM jsonb_array_elements('[{"a":1}]')
SELECT * FROM json_populate_recordset(NULL::roles, '[{"id":"a"}]')
SELECT r.id, l.n FROM roles r, LATERAL (SELECT count(*) AS n FROM projects p WHERE p.id = r.project_id) l
SELECT r.id, l.n FROM roles r LEFT JOIN LATERAL (SELECT p.name AS n FROM projects p WHERE p.id = r.project_id LIMIT 1) l ON true
SELECT r.id, u FROM roles r, unnest(ARRAY[r.id, r.org_id]) u
SELECT r.id, u.x FROM roles r CROSS JOIN LATERAL unnest(ARRAY[r.id]) AS u (x)
SELECT id, (SELECT max(p.name) FROM projects p WHERE p.id = r.project_id) FROM roles r
SELECT id FROM roles r WHERE EXISTS (SELECT 1 FROM projects p WHERE p.id = r.project_id)
SELECT id FROM roles WHERE project_id IN (SELECT id FROM projects WHERE org_id = 'A')
SELECT id FROM roles WHERE project_id NOT IN (SELECT id FROM projects WHERE org_id = 'A')
SELECT id FROM roles WHERE (project_id, org_id) IN (SELECT id, org_id FROM projects)
SELECT id FROM roles WHERE role >= ALL (SELECT role FROM roles)
SELECT id FROM roles WHERE role = (SELECT max(role) FROM roles)
SELECT r FROM roles r
SELECT row_to_json(r) FROM roles r
SELECT to_jsonb(r.*) FROM roles r
SELECT count(r) FROM roles r
SELECT (r).id FROM roles r
SELECT array_agg(r.id ORDER BY r.role DESC, r.id) FROM roles r
SELECT json_agg(row_to_json(x)) FROM (SELECT id, role FROM roles) x
SELECT string_agg(DISTINCT id, ',') FROM roles
SELECT id FROM roles UNION SELECT id FROM projects
SELECT id FROM roles UNION ALL SELECT id FROM projects ORDER BY id LIMIT 3
SELECT id FROM roles INTERSECT SELECT id FROM projects
SELECT id FROM roles EXCEPT ALL SELECT id FROM projects ORDER BY 1
(SELECT id FROM roles ORDER BY id LIMIT 1) UNION (SELECT id FROM projects ORDER BY id LIMIT 1)
SELECT id AS x FROM roles UNION SELECT id FROM projects ORDER BY x DESC
SELECT * FROM (SELECT id FROM roles UNION SELECT id FROM projects) u WHERE u.id > 'a'
WITH x AS (SELECT id FROM roles) SELECT * FROM x
WITH x AS (SELECT id FROM roles), y AS (SELECT id FROM x) SELECT x.id FROM x JOIN y USING (id)
WITH x (a, b) AS (SELECT id, role FROM roles) SELECT a FROM x WHERE b > 1
WITH x AS MATERIALIZED (SELECT 1 AS n), y AS NOT MATERIALIZED (SELECT 2 AS n) SELECT x.n + y.n FROM x, y
WITH RECURSIVE t (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 100) SELECT sum(n) FROM t
WITH RECURSIVE t AS (SELECT id, account_id, 1 AS depth FROM roles WHERE account_id = 'a' UNION SELECT r.id, r.account_id, t.depth + 1 FROM roles r JOIN t ON r.account_id = t.id) SELECT * FROM t ORDER BY depth
WITH roles AS (SELECT * FROM roles WHERE role > 1) SELECT * FROM roles
WITH x AS (SELECT 1 AS n) SELECT (SELECT n FROM x), n FROM x WHERE n IN (SELECT n FROM x) LIMIT (SELECT n FROM x)
WITH d AS (DELETE FROM roles WHERE id = 'x' RETURNING *) SELECT * FROM d
WITH u AS (UPDATE roles SET role = 2 WHERE id = 'x' RETURNING id, role) SELECT count(*) FROM u
WITH i AS (INSERT INTO roles (id, account_id) VALUES ('a', 'b') RETURNING id) SELECT id FROM i
SELECT * FROM roles TABLESAMPLE SYSTEM (10) REPEATABLE (1)
SELECT * FROM ONLY roles
SELECT * FROM roles *
TABLE roles
VALUES (1, 'a'), (2, 'b') ORDER BY 1 LIMIT 1
VALUES ($1, $2)
SELECT id FROM roles FOR UPDATE
SELECT id FROM roles FOR NO KEY UPDATE OF roles NOWAIT
SELECT r.id FROM roles r JOIN projects p ON p.id = r.project_id FOR UPDATE OF r SKIP LOCKED
SELECT id FROM roles FOR SHARE
SELECT id FROM roles WHERE id = $1 FOR KEY SHARE
SELECT "roles"."id" AS "a.b", "roles"."role" FROM "sys_account"."roles" WHERE ("roles"."id" = $1 AND "roles"."role" IN ($2, $3))
SELECT sys_account.roles.id FROM sys_account.roles
SELECT 1 FROM roles AS "Weird ""Alias""" WHERE "Weird ""Alias""".id = 'a'
SELECT id, email FROM accounts WHERE email = $1 AND verified
SELECT a.id, a.email FROM accounts a WHERE a.email IN ($1, $2, 'x') LIMIT 10
SELECT id FROM accounts WHERE email = ANY ($1)
SELECT id FROM accounts WHERE email = ANY (ARRAY['a', $1])
SELECT id FROM accounts WHERE email <> 'a' OR email IS NULL
SELECT id FROM accounts WHERE email IS NOT DISTINCT FROM $1
SELECT * FROM accounts ORDER BY created_at DESC LIMIT 10
SELECT a.*, r.role FROM accounts a LEFT JOIN roles r ON r.account_id = a.id WHERE a.id = 'x'
SELECT count(DISTINCT email) FROM accounts
SELECT email, count(*) FROM accounts GROUP BY email
SELECT DISTINCT email FROM accounts
SELECT email FROM accounts UNION ALL SELECT email FROM accounts
SELECT contact FROM orgs WHERE ($1::text IS NULL OR contact = $1)
