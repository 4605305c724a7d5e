INSERT INTO roles (id, account_id) VALUES ('a', 'b')
INSERT INTO roles (id, account_id, role) VALUES ('a', 'b', 1), ('c', 'd', DEFAULT) RETURNING id
INSERT INTO roles VALUES ('a', 'b', 1, 'p', 'o')
INSERT INTO roles (id, role) VALUES ($1, $2) RETURNING *
INSERT INTO "sys_account"."roles" ("id", "account_id", "role", "project_id", "org_id") VALUES ($1, $2, $3, $4, $5) RETURNING "roles"."id"
INSERT INTO roles AS r (id) VALUES ('a') ON CONFLICT DO NOTHING
INSERT INTO roles (id, role) VALUES ('a', 1) ON CONFLICT (id) DO UPDATE SET role = EXCLUDED.role
INSERT INTO roles AS r (id, role) VALUES ('a', 1) ON CONFLICT (id) DO UPDATE SET role = EXCLUDED.role + r.role WHERE r.role < 3 RETURNING r.id
INSERT INTO roles (id, role) VALUES ('a', 1) ON CONFLICT ON CONSTRAINT roles_pkey DO UPDATE SET (role, org_id) = (EXCLUDED.role, 'x')
INSERT INTO roles (id, role) VALUES ('a', 1) ON CONFLICT (id) DO UPDATE SET (role, org_id) = (SELECT 1, 'x')
INSERT INTO roles (id, role) SELECT id, 2 FROM projects WHERE org_id = 'A'
INSERT INTO roles SELECT * FROM roles WHERE false
INSERT INTO roles (id) WITH x AS (SELECT id FROM projects) SELECT id FROM x
WITH x AS (SELECT 'q' AS id) INSERT INTO roles (id) SELECT id FROM x RETURNING id
INSERT INTO roles DEFAULT VALUES
INSERT INTO roles (id) OVERRIDING USER VALUE VALUES ('a')
INSERT INTO accounts (id, email) VALUES ($1, $2)
INSERT INTO accounts (id, email, disabled, verified, created_at) VALUES ('a', 'b@c', false, true, now()) RETURNING id, email, created_at
INSERT INTO orgs (id, name, contact) VALUES ('a', 'b', 'c') ON CONFLICT (id) DO UPDATE SET contact = EXCLUDED.contact, name = EXCLUDED.name
UPDATE roles SET role = 1
UPDATE roles SET role = role + 1, updated_at = now() WHERE id = $1 RETURNING *
UPDATE roles AS r SET role = p.n FROM (SELECT id, 1 AS n FROM projects) p WHERE p.id = r.project_id
UPDATE roles SET (role, org_id) = (1, 'x') WHERE id = 'a'
UPDATE roles SET (role, org_id) = ROW (1, DEFAULT) WHERE id = 'a'
UPDATE roles SET (role, org_id) = (SELECT 1, max(p.org_id) FROM projects p) WHERE id = 'a'
UPDATE roles SET role = DEFAULT
UPDATE ONLY roles SET role = 2 WHERE id IN (SELECT id FROM roles LIMIT 10)
UPDATE roles SET role = CASE id WHEN 'a' THEN 1 ELSE role END
WITH x AS (SELECT id FROM projects) UPDATE roles SET role = 3 WHERE project_id IN (SELECT id FROM x)
UPDATE accounts SET email = $1 WHERE id = $2
UPDATE accounts SET email = $1 WHERE id = 'x' AND verified
UPDATE accounts SET disabled = true WHERE email = 'x'
UPDATE orgs SET contact = NULL, name = 'x' WHERE id = $1 RETURNING contact
UPDATE orgs SET contact = 'x'
DELETE FROM roles
DELETE FROM roles WHERE id = $1 RETURNING *
DELETE FROM roles USING projects p WHERE p.id = roles.project_id AND p.org_id = 'A'
DELETE FROM roles r WHERE NOT EXISTS (SELECT 1 FROM projects p WHERE p.id = r.project_id)
WITH gone AS (SELECT id FROM roles WHERE role = 1) DELETE FROM roles WHERE id IN (SELECT id FROM gone)
DELETE FROM accounts WHERE email = $1
EXPLAIN SELECT * FROM roles
EXPLAIN (FORMAT JSON) SELECT 1
EXPLAIN (COSTS OFF) DELETE FROM roles WHERE id = 'a'
EXPLAIN INSERT INTO roles (id) VALUES ('a')
PREPARE p AS SELECT * FROM roles WHERE id = $1
PREPARE q (text, int) AS UPDATE roles SET role = $2 WHERE id = $1
EXECUTE p ('a')
EXECUTE q ('a', 1)
EXECUTE q ('a', -1)
DEALLOCATE p
DEALLOCATE PREPARE q
DEALLOCATE ALL
DECLARE c CURSOR FOR SELECT * FROM roles
DECLARE c2 SCROLL CURSOR WITH HOLD FOR SELECT id FROM roles ORDER BY id
DECLARE "_django_curs_140" NO SCROLL CURSOR WITH HOLD FOR SELECT "roles"."id" FROM "roles"
FETCH c
FETCH 10 FROM c
FETCH FORWARD 100 FROM "_django_curs_140"
FETCH ALL IN c
FETCH BACKWARD 1 FROM c2
FETCH ABSOLUTE -1 FROM c2
MOVE NEXT FROM c
CLOSE c
CLOSE ALL
