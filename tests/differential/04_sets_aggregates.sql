-- login: sys_account
-- group: set operations
SELECT id FROM orgs UNION SELECT org_id FROM projects ORDER BY 1;
SELECT id FROM orgs UNION ALL SELECT org_id FROM projects ORDER BY 1;
SELECT account_id FROM roles WHERE role = 4 INTERSECT SELECT account_id FROM projects ORDER BY 1;
SELECT account_id FROM projects EXCEPT SELECT account_id FROM roles WHERE role = 4 ORDER BY 1;
SELECT project_id FROM roles EXCEPT ALL SELECT id FROM projects ORDER BY 1 LIMIT 12;
(SELECT id FROM projects ORDER BY id LIMIT 1) UNION ALL (SELECT id FROM projects ORDER BY id DESC LIMIT 1) ORDER BY id;
SELECT 1 AS n UNION SELECT 2 UNION SELECT 2 ORDER BY n DESC;
SELECT * FROM (SELECT id, 'org' AS kind FROM orgs UNION ALL SELECT id, 'project' FROM projects) u ORDER BY kind, id;
SELECT id FROM projects WHERE id IN (SELECT project_id FROM roles UNION SELECT 'PA2') ORDER BY id;
SELECT NULL::text AS t UNION SELECT name FROM orgs ORDER BY t NULLS FIRST;
SELECT 1 UNION SELECT 1.5 ORDER BY 1;

-- group: aggregates
SELECT role, count(*) FROM roles GROUP BY role ORDER BY role;
SELECT org_id, min(role), max(role), sum(role), avg(role) FROM roles GROUP BY org_id ORDER BY org_id;
SELECT org_id, count(*) FILTER (WHERE role > 2) AS admins FROM roles GROUP BY org_id ORDER BY org_id;
SELECT count(DISTINCT account_id), count(account_id), count(*) FROM roles;
SELECT project_id, count(*) AS n FROM roles GROUP BY 1 HAVING count(*) > 20 ORDER BY n, 1;
SELECT org_id, project_id, count(*) FROM roles GROUP BY ROLLUP (org_id, project_id) ORDER BY org_id NULLS LAST, project_id NULLS LAST;
SELECT org_id, role, count(*), grouping(org_id, role) FROM roles GROUP BY CUBE (org_id, role) ORDER BY 4, 1, 2;
SELECT org_id, project_id, count(*) FROM roles GROUP BY GROUPING SETS ((org_id), (project_id), ()) ORDER BY 1, 2, 3;
SELECT string_agg(id, ',' ORDER BY id) FROM projects;
SELECT array_agg(id ORDER BY id DESC) FROM orgs;
SELECT bool_and(verified), bool_or(disabled), every(id <> '') FROM accounts;
SELECT count(*) FROM accounts WHERE verified GROUP BY disabled ORDER BY 1;
SELECT date_trunc('month', created_at AT TIME ZONE 'UTC') AS m, count(*) FROM accounts GROUP BY m ORDER BY m;
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY role) FROM roles;
SELECT mode() WITHIN GROUP (ORDER BY role) FROM roles WHERE role < 3;
SELECT min(id), max(id) FROM roles;
SELECT sum(role)::float8 / count(*) FROM roles WHERE org_id = 'A';
SELECT p.id, p.name, count(r.id) FROM projects p LEFT JOIN roles r ON r.project_id = p.id GROUP BY p.id ORDER BY p.id;
SELECT count(*), max(created_at) FROM roles WHERE false;
SELECT json_agg(id ORDER BY id) FROM projects;
SELECT jsonb_object_agg(id, name) FROM orgs;
SELECT variance(role), stddev_pop(role) FROM roles WHERE org_id = 'B';

-- login: disco
-- group: aggregates of disco
SELECT survey_project_ref_id, count(*) FROM survey_users GROUP BY survey_project_ref_id ORDER BY 1;
SELECT t.name, t.unit_of_measures, sum(v.pledged) AS total, avg(v.pledged)::numeric(10,3) FROM support_role_values v JOIN support_role_types t ON t.id = v.support_role_type_ref_id GROUP BY t.name, t.unit_of_measures ORDER BY total DESC, t.name;
SELECT max(pledged) - min(pledged) AS spread FROM support_role_values;
SELECT width_bucket(pledged, 0, 60, 6) AS bucket, count(*) FROM support_role_values GROUP BY bucket ORDER BY bucket;
SELECT count(comment), count(*) FROM support_role_types;
SELECT sum(already_pledged), min(min_pioneers) FROM projects;
SELECT extract(month FROM created_at AT TIME ZONE 'UTC')::int AS m, count(*) FROM support_role_values GROUP BY 1 ORDER BY 1;
