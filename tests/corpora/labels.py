"""The labels of Django's tests that speak to a database: those with models, or with test cases that open one.

usage: labels.py DIRECTORY_OF_TESTS
"""

import pathlib
import re
import sys

LEFT_OUT = {
    # needs PostGIS
    "gis_tests",
    # its models have columns of extensions' types (hstore, citext), and only a DBA installs extensions
    "postgres_tests",
    # every one of them makes and drops databases of its own
    "test_runner",
}
OPENS = re.compile(r"\((?:[\w, ]*\b)?(?:TestCase|TransactionTestCase|TestDataMixin, TestCase)\b|connection\.|Model\)")

for place in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    if not (place / "__init__.py").exists() or place.name in LEFT_OUT:
        continue
    texts = [f.read_text(encoding="utf-8", errors="replace") for f in place.rglob("*.py")]
    if any("django.test import" in t and re.search(r"\bTestCase\b|TransactionTestCase", t) for t in texts) and any(
        OPENS.search(t) for t in texts
    ):
        print(place.name)
