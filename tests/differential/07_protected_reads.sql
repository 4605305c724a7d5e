-- login: sys_account
-- group: protected columns are read like plain ones
SELECT id, email FROM accounts WHERE id IN ('root', 'ana', 'carl', 'bob', 'dora', 'gus', 'eve') ORDER BY id;
SELECT email FROM accounts WHERE id = 'bob';
SELECT a.email AS address, a.id FROM accounts a ORDER BY a.id LIMIT 50;
SELECT id, email FROM accounts ORDER BY id OFFSET 100 LIMIT 100;
SELECT r.id, a.email FROM roles r JOIN accounts a ON a.id = r.account_id WHERE r.role > 2 ORDER BY r.id;
SELECT r.id, a.email FROM roles r LEFT JOIN accounts a ON a.id = r.account_id AND a.verified WHERE r.id < 'role-0020' ORDER BY r.id;
SELECT x.email FROM (SELECT id, email FROM accounts WHERE verified) x WHERE x.id = 'ana';
SELECT y.e FROM (SELECT x.email AS e, x.id AS i FROM (SELECT * FROM (SELECT id, email FROM accounts) z) x) y WHERE y.i = 'carl';
WITH a AS (SELECT id, email FROM accounts WHERE id LIKE 'acc-001%') SELECT email, id FROM a ORDER BY id;
WITH a(i, e) AS MATERIALIZED (SELECT id, email FROM accounts WHERE id IN ('bob', 'ana')) SELECT e FROM a ORDER BY i;
SELECT a.email, l.role FROM accounts a, LATERAL (SELECT max(role) AS role FROM roles r WHERE r.account_id = a.id) l WHERE a.id IN ('bob', 'ana') ORDER BY a.id;
SELECT id, contact FROM orgs ORDER BY id;
SELECT * FROM orgs ORDER BY id;
SELECT o.*, p.id AS project FROM orgs o JOIN projects p ON p.org_id = o.id ORDER BY p.id;
SELECT id, email FROM accounts WHERE id = 'bob' UNION ALL SELECT id, email FROM accounts WHERE id = 'ana' ORDER BY id;
SELECT email, email AS again FROM accounts WHERE id = 'dora';
SELECT a.email, b.email FROM accounts a JOIN accounts b ON b.id = 'ana' WHERE a.id = 'bob';
SELECT id, email IS NULL, email IS NOT NULL FROM accounts WHERE id = 'bob';
SELECT count(email) FROM accounts;
SELECT id, email, row_number() OVER (ORDER BY id) FROM accounts ORDER BY id LIMIT 5;
SELECT id, email FROM accounts WHERE id = 'nobody at all';
SELECT email, id FROM accounts WHERE id = 'bob' FOR UPDATE;

-- login: disco
-- group: protected columns of disco
SELECT * FROM projects ORDER BY project_id;
SELECT project_id, action_time, action_location, contact, strategy, budget FROM projects ORDER BY project_id;
SELECT survey_user_id, survey_user_name, birth_date FROM survey_users ORDER BY survey_user_id LIMIT 100;
SELECT * FROM survey_users WHERE sys_account_account_ref_id IN ('bob', 'dora') ORDER BY survey_user_id;
SELECT v.id, v.comment, u.survey_user_name, u.birth_date FROM support_role_values v JOIN survey_users u ON u.survey_user_id = v.survey_user_ref_id WHERE v.id < 'srv-0040' ORDER BY v.id;
SELECT * FROM user_need_values WHERE survey_user_ref_id = 'su-bob' ORDER BY id;
SELECT u.survey_user_name, n.comment, s.comment FROM survey_users u JOIN user_need_values n ON n.survey_user_ref_id = u.survey_user_id JOIN support_role_values s ON s.survey_user_ref_id = u.survey_user_id WHERE u.sys_account_account_ref_id IN ('bob', 'carl') ORDER BY n.id, s.id;
SELECT count(birth_date), count(*) FROM survey_users;
SELECT survey_user_id, birth_date IS NULL FROM survey_users WHERE survey_user_id = 'su-bob';
SET DateStyle = 'German, DMY';
SELECT project_id, created_at FROM projects ORDER BY project_id;
-- later: 0A000 protected columns in other date styles
-- simple only: in binary there is no style
SELECT survey_user_id, birth_date FROM survey_users WHERE survey_user_id IN ('su-bob', 'su-ana') ORDER BY 1;
SET TimeZone = 'Asia/Kathmandu';
SELECT project_id, created_at FROM projects ORDER BY project_id;
SET DateStyle = 'ISO, MDY';
SELECT project_id, action_time, created_at FROM projects ORDER BY project_id;
SET TimeZone = 'America/New_York';
SELECT project_id, action_time FROM projects ORDER BY project_id;
RESET TimeZone;
RESET DateStyle;
SELECT project_id, action_time FROM projects ORDER BY project_id;

-- login: chat
-- group: protected columns of chat
SELECT id, content FROM messages ORDER BY id LIMIT 60;
SELECT m.* FROM messages m WHERE m.group_id = 'g-pa1-00' ORDER BY m.id;
SELECT group_id, count(*) FROM messages GROUP BY group_id ORDER BY group_id;
SELECT sender_id, count(*) AS n FROM messages GROUP BY sender_id ORDER BY n DESC, sender_id LIMIT 10;
SELECT DISTINCT ON (group_id) group_id, id, content FROM messages ORDER BY group_id, sent_at DESC, id;
SELECT id, content FROM messages WHERE sent_at > '2026-02-10 00:00:00+00' ORDER BY sent_at, id LIMIT 20;

-- as: bob
-- group: the groups of one person
SELECT account_id FROM group_members WHERE group_id = 'g-pa1-00' ORDER BY account_id;
SELECT m.content, r.account_id FROM messages m JOIN read_receipts r ON r.message_id = m.id WHERE m.group_id = 'g-pa1-00' ORDER BY m.id;
SELECT gm.group_id, m.content FROM group_members gm JOIN messages m ON m.group_id = gm.group_id AND m.sender_id = gm.account_id WHERE gm.group_id = 'g-pa1-00' ORDER BY m.id;

-- login: sys_core.service
-- group: protected columns of sys_core
SELECT id, "binary" FROM files WHERE owner_module = 'sys_core' OR id < 'file-010' ORDER BY id;
SELECT id, payload FROM mod_events ORDER BY id LIMIT 50;
SELECT id, user_name, geo_long, geo_lat FROM mod_events WHERE id BETWEEN 100 AND 150 ORDER BY id;
SELECT * FROM mod_events WHERE event_type = 'upload' AND id < 200 ORDER BY id;
SELECT event_type, count(*) FROM mod_events GROUP BY event_type ORDER BY event_type;
SELECT e.payload, e.user_name FROM mod_events e JOIN files f ON f.owner_account_id = e.user_id WHERE e.id < 500 ORDER BY e.id, f.id;
SET bytea_output = 'escape';
SELECT id, "binary" FROM files ORDER BY id LIMIT 5;
RESET bytea_output;
SET extra_float_digits = 0;
SELECT id, geo_long, geo_lat FROM mod_events ORDER BY id LIMIT 5;
SET extra_float_digits = -3;
SELECT id, geo_long, geo_lat FROM mod_events ORDER BY id LIMIT 5;
RESET extra_float_digits;
