"""Reports of AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer (presets asan-ubsan, tsan) from whatever
processes a test starts, also from those that it kills, or whose exit code and output it does not look at.

Importing this module makes all processes started from then on write their reports into a folder; take() empties it. In a
build without sanitizers nothing is ever written there.
"""
import atexit
import os
import shutil
import tempfile
import unittest

_FOLDER = tempfile.mkdtemp(prefix="filigree-reports-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
# UndefinedBehaviorSanitizer beside AddressSanitizer writes to standard error wherever log_path points (GCC's shared
# libraries take each other's symbols), so it aborts, and AddressSanitizer reports that with the stack.
OPTIONS = {"ASAN_OPTIONS": "handle_abort=1:log_path=", "UBSAN_OPTIONS": "abort_on_error=1:log_path=",
           "TSAN_OPTIONS": "log_path="}
for _variable, _options in OPTIONS.items():
    _before = os.environ.get(_variable)
    os.environ[_variable] = (_before + ":" if _before else "") + _options + os.path.join(_FOLDER, "report")
# For processes that become ranks of Open MPI: it leaves memory behind in plugins that it has unloaded, which no suppression can
# name. CMake's side is FILIGREE_MPI_ENVIRONMENT.
WITHOUT_LEAKS = {"ASAN_OPTIONS": os.environ["ASAN_OPTIONS"] + ":detect_leaks=0"}


def take():
    """The reports since the last call, one text a process."""
    texts = []
    for name in sorted(os.listdir(_FOLDER)):
        path = os.path.join(_FOLDER, name)
        with open(path, encoding="utf-8", errors="replace") as report:
            texts.append(report.read())
        os.remove(path)
    return texts


class Result(unittest.TextTestResult):
    """A case after which there is a report has failed."""

    def stopTest(self, test):
        for text in take():
            self.addFailure(test, (AssertionError, AssertionError("a process that this case started reports:\n" + text), None))
        super().stopTest(test)
