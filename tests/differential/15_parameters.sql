-- login: sys_account
-- group: parameters
-- bind: ["bob"]
SELECT id, email, verified FROM accounts WHERE id = $1;
-- bind: ["bob@people.example"]
SELECT id, email FROM accounts WHERE email = $1;
-- bind: [null]
SELECT id FROM accounts WHERE email = $1;
-- bind: [""]
SELECT id FROM accounts WHERE email = $1;
-- bind: ["{bob@people.example,ana@people.example,NULL}"]
SELECT id FROM accounts WHERE email = ANY ($1) ORDER BY id;
-- bind: ["{}"]
SELECT id FROM accounts WHERE email = ANY ($1) ORDER BY id;
-- bind: ["{bob,ana}"]
SELECT id, email FROM accounts WHERE id = ANY ($1) ORDER BY id;
-- bind: ["bob@people.example", "carl@people.example"]
SELECT id FROM accounts WHERE email IN ($1, $2) ORDER BY id;
-- bind: ["ana", "bob@people.example"]
SELECT id FROM accounts WHERE id = $1 OR email = $2 ORDER BY id;
-- bind: ["bob@people.example", "bob"]
SELECT id FROM accounts WHERE email = $1 AND id = $2;
-- bind: ["bob@people.example"]
SELECT count(*) FROM accounts WHERE email <> $1;
-- bind: ["3", "5"]
SELECT id FROM roles WHERE role >= $1 ORDER BY id LIMIT $2;
-- bind: ["2"]
-- types: 23
SELECT count(*) FROM roles WHERE role = $1;
-- bind: ["2"]
-- types: 20
SELECT count(*) FROM roles WHERE role = $1;
-- bind: ["x"]
SELECT $1::text AS echo;
-- bind: ["5", "7"]
SELECT $1::int + $2::int AS total;
-- bind: ["{1,2,3}"]
SELECT unnest($1::int[]) AS n ORDER BY n;
-- bind: ["2026-01-15 00:00:00+00"]
SELECT count(*) FROM accounts WHERE created_at < $1;
-- fails: 22P02
-- bind: ["many"]
SELECT count(*) FROM roles WHERE role = $1;
BEGIN;
-- bind: ["par-1", "par1@people.example", "t"]
INSERT INTO accounts (id, email, verified, disabled) VALUES ($1, $2, $3, false) RETURNING id, email, verified;
-- bind: ["par-2", "par2@people.example", "par-3", "par3@people.example"]
INSERT INTO accounts (id, email, verified, disabled) VALUES ($1, $2, true, false), ($3, $4, false, false);
-- bind: ["par1@people.example"]
SELECT id, email FROM accounts WHERE email = $1;
-- bind: ["par-1", "2026-01-01 00:00:00+00"]
UPDATE accounts SET verified = false, updated_at = $2 WHERE id = $1 RETURNING email, updated_at;
-- bind: ["A", "changed@people.example"]
UPDATE orgs SET contact = $2 WHERE id = $1 RETURNING contact;
-- bind: ["changed@people.example", "again@people.example"]
UPDATE orgs SET contact = $2 WHERE contact = $1 RETURNING id, contact;
-- bind: ["again@people.example", null]
UPDATE orgs SET contact = $2 WHERE contact = $1 RETURNING id, contact;
-- bind: ["par-1"]
DELETE FROM accounts WHERE id = $1 RETURNING email;
-- bind: ["par2@people.example"]
DELETE FROM accounts WHERE email = $1;
-- fails: 23502
-- bind: ["par-4", null]
INSERT INTO accounts (id, email, verified, disabled) VALUES ($1, $2, true, false);
ROLLBACK;
-- fails: 08P01
-- bind: []
SELECT id FROM accounts WHERE id = $1;
-- fails: 08P01
-- bind: ["only one"]
SELECT id FROM accounts WHERE id = $1 AND email = $2;

-- login: disco
-- group: parameters of disco
BEGIN;
-- bind: ["dp-q", "PQ", "2026-09-09 09:09:09.123456+02", "Somewhere", "q@people.example", "Plan", "77.70", "{u,v}"]
INSERT INTO projects (project_id, sys_account_project_ref_id, action_time, action_location, contact, strategy, budget, video_url) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING project_id, action_time, action_location, contact, strategy, budget, video_url;
-- bind: ["q@people.example"]
SELECT project_id, budget, action_time FROM projects WHERE contact = $1;
-- bind: ["dp-q", null, null]
UPDATE projects SET budget = $2, action_time = $3 WHERE project_id = $1 RETURNING budget, action_time;
-- bind: ["dp-q", "0.005", "2000-01-01 00:00:00+00"]
UPDATE projects SET budget = $2, action_time = $3 WHERE project_id = $1 RETURNING budget, action_time;
-- bind: ["su-q", "Quiet Person", "sp-PA1", "root", "1970-01-01"]
INSERT INTO survey_users (survey_user_id, survey_user_name, survey_project_ref_id, sys_account_account_ref_id, birth_date) VALUES ($1, $2, $3, $4, $5) RETURNING survey_user_name, birth_date;
-- bind: ["Quiet Person"]
SELECT survey_user_id, birth_date FROM survey_users WHERE survey_user_name = $1;
-- bind: ["{Quiet Person,Bob Okafor}"]
SELECT survey_user_id, survey_user_name FROM survey_users WHERE survey_user_name = ANY ($1) ORDER BY 1;
-- bind: ["srv-q", "su-q", "srt-PA1-1", "12", "a comment"]
INSERT INTO support_role_values (id, survey_user_ref_id, support_role_type_ref_id, pledged, comment) VALUES ($1, $2, $3, $4, $5) RETURNING pledged, comment;
-- bind: ["su-q", "another comment"]
UPDATE support_role_values SET comment = $2 WHERE survey_user_ref_id = $1 RETURNING id, comment;
-- fails: 22007
-- bind: ["su-r", "R", "sp-PA1", "root", "not a date"]
INSERT INTO survey_users (survey_user_id, survey_user_name, survey_project_ref_id, sys_account_account_ref_id, birth_date) VALUES ($1, $2, $3, $4, $5);
ROLLBACK;

-- login: sys_core.service
-- group: parameters of sys_core
BEGIN;
-- bind: ["900100", "{\"b\": 1, \"a\": 2}", "-77.5", "1e-7", "Name"]
INSERT INTO mod_events (id, event_type, payload, geo_long, geo_lat, user_name) VALUES ($1, 'login', $2, $3, $4, $5) RETURNING id, payload, geo_long, geo_lat, user_name;
-- bind: ["login", "{\"no\": \"key named\"}"]
INSERT INTO mod_events (event_type, payload) VALUES ($1, $2) RETURNING event_type, payload;
-- bind: ["file-q", "\\x00ff41", "res-q"]
INSERT INTO files (id, "binary", resource_id) VALUES ($1, $2, $3) RETURNING "binary";
-- bind: ["file-q", "\\xdead"]
UPDATE files SET "binary" = $2 WHERE id = $1 RETURNING "binary";
-- bind: ["file-q"]
SELECT "binary" FROM files WHERE id = $1;
ROLLBACK;
