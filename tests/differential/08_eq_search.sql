-- login: sys_account
-- group: equality on protected columns
SELECT id, email FROM accounts WHERE email = 'bob@people.example';
SELECT id FROM accounts WHERE 'bob@people.example' = email;
SELECT id FROM accounts WHERE email = 'nobody@people.example';
SELECT id FROM accounts WHERE email = 'BOB@people.example';
SELECT id FROM accounts WHERE email = '';
SELECT id FROM accounts WHERE email = 'bob@people.example' AND verified;
SELECT id FROM accounts WHERE email = 'bob@people.example' OR id = 'ana' ORDER BY id;
SELECT id FROM accounts WHERE (email = 'bob@people.example' OR email = 'ana@people.example') AND NOT disabled ORDER BY id;
SELECT count(*) FROM accounts WHERE email <> 'bob@people.example';
SELECT id FROM accounts WHERE email != 'bob@people.example' AND id IN ('bob', 'ana') ORDER BY id;
SELECT id, email FROM accounts WHERE email IN ('bob@people.example', 'ana@people.example', 'none@people.example') ORDER BY id;
SELECT id FROM accounts WHERE email NOT IN ('bob@people.example', 'ana@people.example') AND id NOT LIKE 'acc-%' ORDER BY id;
SELECT id FROM accounts WHERE email = ANY (ARRAY['dora@people.example', 'gus@people.example']) ORDER BY id;
SELECT id FROM accounts WHERE email = ANY ('{dora@people.example,gus@people.example}') ORDER BY id;
SELECT count(*) FROM accounts WHERE NOT (email = 'bob@people.example');
SELECT count(*) FROM accounts WHERE email IS NULL;
SELECT count(*) FROM accounts WHERE email IS NOT NULL;
SELECT count(*) FROM accounts WHERE email IS DISTINCT FROM 'bob@people.example';
SELECT id FROM accounts WHERE email IS NOT DISTINCT FROM 'bob@people.example';
SELECT id, email FROM accounts WHERE email = 'bob@people.example'::text;
SELECT count(DISTINCT email) FROM accounts;
SELECT count(*) FROM (SELECT DISTINCT email FROM accounts) d;
SELECT x.id FROM (SELECT id, email FROM accounts) x WHERE x.email = 'carl@people.example';
WITH a AS (SELECT id, email FROM accounts) SELECT id FROM a WHERE email = 'carl@people.example';
SELECT id FROM accounts WHERE email = 'bob@people.example' FOR UPDATE;
SELECT r.id, r.role FROM roles r JOIN accounts a ON a.id = r.account_id WHERE a.email = 'ana@people.example' ORDER BY r.id;
SELECT r.id FROM roles r WHERE EXISTS (SELECT 1 FROM accounts a WHERE a.id = r.account_id AND a.email = 'carl@people.example') ORDER BY r.id;
SELECT r.id FROM roles r WHERE r.account_id = (SELECT a.id FROM accounts a WHERE a.email = 'dora@people.example') ORDER BY r.id;
SELECT a.id, b.id FROM accounts a JOIN accounts b ON a.email = b.email WHERE a.id IN ('bob', 'ana') ORDER BY a.id;
SELECT a.id FROM accounts a WHERE a.email IN (SELECT b.email FROM accounts b WHERE b.id IN ('bob', 'eve')) ORDER BY a.id;
SELECT a.id FROM accounts a, accounts b WHERE a.email <> b.email AND b.id = 'bob' AND a.id IN ('ana', 'bob') ORDER BY a.id;
SELECT id, contact FROM orgs WHERE contact IS NOT NULL ORDER BY id;
SELECT count(*) FROM orgs WHERE contact = '+49 30 555 0000';
SELECT email, count(*) FROM accounts WHERE id IN ('bob', 'ana') GROUP BY email;
SELECT email FROM accounts WHERE id IN ('bob', 'ana') GROUP BY email, id ORDER BY id;
SELECT DISTINCT email FROM accounts WHERE id IN ('bob', 'ana', 'carl');
SELECT id, CASE WHEN email = 'bob@people.example' THEN 'it is bob' ELSE 'not' END FROM accounts WHERE id IN ('bob', 'ana') ORDER BY id;
SELECT id, email = 'bob@people.example' AS is_bob FROM accounts WHERE id IN ('bob', 'ana') ORDER BY id;
SELECT count(*) FILTER (WHERE email = 'bob@people.example') FROM accounts;
SELECT id FROM accounts WHERE email = 'bob@people.example' LIMIT 1;
SELECT id FROM accounts WHERE email IN ('bob@people.example', 'ana@people.example') ORDER BY id LIMIT 1 OFFSET 1;

