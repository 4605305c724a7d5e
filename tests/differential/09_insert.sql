-- login: sys_account
-- group: inserts
BEGIN;
INSERT INTO accounts (id, email, created_at, disabled, verified) VALUES ('new-1', 'new1@people.example', '2026-03-01 10:00:00+00', false, true);
SELECT id, email, created_at, disabled, verified FROM accounts WHERE id = 'new-1';
INSERT INTO accounts (id, email, disabled, verified) VALUES ('new-2', 'new2@people.example', false, false), ('new-3', 'new3@people.example', true, false), ('new-4', 'Zoë ☃ @people.example', false, true) RETURNING id, email, disabled;
INSERT INTO accounts (email, id, verified, disabled) VALUES ('new5@people.example', 'new-5', DEFAULT, DEFAULT) RETURNING id, email;
SELECT id, email FROM accounts WHERE email IN ('new1@people.example', 'new5@people.example', 'Zoë ☃ @people.example') ORDER BY id;
INSERT INTO roles (id, account_id, role, project_id, org_id) SELECT 'r-' || id, id, 2, 'PA1', 'A' FROM accounts WHERE id LIKE 'new-%' RETURNING id, account_id, role;
INSERT INTO roles (id, account_id, role) VALUES ('r-x', 'new-1', 1) RETURNING id, account_id, role, project_id;
INSERT INTO roles AS target (id, account_id, role) VALUES ('r-y', 'new-1', 1) RETURNING target.id, target.role + 1 AS more;
INSERT INTO projects (id, name, org_id, account_id) VALUES ('P-1', 'First', 'A', 'ana'), ('P-2', 'Second', NULL, NULL);
INSERT INTO projects SELECT 'P-3', 'Third', NULL, '2026-01-01 00:00:00+00', 'ana', 'A', 'x';
INSERT INTO orgs (id, name, contact) VALUES ('C', 'Cedar Circle', ''), ('D', 'Dune Delegation', NULL) RETURNING id, contact, contact IS NULL AS nothing;
SELECT id FROM orgs WHERE contact = '';
SELECT id FROM orgs WHERE contact IS NULL ORDER BY id;
SELECT id, name, org_id FROM projects ORDER BY id;
-- fails: 23505
INSERT INTO projects (id, name) VALUES ('P-9', 'First');
ROLLBACK;

-- group: refused inserts
BEGIN;
SAVEPOINT s;
-- fails: 23505
INSERT INTO accounts (id, email, disabled, verified) VALUES ('new-8', 'bob@people.example', false, false);
ROLLBACK TO s;
-- fails: 23505
INSERT INTO accounts (id, email, disabled, verified) VALUES ('bob', 'new8@people.example', false, false);
ROLLBACK TO s;
-- fails: 23502
INSERT INTO accounts (id, email, disabled, verified) VALUES ('new-8', NULL, false, false);
ROLLBACK TO s;
-- fails: 23502
INSERT INTO roles (id, role) VALUES ('r-8', 1);
ROLLBACK TO s;
-- fails: 22P02
INSERT INTO roles (id, account_id, role) VALUES ('r-8', 'bob', 'many');
ROLLBACK TO s;
-- fails: 42703
INSERT INTO roles (id, nothing) VALUES ('r-8', 1);
ROLLBACK TO s;
-- fails: 42601
INSERT INTO roles (id, account_id) VALUES ('r-8');
ROLLBACK TO s;
SELECT count(*) FROM accounts;
ROLLBACK;

