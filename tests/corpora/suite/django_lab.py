"""Settings by which Django's own runtests.py meets the schema `lab`."""

import os

from django.contrib.postgres.operations import CreateExtension
from django.db.backends.postgresql.creation import DatabaseCreation

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["CORPORA_HOST"],
        "PORT": os.environ["CORPORA_PORT"],
        "USER": os.environ["CORPORA_USER"],
        "PASSWORD": os.environ["CORPORA_PASSWORD"],
        "NAME": os.environ["CORPORA_DATABASE"],
        "TEST": {"NAME": os.environ["CORPORA_DATABASE"]},
    },
    # Tests of several databases: a login of the proxy has one, so the second is of another kind.
    "other": {"ENGINE": "django.db.backends.sqlite3"},
}
DATABASE_ROUTERS = ["django_router.Router"]
SECRET_KEY = "for tests alone"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "django_runner.Runner"

# The database is there, and neither side may make another.
DatabaseCreation._create_test_db = lambda self, verbosity, autoclobber, keepdb=False: self._get_test_db_name()

# Only a DBA installs extensions.
CreateExtension.database_forwards = lambda *arguments, **named: None
