"""A plugin for pytest that lets SQLAlchemy's own suite meet the schema `lab`: no second schema, no extensions, no second database."""

import json
import os
import sys

sys.path.insert(0, os.getcwd())

from sqlalchemy.dialects.postgresql import provision
from sqlalchemy.testing import config, exclusions
from test.requirements import DefaultRequirements

# Only a DBA installs extensions; tests of their types are then skipped by the suite itself.
provision._extensions = []


class LabConfig(config.Config):
    """Tests that name a schema without asking whether there is a second one get the one that there is."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.test_schema = "lab"


config.Config = LabConfig


class LabRequirements(DefaultRequirements):
    """What the suite asks before it runs a test, where a module answers otherwise than a database of one's own."""

    @property
    def schemas(self):
        return exclusions.closed()

    @property
    def cross_schema_fk_reflection(self):
        return exclusions.closed()

    @property
    def schema_create_delete(self):
        return exclusions.closed()

    @property
    def two_phase_transactions(self):
        return exclusions.closed()

    @property
    def two_phase_recovery(self):
        return exclusions.closed()


outcomes = {}


def pytest_runtest_logreport(report):
    if report.failed:
        outcomes[report.nodeid] = "failed" if report.when == "call" else "error"
        # Read while the run goes on; what pytest itself says comes at the end of a part.
        with open(os.path.join(os.environ["CORPORA_OUT"], "failures.txt"), "a", encoding="utf-8") as f:
            f.write(f"{report.nodeid}\n{report.longreprtext}\n\n")
    elif report.skipped:
        outcomes.setdefault(report.nodeid, "skipped")
    elif report.when == "call":
        outcomes.setdefault(report.nodeid, "passed")


def pytest_sessionfinish():
    with open(os.path.join(os.environ["CORPORA_OUT"], f"tests-{os.getpid()}.json"), "w", encoding="utf-8") as f:
        json.dump(outcomes, f)