-- login: disco
-- group: inserts of every protected type of disco
BEGIN;
INSERT INTO projects (project_id, sys_account_project_ref_id, sys_account_org_ref_id, goal, already_pledged, action_time, action_location, min_pioneers, category, contact, strategy, budget, video_url) VALUES ('dp-n1', 'PN1', 'A', 'goal', 0, '2026-07-01 18:30:00+02', 'Under the bridge', 5, 'campaign', 'n1@people.example', 'Quietly', 1234.5, '{a,b}') RETURNING project_id, action_time, action_location, contact, strategy, budget, video_url;
INSERT INTO projects (project_id, sys_account_project_ref_id, action_time, budget, contact) VALUES ('dp-n2', 'PN2', NULL, NULL, NULL), ('dp-n3', 'PN3', '2026-12-31 23:59:59.999999Z', -0.005, ''), ('dp-n4', 'PN4', 'infinity', 9999999999.99, 'ünï@people.example');
SELECT project_id, action_time, budget, contact FROM projects WHERE project_id LIKE 'dp-n%' ORDER BY project_id;
SELECT project_id FROM projects WHERE contact = 'ünï@people.example';
SELECT project_id FROM projects WHERE contact IS NULL AND project_id LIKE 'dp-n%';
INSERT INTO survey_projects (survey_project_id, survey_project_name, sys_account_project_ref_id) VALUES ('sp-n1', 'Survey of N1', 'PN1');
INSERT INTO survey_users (survey_user_id, survey_user_name, survey_project_ref_id, sys_account_account_ref_id, birth_date) VALUES ('su-n1', 'New Person', 'sp-n1', 'root', '1990-02-28'), ('su-n2', 'Newer Person', 'sp-n1', 'root', NULL), ('su-n3', 'Oldest Person', 'sp-n1', 'root', '0044-03-15 BC') RETURNING survey_user_id, survey_user_name, birth_date;
SELECT survey_user_id FROM survey_users WHERE survey_user_name = 'New Person';
INSERT INTO support_role_values (id, survey_user_ref_id, support_role_type_ref_id, pledged) SELECT 'srv-n' || t.id, 'su-n1', t.id, 3 FROM support_role_types t WHERE t.survey_project_ref_id = 'sp-PA1' RETURNING id, pledged, comment;
SAVEPOINT later;
-- later: 0A000 a protected column filled from a query
INSERT INTO support_role_values (id, survey_user_ref_id, support_role_type_ref_id, pledged, comment) SELECT 'srv-m' || t.id, 'su-n1', t.id, 3, NULL FROM support_role_types t WHERE t.survey_project_ref_id = 'sp-PA1' RETURNING id, pledged, comment;
ROLLBACK TO later;
INSERT INTO support_role_values (id, survey_user_ref_id, support_role_type_ref_id, pledged, comment) VALUES ('srv-k', 'su-n1', 'srt-PA1-0', 1, 5) RETURNING comment;
ROLLBACK TO later;
INSERT INTO support_role_values (id, survey_user_ref_id, support_role_type_ref_id, pledged, comment) VALUES ('srv-n', 'su-n1', 'srt-PA1-0', 1, E'two\nlines and a tab\t and ''quotes''') RETURNING comment;
ROLLBACK;
BEGIN;
-- fails: 22003
INSERT INTO projects (project_id, sys_account_project_ref_id, budget) VALUES ('dp-n9', 'PN9', 12345678901.00);
ROLLBACK;
-- fails: 22007
INSERT INTO survey_users (survey_user_id, survey_user_name, survey_project_ref_id, sys_account_account_ref_id, birth_date) VALUES ('su-n9', 'Nobody', 'sp-PA1', 'root', 'yesterdayish');
-- fails: 22008
INSERT INTO survey_users (survey_user_id, survey_user_name, survey_project_ref_id, sys_account_account_ref_id, birth_date) VALUES ('su-n9', 'Nobody', 'sp-PA1', 'root', '1990-02-30');
-- fails: 22P02
INSERT INTO projects (project_id, sys_account_project_ref_id, budget) VALUES ('dp-n9', 'PN9', 'much');
-- fails: 23505
INSERT INTO survey_users (survey_user_id, survey_user_name, survey_project_ref_id, sys_account_account_ref_id) VALUES ('su-n9', 'Bob Okafor', 'sp-PA1', 'root');
-- fails: 23503
INSERT INTO survey_users (survey_user_id, survey_user_name, survey_project_ref_id, sys_account_account_ref_id) VALUES ('su-n9', 'Nobody', 'sp-nowhere', 'root');
-- fails: 23502
INSERT INTO survey_users (survey_user_id, survey_user_name, sys_account_account_ref_id) VALUES ('su-n9', 'Nobody', 'root');

-- login: sys_core.service
-- group: inserts of sys_core
BEGIN;
INSERT INTO mod_events (id, event_type, payload, actor, user_id, user_name, geo_long, geo_lat, org_id, project_id, datetime) VALUES (900001, 'login', '{"b": 1, "a": [1, 2.50, null, "x"], "b": 2}', 'module', 'bob', 'Bob Okafor', 13.404954, 52.520008, 'A', 'PA1', '2026-03-04 05:06:07.89+00') RETURNING *;
INSERT INTO mod_events (id, event_type, payload, geo_long, geo_lat) VALUES (900002, 'login', 'null', '-0', 1e-300), (900003, 'login', NULL, 'NaN', 'Infinity'), (900004, 'login', '"text"', 0.1, 1.7976931348623157e308), (900005, 'login', '{}', NULL, NULL);
SELECT id, payload, geo_long, geo_lat FROM mod_events WHERE id > 900000 ORDER BY id;
INSERT INTO mod_events (event_type, payload) VALUES ('login', '{"auto": true}'), ('login', '[]') RETURNING event_type, payload;
INSERT INTO files (id, "binary", resource_id, is_dir) VALUES ('file-n1', '\x00ff10', 'res-n1', false), ('file-n2', '', 'res-n2', false), ('file-n3', NULL, 'res-n3', true), ('file-n4', 'abc\\\000', 'res-n4', false) RETURNING id, "binary";
SELECT id, "binary" FROM files WHERE id LIKE 'file-n%' ORDER BY id;
-- fails: 22P02
INSERT INTO mod_events (id, event_type, payload) VALUES (900006, 'login', '{"unfinished": ');
ROLLBACK;
