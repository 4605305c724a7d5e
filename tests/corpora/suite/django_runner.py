"""Django's test runner, which also writes down how each test ended."""

import json
import os
import unittest

from django.test.runner import DiscoverRunner


class Result(unittest.TextTestResult):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.outcomes = {}

    def note(self, test, outcome):
        # A test with subtests fails where one of them does.
        if self.outcomes.get(test.id()) not in ("failed", "error"):
            self.outcomes[test.id()] = outcome

    def tell(self, test, err):
        # Read while the run goes on; what unittest itself says comes at the end of a part.
        with open(os.path.join(os.environ["CORPORA_OUT"], "failures.txt"), "a", encoding="utf-8") as f:
            f.write(f"{test.id()}\n{self._exc_info_to_string(err, test)}\n\n")

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "passed")

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "error")
        self.tell(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "failed")
        self.tell(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.note(test, "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "failed")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, "failed")
            self.tell(test, err)


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return Result

    def run_suite(self, suite, **kwargs):
        result = super().run_suite(suite, **kwargs)
        with open(os.path.join(os.environ["CORPORA_OUT"], f"tests-{os.getpid()}.json"), "w", encoding="utf-8") as f:
            json.dump(result.outcomes, f)
        return result
