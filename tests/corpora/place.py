"""Makes room for a run: an empty schema `lab`, and the variables by which a suite finds it.

usage: place.py demo.json plain|lab

`plain` is a database of its own in the same PostgreSQL, owned by a role without any privilege beyond it, so that both sides differ by the
proxy alone: the same server, the same schema name, no superuser.
"""

import json
import sys
from urllib.parse import urlsplit

import psycopg

PASSWORD = "for-this-run-alone"

demo_file, side = sys.argv[1:3]
with open(demo_file, encoding="utf-8") as f:
    demo = json.load(f)
dba_url = urlsplit(demo["direct_dba_url"])


def execute(url, *statements):
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


EMPTY = """
DO $$
DECLARE found record;
BEGIN
  FOR found IN SELECT c.oid::regclass AS name, c.relkind FROM pg_class c WHERE c.relnamespace = 'lab'::regnamespace
               AND c.relkind IN ('r', 'p', 'v', 'm') ORDER BY c.oid DESC LOOP
    IF to_regclass(found.name::text) IS NOT NULL THEN
      EXECUTE format('DROP %s IF EXISTS %s CASCADE',
        CASE found.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, found.name);
    END IF;
  END LOOP;
  FOR found IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'lab'::regnamespace AND c.relkind = 'S' LOOP
    EXECUTE format('DROP SEQUENCE IF EXISTS %s CASCADE', found.name);
  END LOOP;
  FOR found IN SELECT t.oid::regtype AS name FROM pg_type t WHERE t.typnamespace = 'lab'::regnamespace AND t.typtype IN ('e', 'd')
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype IN ('i', 'e')) LOOP
    EXECUTE format('DROP TYPE IF EXISTS %s CASCADE', found.name);
  END LOOP;
END $$
"""

if side == "plain":
    execute(
        demo["direct_dba_url"],
        "DROP DATABASE IF EXISTS plain WITH (FORCE)",
        "DROP ROLE IF EXISTS plain",
        f"CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'",
        "CREATE DATABASE plain OWNER plain",
        "ALTER ROLE plain IN DATABASE plain SET search_path = lab",
    )
    url = urlsplit(f"postgresql://plain:{PASSWORD}@{dba_url.hostname}:{dba_url.port}/plain")
    execute(url.geturl(), "CREATE SCHEMA lab")
else:
    url = urlsplit(demo["modules"]["lab"]["url"])
    execute(demo["direct_dba_url"], "SET search_path = pg_catalog", EMPTY)

values = {
    "CORPORA_SIDE": side,
    "CORPORA_HOST": url.hostname,
    "CORPORA_PORT": url.port,
    "CORPORA_USER": url.username,
    "CORPORA_PASSWORD": url.password,
    "CORPORA_DATABASE": url.path.lstrip("/"),
    "CORPORA_SQLALCHEMY_URL": url._replace(scheme="postgresql+psycopg").geturl(),
}
if side == "lab":
    with open(demo["config"], "rb") as f:
        import tomllib

        values["CORPORA_AUDIT"] = tomllib.load(f)["audit"]["file"]
for name, value in values.items():
    print(f"{name}='{value}'")
