-- login: sys_account
-- group: plain selects
SELECT id, role, project_id, org_id FROM roles WHERE account_id = 'bob';
SELECT id FROM roles ORDER BY id LIMIT 10;
SELECT id FROM roles ORDER BY id DESC LIMIT 5 OFFSET 7;
SELECT r.id AS role_name, r.role AS "Role" FROM roles AS r WHERE r.role >= 3 ORDER BY r.id;
SELECT * FROM projects ORDER BY id;
SELECT * FROM sys_account.projects p WHERE p.org_id = 'A' ORDER BY p.name DESC;
TABLE projects;
SELECT p.* FROM projects p, orgs o WHERE p.org_id = o.id AND o.id = 'B';
SELECT id, name, account_id FROM orgs ORDER BY name;
SELECT DISTINCT role FROM roles ORDER BY role;
SELECT DISTINCT ON (project_id) project_id, id FROM roles WHERE project_id <> '' ORDER BY project_id, id;
SELECT ALL role FROM roles WHERE account_id IN ('bob', 'ana', 'dora') ORDER BY role, id;
SELECT count(*) FROM accounts;
SELECT id, disabled, verified FROM accounts WHERE id IN ('root', 'ana', 'carl', 'bob', 'dora', 'gus', 'eve');
SELECT id FROM accounts WHERE disabled AND NOT verified ORDER BY id;
SELECT id FROM accounts WHERE last_login IS NULL ORDER BY id LIMIT 20;
SELECT id, created_at, updated_at, last_login FROM accounts WHERE id LIKE 'acc-000%' ORDER BY created_at, id;
SELECT id FROM accounts WHERE created_at BETWEEN '2026-01-01 00:00:00+00' AND '2026-02-01 00:00:00+00' ORDER BY id;
SELECT id FROM accounts WHERE avatar_resource_id ~ '^avatar-acc-00[0-4]' ORDER BY id;
SELECT id FROM accounts WHERE id NOT LIKE 'acc-%' ORDER BY id;
SELECT id, avatar_resource_id FROM accounts WHERE avatar_resource_id IS NOT NULL ORDER BY id LIMIT 10;
SELECT 1;
SELECT 1 AS a, 'x' AS b, NULL AS c, true AS d, 1.50 AS e;
SELECT;
SELECT 'it''s', U&'d\0061t\+000061', E'a\tb\\c', $$dollar 'quoted'$$, $tag$ $$ $tag$;
VALUES (1, 'a'), (2, 'b'), (3, NULL);
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(n, t) ORDER BY n;
SELECT id FROM roles WHERE (role, account_id) = (2, 'bob');
SELECT id FROM roles WHERE row(role, account_id) IN ((4, 'ana'), (3, 'carl')) ORDER BY id;
SELECT id FROM roles WHERE role BETWEEN SYMMETRIC 4 AND 3 ORDER BY id LIMIT 10;
SELECT id FROM roles WHERE (org_id = '') IS TRUE AND role > 1 ORDER BY id;
SELECT id FROM roles WHERE updated_at IS DISTINCT FROM created_at ORDER BY id LIMIT 10;
SELECT id FROM roles WHERE account_id = ANY (ARRAY['bob', 'carl']) ORDER BY id;
SELECT id FROM roles WHERE role = ANY ('{3,4,5}'::int[]) ORDER BY id LIMIT 10;
SELECT id FROM roles WHERE role <> ALL (ARRAY[1, 2]) ORDER BY id LIMIT 10;
SELECT id FROM roles ORDER BY role DESC NULLS LAST, 1 FETCH FIRST 3 ROWS ONLY;
SELECT account_id, role FROM roles WHERE account_id = 'bob' FOR UPDATE;
SELECT id FROM projects ORDER BY id FOR SHARE;
SELECT id FROM accounts WHERE id = 'bob' LIMIT (SELECT 1);
SELECT roles.id FROM roles WHERE roles.account_id = 'dora';
SELECT sys_account.roles.id FROM sys_account.roles WHERE sys_account.roles.account_id = 'dora';
SELECT "id" FROM "sys_account"."roles" WHERE "account_id" = 'dora';
SELECT ID, Account_Id FROM ROLES WHERE account_id = 'bob';

-- group: a batch answers for each statement
-- simple only: a batch
SELECT 1 AS one; SELECT 2 AS two; SELECT id FROM projects ORDER BY id;
-- simple only: an empty query answers differently there
;
