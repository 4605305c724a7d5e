-- login: disco
-- group: window functions
SELECT id, pledged, row_number() OVER (ORDER BY pledged DESC, id) FROM support_role_values ORDER BY 3 LIMIT 20;
SELECT id, rank() OVER w, dense_rank() OVER w FROM support_role_values WHERE survey_user_ref_id < 'su-acc-0040' WINDOW w AS (ORDER BY pledged) ORDER BY id;
SELECT id, sum(pledged) OVER (PARTITION BY survey_user_ref_id ORDER BY id) FROM support_role_values WHERE survey_user_ref_id IN ('su-bob', 'su-ana', 'su-dora') ORDER BY id;
SELECT id, lag(pledged) OVER (ORDER BY id), lead(pledged, 2, -1) OVER (ORDER BY id) FROM support_role_values WHERE id < 'srv-0020' ORDER BY id;
SELECT id, first_value(id) OVER (PARTITION BY support_role_type_ref_id ORDER BY id) FROM support_role_values WHERE id < 'srv-0050' ORDER BY id;
SELECT id, avg(pledged) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM support_role_values WHERE id < 'srv-0020' ORDER BY id;
-- fails: 42703
SELECT nothing_here, count(*) OVER () FROM survey_projects;
SELECT survey_project_id, count(*) OVER () FROM survey_projects ORDER BY survey_project_id;
SELECT id, ntile(4) OVER (ORDER BY id) FROM user_need_types ORDER BY id;
SELECT id, percent_rank() OVER (ORDER BY pledged), cume_dist() OVER (ORDER BY pledged) FROM support_role_values WHERE id < 'srv-0010' ORDER BY id;
SELECT id, sum(pledged) OVER (ORDER BY pledged RANGE BETWEEN 5 PRECEDING AND 5 FOLLOWING) FROM support_role_values WHERE id < 'srv-0030' ORDER BY id;
SELECT t.id, t.r FROM (SELECT id, row_number() OVER (PARTITION BY survey_project_ref_id ORDER BY name) AS r FROM support_role_types) t WHERE t.r <= 2 ORDER BY t.id;
SELECT survey_project_ref_id, rank() OVER (ORDER BY count(*) DESC, survey_project_ref_id) FROM survey_users GROUP BY survey_project_ref_id ORDER BY 2;
SELECT id, nth_value(pledged, 2) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM support_role_values WHERE id < 'srv-0005' ORDER BY id;
SELECT id, sum(pledged) OVER (ORDER BY id GROUPS 1 PRECEDING EXCLUDE CURRENT ROW) FROM support_role_values WHERE id < 'srv-0009' ORDER BY id;
