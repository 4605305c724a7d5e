-- login: sys_account
-- group: common table expressions
WITH admins AS (SELECT account_id FROM roles WHERE role >= 4) SELECT a.id FROM accounts a JOIN admins ON admins.account_id = a.id ORDER BY a.id;
WITH a AS (SELECT 1 AS n), b AS (SELECT n + 1 AS n FROM a) SELECT a.n, b.n FROM a, b;
WITH roles AS (SELECT 'shadow'::text AS id) SELECT id FROM roles;
WITH x(one, two) AS (VALUES (1, 2), (3, 4)) SELECT sum(one), sum(two) FROM x;
WITH x AS MATERIALIZED (SELECT id, role FROM roles WHERE account_id = 'bob') SELECT * FROM x;
WITH x AS NOT MATERIALIZED (SELECT id, role FROM roles WHERE account_id = 'bob') SELECT y.role FROM x y;
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 50) SELECT sum(n), count(*) FROM t;
WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT (n * 2) % 37 FROM t) SELECT n FROM t ORDER BY n;
WITH RECURSIVE chain(id, depth) AS (SELECT id, 0 FROM projects WHERE id = 'PA1' UNION ALL SELECT p.id, c.depth + 1 FROM chain c JOIN projects p ON p.id > c.id WHERE c.depth < 2) SELECT id, depth FROM chain ORDER BY depth, id;
WITH RECURSIVE walk AS (SELECT o.id, ARRAY[o.id] AS path FROM orgs o UNION ALL SELECT p.id, w.path || p.id FROM walk w JOIN projects p ON p.org_id = w.id) SELECT id, path FROM walk ORDER BY path;
WITH x AS (SELECT * FROM projects), y AS (SELECT * FROM x WHERE org_id = 'A') SELECT count(*) FROM y;
WITH outer_one AS (WITH inner_one AS (SELECT id FROM orgs) SELECT id FROM inner_one) SELECT * FROM outer_one ORDER BY id;
SELECT (WITH z AS (SELECT max(role) AS m FROM roles) SELECT m FROM z);
SELECT id FROM projects WHERE org_id IN (WITH o AS (SELECT id FROM orgs WHERE name LIKE 'B%') SELECT id FROM o);
WITH counted AS (SELECT project_id, count(*) AS n FROM roles GROUP BY project_id) SELECT p.name, c.n FROM counted c JOIN projects p ON p.id = c.project_id ORDER BY c.n, p.name;
WITH t AS (SELECT id, role FROM roles ORDER BY id LIMIT 5) SELECT a.id, b.role FROM t a JOIN t b ON a.id = b.id ORDER BY a.id;

-- group: writes inside common table expressions
BEGIN;
WITH gone AS (DELETE FROM roles WHERE account_id = 'gus' RETURNING id, role) SELECT * FROM gone ORDER BY id;
SELECT count(*) FROM roles WHERE account_id = 'gus';
WITH changed AS (UPDATE roles SET role = 2 WHERE account_id = 'carl' RETURNING id, role) SELECT id, role FROM changed;
WITH added AS (INSERT INTO projects (id, name, org_id) VALUES ('PX1', 'A new one', 'A') RETURNING id, name) SELECT name FROM added;
WITH src AS (SELECT 'PX2' AS id, 'Another' AS name) INSERT INTO projects (id, name) SELECT id, name FROM src RETURNING id, name;
WITH k AS (SELECT 'PX1' AS id) UPDATE projects SET name = 'Renamed' FROM k WHERE projects.id = k.id RETURNING projects.id, projects.name;
WITH k AS (SELECT id FROM projects WHERE id LIKE 'PX%') DELETE FROM projects WHERE id IN (SELECT id FROM k);
ROLLBACK;
