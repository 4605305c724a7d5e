-- login: disco
-- group: deletes
BEGIN;
DELETE FROM user_need_values WHERE survey_user_ref_id = 'su-bob';
DELETE FROM support_role_values WHERE survey_user_ref_id = 'su-bob' RETURNING id, comment, pledged;
DELETE FROM survey_users WHERE survey_user_name = 'Bob Okafor' AND survey_user_id NOT IN (SELECT survey_user_ref_id FROM support_role_values) RETURNING survey_user_id, survey_user_name, birth_date;
SELECT count(*) FROM survey_users WHERE survey_user_id = 'su-bob';
DELETE FROM support_role_values v USING survey_users u WHERE u.survey_user_id = v.survey_user_ref_id AND u.sys_account_account_ref_id = 'dora' RETURNING v.id, u.survey_user_name;
DELETE FROM user_need_values AS n WHERE n.user_needs_type_ref_id LIKE 'unt-PB1-%';
DELETE FROM user_need_values WHERE false;
SELECT count(*) FROM user_need_values;
SAVEPOINT s;
-- fails: 23503
DELETE FROM survey_projects WHERE survey_project_id = 'sp-PA1';
ROLLBACK TO s;
DELETE FROM projects WHERE contact = 'contact.pb1@people.example' RETURNING project_id, contact, budget;
DELETE FROM projects;
SELECT count(*) FROM projects;
ROLLBACK;
SELECT count(*) FROM projects;
