"""Counts what psycopg sends, where it leaves for libpq: each statement's text, how often it was carried out, and what it failed with.

Python imports this module by itself when its directory is on PYTHONPATH. It needs PSYCOPG_IMPL=python, whose calls of libpq are Python
methods. Through the proxy an error is the proxy's own where its audit trail says so, with the word for why.
"""

import atexit
import collections
import json
import os
import time

OUT = os.environ.get("CORPORA_OUT")
AUDIT = os.environ.get("CORPORA_AUDIT")


class Trail:
    """New refusals in the proxy's audit trail."""

    def __init__(self, path):
        self.file = open(path, encoding="utf-8") if path else None
        if self.file:
            self.file.seek(0, os.SEEK_END)

    def refusal(self, sqlstate):
        """The reason of a refusal with that SQLSTATE that was written since the last call; None where PostgreSQL itself refused."""
        if not self.file:
            return None
        # An event lies 10 ms in memory at most.
        for _ in range(3):
            time.sleep(0.006)
            for line in self.file:
                event = json.loads(line)
                if event["decision"] == "refuse" and event.get("sqlstate") == sqlstate:
                    return event.get("reason")
        return None


def install():
    from psycopg.pq import pq_ctypes
    from psycopg.pq._enums import DiagnosticField, ExecStatus

    connection_class = pq_ctypes.PGconn
    counts = collections.Counter()
    pending = {}
    prepared = {}
    trail = Trail(AUDIT)
    settled = {
        ExecStatus.COMMAND_OK,
        ExecStatus.TUPLES_OK,
        ExecStatus.EMPTY_QUERY,
        ExecStatus.COPY_IN,
        ExecStatus.COPY_OUT,
    }

    def text(command):
        return bytes(command).decode("utf-8", "replace")

    def waiting(conn):
        return pending.setdefault(id(conn), collections.deque())

    def wrap(name, describe):
        original = getattr(connection_class, name)

        def send(self, *arguments, **named):
            original(self, *arguments, **named)
            waiting(self).append(describe(self, *arguments))

        setattr(connection_class, name, send)

    def prepare(self, name, command, *_):
        prepared[id(self), bytes(name)] = text(command)
        return text(command), False

    wrap("send_query", lambda self, command: (text(command), True))
    wrap("send_query_params", lambda self, command, *_: (text(command), True))
    wrap("send_prepare", prepare)
    wrap("send_query_prepared", lambda self, name, *_: (prepared.get((id(self), bytes(name)), "?"), True))
    for name in ("send_describe_prepared", "send_describe_portal", "send_close_prepared", "send_close_portal"):
        wrap(name, lambda self, *_: ("", False))

    get_result = connection_class.get_result

    def result(self):
        given = get_result(self)
        queue = pending.get(id(self))
        if not queue:
            return given
        if given is None:
            queue.popleft()
            return given
        command, runs = queue[0]
        if given.status == ExecStatus.FATAL_ERROR:
            sqlstate = (given.error_field(DiagnosticField.SQLSTATE) or b"").decode()
            message = (given.error_field(DiagnosticField.MESSAGE_PRIMARY) or b"").decode("utf-8", "replace")
            hint = (given.error_field(DiagnosticField.MESSAGE_HINT) or b"").decode("utf-8", "replace")
            refused = command, sqlstate, trail.refusal(sqlstate), message, hint
            counts[refused] += 1
            if refused[2] and counts[refused] == 1:
                # For whoever does not want to wait for the end.
                with open(os.path.join(OUT, "refused.jsonl"), "a", encoding="utf-8") as f:
                    f.write(json.dumps(refused) + "\n")
        elif given.status in settled and runs:
            counts[command, "", None, "", ""] += 1
        return given

    connection_class.get_result = result

    start = connection_class.connect_start.__func__

    def connect_start(cls, *arguments):
        conn = start(cls, *arguments)
        # An id may be that of a connection that is gone.
        pending.pop(id(conn), None)
        return conn

    connection_class.connect_start = classmethod(connect_start)

    @atexit.register
    def write():
        if counts:
            with open(os.path.join(OUT, f"statements-{os.getpid()}.jsonl"), "w", encoding="utf-8") as f:
                for (command, sqlstate, reason, message, hint), count in counts.items():
                    f.write(json.dumps([command, sqlstate, reason, message, hint, count]) + "\n")


if OUT and os.environ.get("PSYCOPG_IMPL") == "python":
    try:
        install()
    except ImportError:
        # Another interpreter's packages: nothing of this run's.
        pass
