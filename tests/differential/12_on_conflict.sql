-- login: sys_account
-- group: on conflict
BEGIN;
INSERT INTO projects (id, name) VALUES ('PA1', 'Whatever') ON CONFLICT DO NOTHING;
INSERT INTO projects (id, name) VALUES ('PA1', 'Whatever'), ('PN', 'Not there yet') ON CONFLICT (id) DO NOTHING RETURNING id;
INSERT INTO projects (id, name) VALUES ('PA1', 'Renamed by conflict') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name RETURNING id, name, org_id;
INSERT INTO projects AS p (id, name) VALUES ('PA1', 'x') ON CONFLICT (id) DO UPDATE SET name = p.name || ' again' WHERE p.org_id = 'A' RETURNING p.id, p.name;
INSERT INTO projects (id, name) VALUES ('PA1', 'y') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name WHERE projects.org_id = 'B' RETURNING id;
INSERT INTO projects (id, name) VALUES ('PQ', 'Open Fields') ON CONFLICT (name) DO UPDATE SET org_name = 'by name' RETURNING id, name, org_name;
INSERT INTO orgs (id, name, contact) VALUES ('A', 'whatever', 'by-id@people.example') ON CONFLICT (id) DO UPDATE SET contact = EXCLUDED.contact RETURNING id, name, contact;
SELECT id FROM orgs WHERE contact = 'by-id@people.example';
SAVEPOINT later;
-- later: 0A000 a conflict on another key than the one values are bound to
INSERT INTO orgs (id, name, contact) VALUES ('Q', 'Birch Bureau', 'by-name@people.example') ON CONFLICT (name) DO UPDATE SET contact = EXCLUDED.contact RETURNING id, name, contact;
ROLLBACK TO later;
SAVEPOINT later;
-- later: 0A000 a constant for a protected column in DO UPDATE
INSERT INTO orgs (id, name, contact) VALUES ('A', 'x', 'x'), ('R', 'Rowan Ring', 'r@people.example') ON CONFLICT (id) DO UPDATE SET contact = 'fixed@people.example' RETURNING id, contact;
ROLLBACK TO later;
INSERT INTO orgs (id, name, contact) VALUES ('A', 'x', 'a@people.example'), ('R', 'Rowan Ring', 'r@people.example') ON CONFLICT (id) DO UPDATE SET contact = EXCLUDED.contact RETURNING id, contact;
INSERT INTO accounts (id, email, disabled, verified) VALUES ('another', 'ana@people.example', false, true) ON CONFLICT (email) DO NOTHING;
SELECT id FROM accounts WHERE email = 'ana@people.example';
SAVEPOINT later;
-- later: 0A000 DO UPDATE of columns that not all policies let change
INSERT INTO accounts (id, email, disabled, verified) VALUES ('another', 'carl@people.example', false, true) ON CONFLICT (email) DO UPDATE SET verified = false RETURNING id, email, verified;
ROLLBACK TO later;
INSERT INTO accounts (id, email, disabled, verified) VALUES ('bob', 'dora@people.example', false, true) ON CONFLICT DO NOTHING;
SAVEPOINT later;
-- later: 0A000 protected values from a query
INSERT INTO accounts (id, email, disabled, verified) SELECT 'copy-' || id, 'fixed@people.example', false, false FROM projects WHERE id = 'PA1' ON CONFLICT (email) DO NOTHING;
ROLLBACK TO later;
INSERT INTO projects (id, name) SELECT 'copy-' || id, name FROM projects WHERE id = 'PA1' ON CONFLICT (name) DO NOTHING;
SAVEPOINT s;
-- fails: 23505
INSERT INTO orgs (id, name) VALUES ('A', 'Birch Bureau') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name;
ROLLBACK TO s;
-- fails: 42P10
INSERT INTO accounts (id, email, disabled, verified) VALUES ('bob', 'b@people.example', false, true) ON CONFLICT (verified) DO NOTHING;
ROLLBACK TO s;
-- fails: 21000
INSERT INTO projects (id, name) VALUES ('PZ', 'one'), ('PZ', 'two') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name;
ROLLBACK TO s;
SELECT id, name, org_name FROM projects ORDER BY id;
ROLLBACK;

-- login: sys_account.service
-- group: on conflict over a protected key
BEGIN;
INSERT INTO login_attempts (origin_ip, account_email, total_attempts) VALUES ('198.51.100.1', 'bob@people.example', 1) ON CONFLICT (origin_ip) DO UPDATE SET total_attempts = login_attempts.total_attempts + 1 RETURNING origin_ip, total_attempts;
INSERT INTO login_attempts (origin_ip, account_email, total_attempts) VALUES ('198.51.100.1', 'bob@people.example', 1) ON CONFLICT (origin_ip) DO UPDATE SET total_attempts = login_attempts.total_attempts + 1 RETURNING origin_ip, total_attempts;
INSERT INTO login_attempts (origin_ip, total_attempts) VALUES ('198.51.100.1', 1) ON CONFLICT DO NOTHING;
SELECT origin_ip, account_email, total_attempts FROM login_attempts WHERE origin_ip = '198.51.100.1';
INSERT INTO login_attempts (origin_ip, account_email, total_attempts) VALUES ('198.51.100.1', 'ana@people.example', 7) ON CONFLICT (origin_ip) DO UPDATE SET account_email = EXCLUDED.account_email, total_attempts = EXCLUDED.total_attempts RETURNING account_email, total_attempts;
ROLLBACK;
