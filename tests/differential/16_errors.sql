-- login: sys_account
-- group: errors keep their SQLSTATE and the session goes on
-- fails: 42P01
SELECT * FROM nowhere;
-- fails: 42P01
SELECT * FROM nowhere.at_all;
-- fails: 42703
SELECT nothing FROM roles;
-- fails: 42703
SELECT r.nothing FROM roles r;
-- fails: 42P01
SELECT x.id FROM roles r;
-- fails: 42601
SELEC 1;
-- fails: 42601
SELECT * FROM roles WHERE;
-- fails: 42601
SELECT (1;
-- fails: 42883
SELECT no_such_function(1);
-- fails: 42883
SELECT role + 'a'::text FROM roles;
-- fails: 42803
SELECT id, count(*) FROM roles;
-- fails: 42702
SELECT id FROM roles a, roles b;
-- fails: 42712
SELECT 1 FROM roles a, roles a;
-- fails: 42704
SELECT 1::no_such_type;
-- fails: 22P02
SELECT 'x'::int;
-- fails: 22012
SELECT role / (role - role) FROM roles;
-- fails: 22003
SELECT 2147483647 + 1;
-- fails: 22008
SELECT '2026-13-01'::date;
-- fails: 21000
SELECT (SELECT id FROM roles);
-- fails: 42601
SELECT 1 UNION SELECT 1, 2;
-- fails: 42804
SELECT 1 UNION SELECT 'a'::text;
-- fails: 42P10
SELECT id FROM roles ORDER BY 7;
-- fails: 2201W
SELECT id FROM roles LIMIT -1;
-- fails: 42804
SELECT id FROM roles WHERE role;
SELECT 'still here';

-- group: settings
SET application_name = 'differential';
SHOW application_name;
SET TimeZone TO 'UTC';
SHOW TimeZone;
SELECT timestamptz '2026-01-01 12:00:00+02';
SET DateStyle TO 'SQL, DMY';
SELECT date '2026-02-01', timestamptz '2026-01-02 12:00:00+02';
SET IntervalStyle TO 'iso_8601';
SELECT interval '1 day 02:03:04';
-- fails: 22023
SET TimeZone TO 'Nowhere/AtAll';
SHOW standard_conforming_strings;
SHOW client_encoding;
EXPLAIN (COSTS OFF) SELECT 1;