-- login: sys_account.service
-- group: a protected primary key
SELECT count(*), sum(total_attempts) FROM login_attempts;
SELECT account_email, count(*) AS n, sum(total_attempts) FROM login_attempts GROUP BY account_email;
SELECT count(*) FROM (SELECT account_email FROM login_attempts GROUP BY account_email HAVING count(*) > 1) g;
SELECT DISTINCT account_email FROM login_attempts WHERE total_attempts > 9;
SELECT origin_ip, account_email, total_attempts FROM login_attempts WHERE ban_period IS NOT NULL;
SELECT a.total_attempts, b.total_attempts FROM login_attempts a JOIN login_attempts b ON a.account_email = b.account_email AND a.total_attempts < b.total_attempts;
SELECT a.origin_ip FROM login_attempts a WHERE a.account_email IN (SELECT b.account_email FROM login_attempts b WHERE b.total_attempts = 11);
SELECT a.origin_ip, b.origin_ip FROM login_attempts a JOIN login_attempts b ON a.account_email = b.account_email WHERE a.total_attempts = 1 AND b.total_attempts = 2;
-- later: 0A000 a constant of another type than the protected column
SELECT count(*) FROM login_attempts WHERE account_email = CAST(NULL AS name);
-- later: 0A000 USING over a protected column
SELECT a.origin_ip, b.origin_ip FROM login_attempts a JOIN login_attempts b USING (account_email) WHERE a.total_attempts = 1 AND b.total_attempts = 2;
BEGIN;
INSERT INTO login_attempts (origin_ip, account_email, total_attempts) VALUES ('192.0.2.1', 'bob@people.example', 1), ('192.0.2.2', 'bob@people.example', 2), ('192.0.2.3', NULL, 3);
SELECT origin_ip, account_email, total_attempts FROM login_attempts WHERE origin_ip = '192.0.2.1';
SELECT origin_ip, total_attempts FROM login_attempts WHERE account_email = 'bob@people.example' AND total_attempts <= 2 AND origin_ip IN ('192.0.2.1', '192.0.2.2');
SELECT origin_ip FROM login_attempts WHERE account_email IS NULL;
UPDATE login_attempts SET total_attempts = total_attempts + 1 WHERE origin_ip = '192.0.2.1';
UPDATE login_attempts SET account_email = 'ana@people.example' WHERE origin_ip = '192.0.2.2' RETURNING origin_ip, account_email, total_attempts;
UPDATE login_attempts SET account_email = NULL WHERE origin_ip = '192.0.2.2' RETURNING account_email;
DELETE FROM login_attempts WHERE origin_ip = ANY (ARRAY['192.0.2.1', '192.0.2.3']) RETURNING origin_ip, total_attempts;
INSERT INTO login_attempts (origin_ip, account_email, total_attempts) VALUES ('192.0.2.9', '', 1) RETURNING origin_ip, account_email;
SELECT origin_ip FROM login_attempts WHERE account_email = '';
-- fails: 23505
INSERT INTO login_attempts (origin_ip, total_attempts) VALUES ('192.0.2.9', 1);
ROLLBACK;

-- login: disco
-- group: equality in disco
SELECT project_id FROM projects WHERE contact = 'contact.pa1@people.example';
SELECT project_id, contact, budget FROM projects WHERE contact IN ('contact.pa1@people.example', 'contact.pb1@people.example') ORDER BY project_id;
SELECT survey_user_id FROM survey_users WHERE survey_user_name = 'Bob Okafor';
SELECT survey_user_id, survey_user_name FROM survey_users WHERE survey_user_name IN ('Bob Okafor', 'Dora Weiss') ORDER BY survey_user_id;
SELECT v.id FROM support_role_values v JOIN survey_users u ON u.survey_user_id = v.survey_user_ref_id WHERE u.survey_user_name = 'Bob Okafor' ORDER BY v.id;
SELECT count(*) FROM survey_users WHERE survey_user_name <> 'Bob Okafor';
SELECT count(*) FROM survey_users WHERE survey_user_name IS NULL;
SELECT count(*) FROM support_role_values WHERE comment IS NULL;
SELECT count(*) FROM survey_users WHERE birth_date IS NOT NULL;
