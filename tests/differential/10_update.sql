-- login: sys_account
-- group: updates
BEGIN;
UPDATE accounts SET verified = true WHERE id = 'gus' RETURNING id, verified;
UPDATE accounts SET verified = false, updated_at = '2026-05-05 05:05:05+00' WHERE email = 'bob@people.example' RETURNING id, email, verified, updated_at;
UPDATE roles SET role = role + 1 WHERE role < 2;
UPDATE roles SET (role, project_id) = (3, 'PA2') WHERE account_id = 'carl' RETURNING role, project_id;
UPDATE roles SET (role, project_id) = (SELECT 2, p.id FROM projects p WHERE p.id = 'PA1') WHERE account_id = 'carl' RETURNING role, project_id;
UPDATE roles r SET org_id = p.org_id FROM projects p WHERE p.id = r.project_id AND r.account_id IN ('bob', 'dora') RETURNING r.id, r.org_id, p.name;
UPDATE roles SET role = DEFAULT WHERE false;
UPDATE projects SET name = upper(name) RETURNING id, name;
UPDATE projects SET name = name || '!' WHERE id IN (SELECT project_id FROM roles WHERE role = 4);
UPDATE orgs SET contact = '' WHERE id = 'A' RETURNING contact;
UPDATE orgs SET contact = NULL WHERE id = 'B' RETURNING contact, contact IS NULL AS nothing;
UPDATE accounts SET updated_at = '2026-06-01 00:00:00+00' WHERE id IN (SELECT account_id FROM roles WHERE role >= 4);
UPDATE accounts SET disabled = NOT disabled WHERE id LIKE 'acc-000%' RETURNING id, disabled;
UPDATE accounts SET verified = true WHERE id = 'nobody at all';
SAVEPOINT s;
-- fails: 42703
UPDATE accounts SET nothing = 1;
ROLLBACK TO s;
SELECT id, email FROM accounts WHERE id = 'carl';
ROLLBACK;
SELECT id, email, verified FROM accounts WHERE id IN ('bob', 'gus') ORDER BY id;

-- as: bob
-- group: one changes one's own account
BEGIN;
UPDATE accounts SET email = 'robert@people.example' WHERE id = 'bob' RETURNING id, email;
SELECT id FROM accounts WHERE email = 'robert@people.example';
SELECT count(*) FROM accounts WHERE email = 'bob@people.example';
UPDATE accounts SET email = 'bob2@people.example', updated_at = '2026-05-05 05:05:05+00', last_login = NULL WHERE email = 'robert@people.example';
SELECT id, email, verified, updated_at, last_login FROM accounts WHERE id = 'bob';
SAVEPOINT s;
-- fails: 23502
UPDATE accounts SET email = NULL WHERE id = 'bob';
ROLLBACK TO s;
-- fails: 23505
UPDATE accounts SET email = 'ana@people.example' WHERE id = 'bob';
ROLLBACK TO s;
SELECT id, email FROM accounts WHERE id = 'bob';
ROLLBACK;

-- login: disco
-- group: updates of protected columns of disco
BEGIN;
UPDATE projects SET budget = 100.10 WHERE project_id = 'dp-PA1' RETURNING project_id, budget;
UPDATE projects SET action_time = '2027-01-01 00:00:00+01', action_location = 'Moved', strategy = 'Changed' WHERE project_id = 'dp-PA1' RETURNING action_time, action_location, strategy;
UPDATE projects SET contact = 'all@people.example' RETURNING project_id, contact;
SELECT project_id FROM projects WHERE contact = 'all@people.example' ORDER BY project_id;
SELECT contact, count(*) FROM projects GROUP BY contact;
UPDATE survey_users SET survey_user_name = 'Robert Okafor', birth_date = '2000-01-01' WHERE sys_account_account_ref_id = 'bob' RETURNING survey_user_id, survey_user_name, birth_date;
UPDATE survey_users SET birth_date = '1999-09-09' WHERE survey_project_ref_id = 'sp-PB1' AND survey_user_id < 'su-acc-0100';
SELECT survey_user_id, birth_date FROM survey_users WHERE survey_project_ref_id = 'sp-PB1' AND survey_user_id < 'su-acc-0100' ORDER BY 1;
UPDATE survey_users SET birth_date = NULL WHERE survey_user_name = 'Dora Weiss' RETURNING survey_user_id, birth_date;
UPDATE projects SET already_pledged = already_pledged + 1, updated_at = '2026-02-02 02:02:02+00' WHERE contact = 'all@people.example';
SELECT project_id, already_pledged, updated_at, budget, strategy FROM projects ORDER BY project_id;
ROLLBACK;
-- fails: 22003
UPDATE projects SET budget = 1e12 WHERE project_id = 'dp-PA1';
SELECT project_id, budget FROM projects WHERE project_id = 'dp-PA1';

-- as: bob
-- group: one changes what one offers and needs
BEGIN;
UPDATE support_role_values SET comment = 'The same for all of bob' WHERE survey_user_ref_id = 'su-bob' RETURNING id, comment;
UPDATE support_role_values v SET pledged = 0 FROM survey_users u WHERE u.survey_user_id = v.survey_user_ref_id AND u.sys_account_account_ref_id = 'bob' RETURNING v.id, v.comment, v.pledged;
SAVEPOINT later;
-- later: 0A000 UPDATE … FROM that writes sealed values
UPDATE support_role_values v SET comment = 'By join', pledged = 0 FROM survey_users u WHERE u.survey_user_id = v.survey_user_ref_id AND u.sys_account_account_ref_id = 'bob' RETURNING v.id, v.comment, v.pledged;
ROLLBACK TO later;
UPDATE support_role_values SET pledged = pledged * 2 + 1 WHERE survey_user_ref_id IN ('su-bob') RETURNING id, pledged, comment;
UPDATE support_role_values SET comment = NULL WHERE id = (SELECT min(id) FROM support_role_values WHERE survey_user_ref_id = 'su-bob');
SELECT id, comment, pledged FROM support_role_values WHERE survey_user_ref_id = 'su-bob' ORDER BY id;
UPDATE user_need_values SET comment = NULL WHERE survey_user_ref_id = 'su-bob';
SELECT id, comment FROM user_need_values WHERE survey_user_ref_id = 'su-bob' ORDER BY id;
UPDATE survey_users SET survey_user_name = 'Bobby', birth_date = '2001-02-03' WHERE survey_user_id = 'su-bob' RETURNING survey_user_name, birth_date;
SELECT id, comment FROM support_role_values v JOIN survey_users u ON u.survey_user_id = v.survey_user_ref_id WHERE u.survey_user_name = 'Bobby' ORDER BY id;
ROLLBACK;

-- login: sys_core.service
-- group: updates of sys_core
BEGIN;
UPDATE mod_events SET payload = '{"changed": true}', geo_long = 1.5 WHERE id IN (1, 2, 3) RETURNING id, payload, geo_long, geo_lat;
UPDATE mod_events SET user_name = 'Somebody' WHERE event_type = 'upload' AND id < 60;
SELECT id, user_name, payload FROM mod_events WHERE id < 60 ORDER BY id;
UPDATE files SET "binary" = '\xdeadbeef' WHERE id = 'file-001' RETURNING id, "binary";
ROLLBACK;
