"""The program `filigree` as a test calls it: a small corpus, a small run, and what it said.

A test script is given the path of the program as its first argument and runs its cases with unittest (`main` below).
"""
import functools
import json
import mmap
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

import reports  # before anything is started

PROGRAM = ""
SEED = 20260101  # of the generated corpus

# A model that takes a few milliseconds a step; every part of the method is on.
SMALL = {
    "run.steps": 12, "run.seed": 3, "run.threads": 2,
    "model.d_model": 32, "model.n_layer": 2, "model.d_head": 16, "model.n_ctx": 40, "model.sink": "true",
    "sparsity.density": "1/4", "sparsity.embedding_density": "1/2", "sparsity.anneal_end": 0.6, "sparsity.min_alive": 2,
    "optim.warmup": 0.2, "train.batch": 6, "train.shards": 3,
    "eval.every": 6, "eval.sequences": 4, "sample.every": 6, "sample.tokens": 8,
    "checkpoint.every": 4, "checkpoint.keep": 2,
}


@functools.cache
def slowdown():
    """How many times longer than usual PROGRAM may take: more where it was built with a sanitizer (tests/support/patience.h)."""
    with open(PROGRAM, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        return 10 if code.find(b"__tsan_init") >= 0 else 4 if code.find(b"__asan_init") >= 0 else 1


def patience(seconds):
    """Seconds that are long enough, whatever PROGRAM was built with."""
    return seconds * slowdown()


def run(*arguments, env=None, stdin=None, timeout=None, **popen):
    """The finished process: returncode, stdout and stderr as text."""
    timeout = timeout or patience(300)
    return subprocess.run([PROGRAM, *map(str, arguments)], env={**os.environ, **(env or {})}, input=stdin, text=True,
                          capture_output=True, timeout=timeout, errors="replace", **popen)


def write_corpus_text(folder, files=24, seed=SEED):
    """Python files of a few hundred lines, the same ones for the same seed."""
    rng = random.Random(seed)
    names = ["alpha", "beta", "gamma", "delta", "count", "index", "value", "result"]
    os.makedirs(folder, exist_ok=True)
    for i in range(files):
        lines = []
        for _ in range(120):
            a, b, c = (rng.choice(names) for _ in range(3))
            lines.append(rng.choice([f"def {a}({b}, {c}=None):", f"    {a} = {b} + {rng.randrange(100)}",
                                     f"    for {a} in range({b}):", f"        {c}.append({a})", f"    return {c}", ""]))
        with open(os.path.join(folder, f"module_{i}.py"), "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")


class ProgramTest(unittest.TestCase):
    """Cases share one prepared corpus; each has a folder of its own, self.folder."""

    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="filigree-test-")
        write_corpus_text(os.path.join(cls.shared, "text"))
        cls.data = os.path.join(cls.shared, "data")
        done = run("prepare", "--input", os.path.join(cls.shared, "text"), "--vocab", 300, "--out", cls.data,
                   "--val-fraction", 0.2)
        if done.returncode != 0:
            raise RuntimeError(f"prepare failed ({done.returncode}): {done.stderr}")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared, ignore_errors=True)

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="case-", dir=self.shared)
        self.run_dir = os.path.join(self.folder, "run")

    def config(self, name="config.toml", **changes):
        """Path of a TOML file with SMALL and the changes (dots of a key written as two underscores)."""
        keys = {**SMALL, "run.dir": self.run_dir, "data.dir": self.data}
        keys.update({key.replace("__", "."): value for key, value in changes.items()})
        # A rank that is checked at every access to memory is soon taken for one that is stuck.
        if slowdown() > 1:
            keys["parallel.stuck_after"] = patience(keys.get("parallel.stuck_after", 5))
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as out:
            for key, value in keys.items():
                quoted = isinstance(value, str) and value not in ("true", "false") and not value.startswith("[")
                out.write(f"{key} = {json.dumps(value) if quoted else value}\n")
        return path

    def train(self, *arguments, **options):
        return run("train", *(arguments or (self.config(),)), **options)

    def assertExit(self, process, code):
        self.assertEqual(process.returncode, code, f"\nstdout: {process.stdout[-2000:]}\nstderr: {process.stderr[-2000:]}")

    def assertSays(self, process, *parts):
        said = process.stderr + process.stdout
        for part in parts:
            self.assertIn(str(part), said)

    def state(self, path=None):
        """step and state_sha256 of a run folder or checkpoint."""
        process = run("inspect", path or self.run_dir, "--json")
        self.assertExit(process, 0)
        out = json.loads(process.stdout)
        return out["step"], out["state_sha256"]

    def log(self, kind, run_dir=None):
        with open(os.path.join(run_dir or self.run_dir, "steps.jsonl"), encoding="utf-8") as lines:
            return [record for record in map(json.loads, lines) if record["kind"] == kind]


def main():
    global PROGRAM
    PROGRAM = sys.argv.pop(1)
    print(f"corpus seed {SEED}", flush=True)
    # The test script imported this module under its own name: there is one PROGRAM.
    runner = unittest.TextTestRunner(verbosity=2, resultclass=reports.Result)
    ended = unittest.main(module="__main__", testRunner=runner, exit=False).result
    late = reports.take()  # from what classes and modules of tests ended
    print(*late, sep="\n", end="")
    sys.exit(0 if ended.wasSuccessful() and not late else 1)
