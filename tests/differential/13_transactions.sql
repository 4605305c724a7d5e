-- login: chat
-- as: bob
-- group: transactions
BEGIN;
INSERT INTO messages (id, content, sent_at, group_id, sender_id) VALUES ('msg-n1', 'first', '2026-03-01 00:00:00+00', 'g-pa1-00', 'bob');
SAVEPOINT a;
INSERT INTO messages (id, content, sent_at, group_id, sender_id) VALUES ('msg-n2', 'second', '2026-03-01 00:00:00+00', 'g-pa1-00', 'bob');
SAVEPOINT b;
UPDATE messages SET content = 'second, changed' WHERE id = 'msg-n2';
SELECT id, content FROM messages WHERE id LIKE 'msg-n%' ORDER BY id;
ROLLBACK TO SAVEPOINT b;
SELECT id, content FROM messages WHERE id LIKE 'msg-n%' ORDER BY id;
RELEASE SAVEPOINT a;
-- fails: 3B001
ROLLBACK TO SAVEPOINT b;
-- fails: 25P02
SELECT 1;
ROLLBACK;
SELECT count(*) FROM messages WHERE id LIKE 'msg-n%';
START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SHOW transaction_isolation;
-- fails: 25006
DELETE FROM messages;
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM messages WHERE group_id = 'g-pa1-00';
COMMIT;
BEGIN;
SET LOCAL statement_timeout = '5s';
SHOW statement_timeout;
COMMIT;
SHOW statement_timeout;
BEGIN;
INSERT INTO messages (id, content, sent_at, group_id, sender_id) VALUES ('msg-c1', 'kept for a while', '2026-03-01 00:00:00+00', 'g-pa1-00', 'bob');
COMMIT;
SELECT id, content FROM messages WHERE id = 'msg-c1';
DELETE FROM messages WHERE id = 'msg-c1' RETURNING content;
END;
ROLLBACK;
BEGIN;
BEGIN;
-- fails: 22012
SELECT 1 / 0;
-- fails: 25P02
SELECT 1;
COMMIT;
SELECT 1;
ABORT;
-- simple only: a batch
BEGIN; INSERT INTO messages (id, content, group_id, sender_id) VALUES ('msg-n3', 'in a batch', 'g-pa1-00', 'bob'); ROLLBACK;
SELECT count(*) FROM messages WHERE id = 'msg-n3';
-- simple only: a batch
INSERT INTO messages (id, content, group_id, sender_id) VALUES ('msg-n4', 'one transaction', 'g-pa1-00', 'bob'); SELECT content FROM messages WHERE id = 'msg-n4'; DELETE FROM messages WHERE id = 'msg-n4';
-- simple only: a batch
-- fails: 22012
INSERT INTO messages (id, content, group_id, sender_id) VALUES ('msg-n5', 'undone', 'g-pa1-00', 'bob'); SELECT 1 / 0;
SELECT count(*) FROM messages WHERE id IN ('msg-n4', 'msg-n5');
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
BEGIN;
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
COMMIT AND CHAIN;
ROLLBACK;
