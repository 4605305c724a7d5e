SELECT relname FROM pg_class WHERE relkind = 'r'
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', '') AND n.nspname <> 'pg_catalog' ORDER BY 1, 2
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'roles'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
SELECT oid, typname FROM pg_type WHERE typname = 'text'
SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'
SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relname = $1
SELECT table_name FROM information_schema.tables WHERE table_schema = 'sys_account'
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'roles' ORDER BY ordinal_position
SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()
SELECT to_regclass('roles'), to_regclass('nothing'), 'roles'::regclass::oid
SELECT classid, objid FROM pg_depend WHERE deptype <> 'p' UNION ALL SELECT 'pg_opfamily'::regclass AS classid, amopfamily FROM pg_amop
SELECT i.indexrelid, k.attnum, k.option FROM pg_index i, LATERAL unnest(i.indkey, i.indoption) WITH ORDINALITY AS k (attnum, option, n)
SELECT (information_schema._pg_expandarray(i.indkey)).n FROM pg_catalog.pg_index i
SELECT pg_catalog.set_config('search_path', '', false)
SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'
SELECT acldefault('r', c.relowner) FROM pg_class c
