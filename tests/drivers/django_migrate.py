"""Django: its own migrations (contenttypes, auth) and an application's, carried out, used and taken back; then inspectdb.

usage: django_migrate.py HOST PORT DATABASE USER PASSWORD migrate|inspectdb
Prints what inspectdb writes of the schema, and what the migrations did.
"""

import io
import sys

import django
from django.conf import settings

host, port, database, user, password, task = sys.argv[1:7]
settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "HOST": host, "PORT": port, "NAME": database, "USER": user, "PASSWORD": password,
        "OPTIONS": {"sslmode": "disable"},
    }},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command
from django.db import connection, models
from django.db.migrations.executor import MigrationExecutor


def said(*arguments, **options):
    out = io.StringIO()
    call_command(*arguments, stdout=out, no_color=True, **options)
    return out.getvalue()


def written():
    """inspectdb, without what it says of itself."""
    tables = sorted(t.name for t in connection.introspection.get_table_list(connection.cursor()))
    return said("inspectdb", *tables, include_views=True)


if task == "inspectdb":
    text = written()
    assert "class " in text, text
    print(text)
    sys.exit(0)

print(said("migrate", verbosity=1))
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType

user = User.objects.create_user("zoe", "zoe@example.org", "correct horse")
group = Group.objects.create(name="readers")
group.permissions.add(*Permission.objects.filter(content_type__app_label="auth")[:3])
user.groups.add(group)
print("users", list(User.objects.values_list("username", "email", "is_active")))
print("types", sorted(ContentType.objects.values_list("app_label", "model")))
print("permissions", sorted(Permission.objects.values_list("codename", flat=True)), group.permissions.count())
print("may", user.has_perm("auth.add_group"), User.objects.filter(groups__name="readers").count())
print(said("showmigrations"))
print(said("migrate", check_unapplied=True))


class Shelf(models.Model):
    name = models.CharField(max_length=40, unique=True)
    opened = models.DateField(null=True)

    class Meta:
        app_label = "library"
        db_table = "library_shelf"


class Book(models.Model):
    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE)
    title = models.TextField(db_index=True)
    pages = models.PositiveIntegerField(default=1)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    extra = models.JSONField(default=dict)

    class Meta:
        app_label = "library"
        db_table = "library_book"
        constraints = [models.UniqueConstraint(fields=["shelf", "title"], name="library_book_once")]
        indexes = [models.Index(fields=["price"], name="library_book_price")]


with connection.schema_editor() as editor:
    editor.create_model(Shelf)
    editor.create_model(Book)
with connection.schema_editor() as editor:
    field = models.CharField(max_length=20, null=True)
    field.set_attributes_from_name("language")
    editor.add_field(Book, field)
    old, new = Shelf._meta.get_field("name"), models.CharField(max_length=80, unique=True)
    new.set_attributes_from_name("name")
    new.model = Shelf
    editor.alter_field(Shelf, old, new)
shelf = Shelf.objects.create(name="first")
Book.objects.create(shelf=shelf, title="one", extra={"a": [1, None]})
print("books", list(Book.objects.values_list("shelf__name", "title", "pages", "extra")))
with connection.cursor() as cursor:
    for table in sorted(t.name for t in connection.introspection.get_table_list(cursor)):
        print("constraints", table, sorted(str(row) for row in (
            (n, c["columns"], c["primary_key"], c["unique"], c["foreign_key"], c["check"], c["index"], c.get("type"))
            for n, c in connection.introspection.get_constraints(cursor, table).items())))
        print("sequences", table, connection.introspection.get_sequences(cursor, table))
        print("relations", table, sorted(connection.introspection.get_relations(cursor, table).items()))
print(written())
with connection.schema_editor() as editor:
    editor.delete_model(Book)
    editor.delete_model(Shelf)
print(said("migrate", "auth", "zero", verbosity=1))
print(said("migrate", "contenttypes", "zero", verbosity=1))
with connection.cursor() as cursor:
    cursor.execute("DROP TABLE django_migrations")
    print("left", [t.name for t in connection.introspection.get_table_list(cursor) if t.name.startswith(("auth", "django", "library"))])
