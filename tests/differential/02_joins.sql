-- login: sys_account
-- group: joins
SELECT r.id, a.id FROM roles r JOIN accounts a ON a.id = r.account_id WHERE r.role >= 3 ORDER BY r.id;
SELECT a.id, r.role FROM accounts a LEFT JOIN roles r ON r.account_id = a.id AND r.role > 2 WHERE a.id IN ('bob', 'ana', 'gus') ORDER BY a.id, r.id;
SELECT r.id, p.name FROM projects p RIGHT JOIN roles r ON r.project_id = p.id WHERE r.account_id IN ('root', 'bob') ORDER BY r.id;
SELECT p.id, o.name FROM projects p FULL JOIN orgs o ON o.account_id = p.account_id AND p.id = 'PA1' ORDER BY p.id, o.name;
SELECT o.id, p.id FROM orgs o CROSS JOIN projects p ORDER BY o.id, p.id;
SELECT count(*) FROM roles r, projects p WHERE r.project_id = p.id;
SELECT id, name FROM projects NATURAL JOIN (SELECT id FROM projects WHERE org_id = 'A') x ORDER BY id;
SELECT id, a.role, b.role FROM roles a JOIN roles b USING (id) WHERE id < 'role-0005' ORDER BY id;
SELECT j.one, j.two FROM (roles r JOIN projects p ON p.id = r.project_id) AS j(one, two) WHERE j.one < 'role-0009' ORDER BY j.one;
SELECT a.id, b.id FROM roles a JOIN roles b ON a.account_id = b.account_id AND a.id < b.id ORDER BY a.id, b.id;
SELECT o.name, count(r.id) FROM orgs o LEFT JOIN roles r ON r.org_id = o.id GROUP BY o.name ORDER BY o.name;
SELECT p.id, o.id FROM projects p JOIN orgs o ON p.org_id = o.id AND o.name LIKE 'A%' ORDER BY p.id;
SELECT x.id FROM roles x WHERE EXISTS (SELECT 1 FROM projects p WHERE p.id = x.project_id AND p.name LIKE 'Night%') ORDER BY x.id LIMIT 15;
SELECT x.id FROM projects x WHERE NOT EXISTS (SELECT FROM roles r WHERE r.project_id = x.id AND r.role = 4) ORDER BY x.id;
SELECT r.id FROM roles r WHERE r.account_id IN (SELECT a.id FROM accounts a WHERE NOT a.verified) ORDER BY r.id LIMIT 15;
SELECT r.id FROM roles r WHERE r.project_id NOT IN (SELECT id FROM projects WHERE org_id = 'A') ORDER BY r.id LIMIT 15;
SELECT p.id, (SELECT count(*) FROM roles r WHERE r.project_id = p.id) AS members FROM projects p ORDER BY p.id;
SELECT p.id, (SELECT max(r.role) FROM roles r WHERE r.org_id = p.org_id) FROM projects p ORDER BY p.id;
SELECT p.id, ARRAY(SELECT r.id FROM roles r WHERE r.project_id = p.id AND r.role > 2 ORDER BY r.id) FROM projects p ORDER BY p.id;
SELECT t.n FROM (SELECT count(*) AS n FROM (SELECT DISTINCT account_id FROM roles) d) t;
SELECT a.id, s.cnt FROM accounts a JOIN (SELECT account_id, count(*) AS cnt FROM roles GROUP BY account_id) s ON s.account_id = a.id WHERE s.cnt > 1 ORDER BY a.id LIMIT 20;
SELECT r.id FROM roles r WHERE r.role > ALL (SELECT role FROM roles WHERE account_id IN ('bob', 'dora')) ORDER BY r.id LIMIT 20;
SELECT r.role = SOME (SELECT role FROM roles WHERE account_id = 'ana') FROM roles r WHERE r.account_id = 'ana';

-- login: disco
-- group: joins of disco
SELECT v.id, t.name, v.pledged FROM support_role_values v JOIN support_role_types t ON t.id = v.support_role_type_ref_id WHERE v.survey_user_ref_id IN ('su-bob', 'su-dora') ORDER BY v.id;
SELECT sp.survey_project_name, t.name, sum(v.pledged) FROM survey_projects sp JOIN support_role_types t ON t.survey_project_ref_id = sp.survey_project_id JOIN support_role_values v ON v.support_role_type_ref_id = t.id GROUP BY sp.survey_project_name, t.name ORDER BY 1, 2;
SELECT p.project_id, sp.survey_project_id FROM projects p JOIN survey_projects sp USING (sys_account_project_ref_id) ORDER BY 1;
SELECT n.id, nt.name, nt.question_group FROM user_need_values n JOIN user_need_types nt ON nt.id = n.user_needs_type_ref_id WHERE n.survey_user_ref_id = 'su-bob' ORDER BY n.id;
SELECT count(*) FROM survey_users u LEFT JOIN support_role_values v ON v.survey_user_ref_id = u.survey_user_id WHERE v.id IS NULL;
SELECT u.survey_user_id, l.total FROM survey_users u, LATERAL (SELECT coalesce(sum(v.pledged), 0) AS total FROM support_role_values v WHERE v.survey_user_ref_id = u.survey_user_id) l WHERE u.sys_account_account_ref_id IN ('ana', 'bob', 'carl', 'dora') ORDER BY 1;
SELECT u.survey_user_id, l.id FROM survey_users u LEFT JOIN LATERAL (SELECT v.id FROM support_role_values v WHERE v.survey_user_ref_id = u.survey_user_id ORDER BY v.pledged DESC, v.id LIMIT 1) l ON true WHERE u.survey_user_id < 'su-acc-0030' ORDER BY 1;
SELECT t.id, x.n FROM support_role_types t CROSS JOIN LATERAL generate_series(1, length(t.name) - 4) AS x(n) WHERE t.survey_project_ref_id = 'sp-PA1' ORDER BY t.id, x.n;
