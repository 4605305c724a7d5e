"""Keeps models off the second database, SQLite, that are made for the first one's collations."""


class Router:
    def allow_migrate(self, db, app_label, **hints):
        return False if db == "other" and app_label in ("inspectdb", "model_fields") else None
