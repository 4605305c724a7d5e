"""Alembic: revisions written by comparing models with the database, carried out, found to be complete, and taken back.

usage: alembic_migrate.py URL SCHEMA DIRECTORY
Prints what each comparison wrote and what the tables were after each step, the same for every database that answers alike.
"""

import contextlib
import io
import json
import pathlib
import sys

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import (
    BigInteger, CheckConstraint, Column, Date, DateTime, ForeignKey, Index, Integer, LargeBinary, MetaData, Numeric, String, Table,
    Text, UniqueConstraint, create_engine, func, inspect,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

url, schema, directory = sys.argv[1:4]
place = pathlib.Path(directory)
url = url.replace("postgresql://", "postgresql+psycopg://", 1)


def first():
    m = MetaData()
    Table("alembic_owner", m, Column("id", Integer, primary_key=True), Column("name", String(40), nullable=False, unique=True),
          comment="who owns things")
    Table("alembic_thing", m, Column("id", BigInteger, primary_key=True), Column("owner_id", ForeignKey("alembic_owner.id"), nullable=False),
          Column("made", DateTime(timezone=True), server_default=func.now()), Column("price", Numeric(12, 2)), Column("tags", ARRAY(Text)),
          Column("doc", JSONB), Column("ref", UUID), Column("blob", LargeBinary),
          CheckConstraint("price > 0", name="alembic_thing_price"), Index("alembic_thing_made", "made"))
    return m


def second():
    m = MetaData()
    Table("alembic_owner", m, Column("id", Integer, primary_key=True), Column("name", String(80), nullable=False, unique=True),
          Column("born", Date), comment="who owns things")
    Table("alembic_thing", m, Column("id", BigInteger, primary_key=True), Column("owner_id", ForeignKey("alembic_owner.id"), nullable=False),
          Column("made", DateTime(timezone=True), server_default=func.now()), Column("price", Numeric(12, 2), nullable=False),
          Column("tags", ARRAY(Text)), Column("doc", JSONB), Column("ref", UUID), Column("label", Text),
          CheckConstraint("price > 0", name="alembic_thing_price"),
          UniqueConstraint("owner_id", "label", name="alembic_thing_label"), Index("alembic_thing_ref", "ref", unique=True))
    Table("alembic_extra", m, Column("thing_id", ForeignKey("alembic_thing.id", ondelete="CASCADE"), primary_key=True), Column("note", Text))
    return m


ENV = '''
from alembic import context
from sqlalchemy import create_engine
config = context.config
engine = create_engine(config.attributes["url"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=config.attributes["metadata"], compare_type=True, compare_server_default=True,
                      include_name=lambda name, kind, parents: kind != "table" or name.startswith("alembic_"))
    with context.begin_transaction():
        context.run_migrations()
'''
MAKO = '''"""${message}"""
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
${imports if imports else ""}

def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''
place.mkdir(parents=True, exist_ok=True)
(place / "versions").mkdir(exist_ok=True)
(place / "env.py").write_text(ENV)
(place / "script.py.mako").write_text(MAKO)

config = Config()
config.set_main_option("script_location", str(place))
config.attributes["url"] = url
said = []
engine = create_engine(url)


def written(revision):
    text = pathlib.Path(revision.path).read_text()
    return text[text.index("def upgrade"):]


def tables():
    with engine.connect() as connection:
        i = inspect(connection)
        names = sorted(n for n in i.get_table_names(schema=schema) if n.startswith("alembic_"))
        return {n: [[c["name"], repr(c["type"]), c["nullable"], c["default"]] for c in i.get_columns(n, schema=schema)] for n in names}


def left_to_do(metadata):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={
            "compare_type": True, "compare_server_default": True,
            "include_name": lambda name, kind, parents: kind != "table" or name.startswith("alembic_") and name != "alembic_version"})
        return [repr(d) for d in compare_metadata(context, metadata)]


for number, metadata in enumerate([first(), second()], 1):
    config.attributes["metadata"] = metadata
    with contextlib.redirect_stdout(io.StringIO()):
        revision = command.revision(config, message=f"step {number}", autogenerate=True, rev_id=f"{number:04}")
    said.append(written(revision))
    command.upgrade(config, "head")
    said.append(tables())
    said.append(left_to_do(metadata))
    assert not said[-1], said[-1]
command.downgrade(config, "0001")
said.append(tables())
command.downgrade(config, "base")
said.append(tables())
with engine.begin() as connection:
    connection.exec_driver_sql(f"DROP TABLE {schema}.alembic_version")
print(json.dumps(said, indent=1, sort_keys=True))
