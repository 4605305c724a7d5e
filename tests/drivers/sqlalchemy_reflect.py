"""What SQLAlchemy finds out about a schema: every method of its Inspector, and the tables that MetaData.reflect makes of it.

usage: sqlalchemy_reflect.py URL SCHEMA [TABLE-PREFIX]
Prints JSON that holds no object ids, so that two databases with the same schema print the same.
"""

import json
import sys

from sqlalchemy import MetaData, create_engine, inspect, text
from sqlalchemy.schema import CreateIndex, CreateTable

url, schema = sys.argv[1:3]
prefix = sys.argv[3] if len(sys.argv) > 3 else ""
engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
found = {}


def mine(names):
    return sorted(name for name in names if name.startswith(prefix))


def plain(value):
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if isinstance(value, (bool, int, str, type(None))) else repr(value)


with engine.connect() as connection:
    i = inspect(connection)
    found["default schema"] = i.default_schema_name
    found["schemas"] = [s for s in i.get_schema_names() if s not in ("public", "information_schema")]
    tables = mine(i.get_table_names(schema=schema))
    views = mine(i.get_view_names(schema=schema))
    found["tables"], found["views"] = tables, views
    found["materialized views"] = mine(i.get_materialized_view_names(schema=schema))
    found["sequences"] = mine(i.get_sequence_names(schema=schema))
    found["temporary"] = [i.get_temp_table_names(), i.get_temp_view_names()]
    found["enums"] = [e for e in i.get_enums(schema=schema) if e["name"].startswith(prefix)]
    found["domains"] = [d for d in i.get_domains(schema=schema) if d["name"].startswith(prefix)]
    found["sorted"] = [t for t, _ in i.get_sorted_table_and_fkc_names(schema=schema) if t is None or t.startswith(prefix)]
    asked = ["columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "check_constraints", "table_comment"]
    for name in tables + views:
        for what in asked:
            if name in views and what != "columns":
                continue
            found[f"{name} {what}"] = getattr(i, "get_" + what)(name, schema=schema)
        found[f"{name} is there"] = [
            i.has_table(name, schema=schema),
            i.has_table(name),
            bool(i.get_table_oid(name, schema=schema)) if name in tables else None,
        ]
        found[f"{name} has indexes"] = [
            i.has_index(name, index["name"], schema=schema) for index in (i.get_indexes(name, schema=schema) if name in tables else [])
        ]
    for what in ["columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "check_constraints", "table_comment"]:
        many = getattr(i, "get_multi_" + what)(schema=schema)
        found["multi " + what] = {k[1]: v for k, v in sorted(many.items(), key=str) if k[1].startswith(prefix)}
    for view in views:
        found[f"{view} definition"] = i.get_view_definition(view, schema=schema)
    found["no such"] = [
        i.has_table("no_such_table", schema=schema),
        i.has_sequence("no_such_sequence", schema=schema),
        i.has_schema("no_such_schema"),
        i.has_schema(schema),
    ]

    metadata = MetaData()
    metadata.reflect(connection, schema=schema, views=True, only=lambda name, _: name.startswith(prefix))
    for table in sorted(metadata.tables.values(), key=lambda t: t.name):
        found[f"{table.name} DDL"] = [
            str(CreateTable(table).compile(engine)),
            sorted(str(CreateIndex(index).compile(engine)) for index in table.indexes),
        ]

assert tables, "nothing was found"
print(json.dumps(plain(found), indent=1, sort_keys=True))
