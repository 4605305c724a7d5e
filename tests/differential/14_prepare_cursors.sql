-- login: sys_account
-- group: prepare and execute
PREPARE by_id AS SELECT id, email, verified FROM accounts WHERE id = $1;
EXECUTE by_id('bob');
EXECUTE by_id('nobody at all');
EXECUTE by_id(NULL);
PREPARE by_email (text) AS SELECT id, email FROM accounts WHERE email = $1;
EXECUTE by_email('ana@people.example');
EXECUTE by_email('not there');
PREPARE members (text, int) AS SELECT account_id FROM roles WHERE project_id = $1 AND role >= $2 ORDER BY account_id LIMIT 20;
EXECUTE members('PA1', 3);
EXECUTE members('PB1', 2);
-- simple only: PostgreSQL computes the values, and is sent another statement
EXECUTE members('PA' || 1, 2 + 1);
-- simple only: the same
EXECUTE members(upper('pb1'), '2'::int);
BEGIN;
PREPARE add_org AS INSERT INTO orgs (id, name, contact) VALUES ($1, $2, $3) RETURNING id, contact;
EXECUTE add_org('Y', 'Yew Yard', 'y@people.example');
SELECT id FROM orgs WHERE contact = 'y@people.example';
PREPARE move_org AS UPDATE orgs SET contact = $2 WHERE id = $1;
EXECUTE move_org('Y', 'yy@people.example');
SELECT contact FROM orgs WHERE id = 'Y';
ROLLBACK;
DEALLOCATE by_id;
-- fails: 26000
EXECUTE by_id('bob');
-- fails: 42P05
PREPARE by_email (text) AS SELECT 1;
-- fails: 26000
DEALLOCATE by_id;
DEALLOCATE ALL;
-- fails: 26000
EXECUTE by_email('ana@people.example');

-- group: cursors
BEGIN;
DECLARE c CURSOR FOR SELECT id, email FROM accounts WHERE id NOT LIKE 'acc-%' ORDER BY id;
SELECT name, statement, is_holdable FROM pg_cursors WHERE name = 'c';
FETCH 2 FROM c;
FETCH NEXT FROM c;
FETCH FORWARD 2 FROM c;
MOVE 1 FROM c;
FETCH ALL FROM c;
FETCH 1 FROM c;
CLOSE c;
DECLARE s SCROLL CURSOR FOR SELECT id, role FROM roles ORDER BY id;
FETCH ABSOLUTE 3 FROM s;
FETCH PRIOR FROM s;
FETCH LAST FROM s;
FETCH FIRST FROM s;
FETCH RELATIVE 4 FROM s;
FETCH BACKWARD 2 FROM s;
CLOSE ALL;
-- fails: 34000
FETCH 1 FROM c;
ROLLBACK;
DECLARE h CURSOR WITH HOLD FOR SELECT id, name FROM projects ORDER BY id;
FETCH 2 IN h;
CLOSE h;
BEGIN;
DECLARE e NO SCROLL CURSOR FOR SELECT email FROM accounts WHERE email IN ('bob@people.example', 'ana@people.example') ORDER BY id;
FETCH ALL e;
COMMIT;
-- fails: 34000
CLOSE e;
-- fails: 25P01
DECLARE outside CURSOR FOR SELECT 1;
