BEGIN
begin transaction
BEGIN WORK
BEGIN ISOLATION LEVEL SERIALIZABLE
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY
BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE, NOT DEFERRABLE
BEGIN READ WRITE
START TRANSACTION
START TRANSACTION ISOLATION LEVEL REPEATABLE READ
COMMIT
COMMIT AND CHAIN
END
END TRANSACTION
ROLLBACK
ROLLBACK AND NO CHAIN
ABORT
SAVEPOINT a
SAVEPOINT "s140_x1"
SAVEPOINT sa_savepoint_1
RELEASE a
RELEASE SAVEPOINT "s140_x1"
ROLLBACK TO a
ROLLBACK TO SAVEPOINT sa_savepoint_1
ROLLBACK WORK TO SAVEPOINT a
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
SET TRANSACTION READ ONLY
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE
SHOW TRANSACTION ISOLATION LEVEL
SHOW transaction_isolation
SHOW standard_conforming_strings
SHOW server_version
SHOW server_version_num
SHOW search_path
SHOW TIME ZONE
SHOW timezone
SHOW client_encoding
SHOW DateStyle
SHOW SESSION AUTHORIZATION
SHOW application_name
SET extra_float_digits = 3
SET application_name = 'x'
SET application_name TO 'PostgreSQL JDBC Driver'
SET LOCAL statement_timeout = 1000
SET statement_timeout TO '5s'
SET statement_timeout TO DEFAULT
SET SESSION lock_timeout = 0
SET TIME ZONE 'UTC'
SET TIME ZONE 'Europe/Berlin'
SET TIME ZONE LOCAL
SET TIME ZONE -7
SET timezone TO 'UTC'
SET TimeZone = 'UTC'
SET DateStyle = 'ISO'
SET datestyle TO ISO, MDY
SET datestyle = 'ISO, DMY'
SET client_encoding TO 'UTF8'
SET client_encoding = 'utf-8'
SET NAMES 'utf8'
SET standard_conforming_strings = on
SET standard_conforming_strings = true
SET client_min_messages TO warning
SET bytea_output = 'hex'
SET intervalstyle = 'postgres'
SET search_path = sys_account
SET search_path TO "sys_account", pg_catalog
SET default_transaction_isolation = 'serializable'
SET default_transaction_read_only = off
SET jit = off
SET enable_seqscan = off
SET idle_in_transaction_session_timeout = 0
RESET statement_timeout
RESET timezone
RESET ALL
DISCARD ALL
DISCARD PLANS
DISCARD SEQUENCES
DISCARD TEMP
SELECT current_setting('server_version_num')::int
SELECT current_setting('server_version'), current_setting('timezone', true), pg_catalog.current_setting('transaction_isolation')
select pg_catalog.version()
select current_schema()
SELECT CAST('test plain returns' AS VARCHAR(60)) AS anon_1
SELECT 'x' AS some_label
SELECT 1 AS anon_1; SELECT 2
SELECT 1;;
