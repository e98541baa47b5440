"""reports.py sees to it that a test fails where a process that it started was reported, however little the test looks at it.

    reports_test.py [PROGRAM FAULT WORDS]

A shell stands for a process with a report. With PROGRAM, sanitizer_fault of a build with sanitizers, it is a real one,
and WORDS are in the report.
"""
import os
import subprocess
import sys
import tempfile
import unittest

SUPPORT = os.path.dirname(os.path.abspath(__file__))
# Where the runtime of a sanitizer writes: log_path, the process id behind it.
PRETENDS = ["sh", "-c", 'echo "ERROR: a report" > "${ASAN_OPTIONS##*log_path=}.$$"']
REPORTED, WORDS = (sys.argv[1:3], sys.argv[3]) if len(sys.argv) == 4 else (PRETENDS, "ERROR: a report")
SCRIPT = """
import subprocess
import unittest
import program

class Case(unittest.TestCase):
    @classmethod
    def tearDownClass(cls):
        subprocess.run({at_the_end}, check=False)

    def test_one(self):
        subprocess.run({in_a_case}, check=False, capture_output=True)

    def test_other(self):
        pass

program.main()
"""


class Reports(unittest.TestCase):
    def run_script(self, in_a_case=("true",), at_the_end=("true",), options=""):
        with tempfile.TemporaryDirectory(prefix="filigree-reports-test-") as folder:
            path = os.path.join(folder, "script.py")
            with open(path, "w", encoding="utf-8") as out:
                out.write(SCRIPT.format(in_a_case=list(in_a_case), at_the_end=list(at_the_end)))
            env = {**os.environ, "PYTHONPATH": SUPPORT}
            if options:
                env["ASAN_OPTIONS"] = options
            return subprocess.run([sys.executable, "-B", path, "program"], env=env, capture_output=True, text=True, timeout=120,
                                  check=False)

    def test_nothing_reported(self):
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_case_that_started_it_fails_with_the_report(self):
        done = self.run_script(in_a_case=REPORTED)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("FAIL: test_one", done.stderr)
        self.assertNotIn("FAIL: test_other", done.stderr)
        self.assertIn(WORDS, done.stderr)

    def test_what_ends_after_the_last_case(self):
        done = self.run_script(at_the_end=REPORTED)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(WORDS, done.stdout)

    def test_options_that_were_there_stay(self):
        script = 'case "$ASAN_OPTIONS" in verbosity=0:*log_path=*) ;; *) echo "$ASAN_OPTIONS" > "${TSAN_OPTIONS##*log_path=}.1" ;; esac'
        kept = ["sh", "-c", script]
        done = self.run_script(in_a_case=kept, options="verbosity=0")
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
