"""The convergence runner on a small model: it goes on after SIGTERM, skips what is done, and reports what the logs say."""
import json
import os
import signal
import subprocess
import sys
import unittest

import program
from program import SMALL, ProgramTest, run

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import results  # noqa: E402
from run_log import RunLog  # noqa: E402
from runs import Point, Run, differences  # noqa: E402

# Every run of a study: an exact one long enough to be stopped in the middle, active ones beside it.
TABLE = """
from runs import Point, Run

COMMON = {common!r}
EXACT = {{"sparsity.regime": "exact"}}
ACTIVE = {{"sparsity.regime": "active", "sparsity.density_start": "1/2", "sparsity.candidates": 2, "sparsity.refresh_every": 3}}
RUNS = [
    Run("exact", "figures", "the measure", {{**EXACT, "run.steps": {long}}}),
    Run("active", "figures", "same tokens", {{**ACTIVE, "run.steps": 12}}),
    Run("equal", "figures", "same time", ACTIVE, as_long_as="exact", pace_of="active"),
    Run("other", "policy", "not asked for", {{**ACTIVE, "run.steps": 12, "sparsity.newcomers": "random"}}),
]
POINTS = [Point("small", 32, "1/4", "1/2", [("exact", "active", "equal")])]
"""
LONG = 120  # steps of a few milliseconds: the signal finds the run well before its end


class RunnerTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.out = os.path.join(self.folder, "out")
        self.write_table()

    def write_table(self, **changes):
        self.table = os.path.join(self.folder, "table.py")
        common = {**SMALL, "sample.every": 0, **changes}
        with open(self.table, "w", encoding="utf-8") as out:
            out.write(TABLE.format(common={key: value for key, value in common.items() if key != "run.threads"}, long=LONG))

    def command(self, *more):
        return [sys.executable, os.path.join(HERE, "run.py"), "--program", program.PROGRAM, "--data", self.data,
                "--out", self.out, "--table", self.table, "--threads", "2", *more]

    def study(self, *more):
        return subprocess.run(self.command(*more), capture_output=True, text=True, timeout=120)

    def stop_in_the_middle(self):
        process = subprocess.Popen(self.command("--verbose"), stdout=subprocess.PIPE, text=True)
        with process.stdout as lines:
            for line in lines:
                if line.startswith("exact: step 3 "):
                    process.send_signal(signal.SIGTERM)
                    break
            lines.read()
        self.assertEqual(process.wait(timeout=60), 75)

    def log(self, name):
        return RunLog(os.path.join(self.out, name, "run"))

    def rows(self):
        with open(os.path.join(self.out, "results.jsonl"), encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
        return {record["name"]: record for record in records if record["kind"] == "run"}, [
            record for record in records if record["kind"] == "point"]

    def page(self):
        with open(os.path.join(self.out, "convergence.md"), encoding="utf-8") as file:
            return file.read()

    def test_a_stopped_study_goes_on_and_its_table_has_what_the_logs_say(self):
        self.stop_in_the_middle()
        stopped = self.log("exact")
        self.assertEqual(stopped.ends[-1]["reason"], "stopped")
        self.assertLess(len(stopped.steps), LONG)
        self.assertIn("exact", self.page().split("Not run yet")[1])

        second = self.study()
        self.assertIn(second.returncode, (0, 1), second.stdout + second.stderr)  # 1: a figure is missed, as 12 steps may
        rows, points = self.rows()
        self.assertEqual(list(rows), ["exact", "active", "equal"])  # and not the run that was not asked for
        for name, row in rows.items():
            log = self.log(name)
            self.assertEqual([record["step"] for record in log.steps], list(range(row["steps"])))
            self.assertAlmostEqual(row["training_seconds"], sum(record["ms"] for record in log.steps) / 1e3, places=3)
            self.assertEqual(row["curve"], [[record["step"], record["loss"]] for record in log.evals])
            evaluated = run("eval", os.path.join(self.out, name, "run"), "--json")
            self.assertEqual(row["validation_loss"], json.loads(evaluated.stdout)["loss"])
            self.assertIn(f"| {row['validation_loss']:.4f} | {row['training_seconds']:.0f} |", self.page())
        self.assertEqual(rows["exact"]["starts"], 2)
        self.assertEqual(rows["exact"]["steps"], LONG)
        pace = rows["active"]["training_seconds"] / 12
        self.assertEqual(rows["equal"]["steps"], int(rows["exact"]["training_seconds"] / pace))
        self.assertAlmostEqual(points[0]["difference"], rows["active"]["validation_loss"] - rows["exact"]["validation_loss"])
        self.assertEqual(second.returncode, 1 if False in points[0]["figures"].values() else 0)

        third = self.study()  # all of it is there already
        self.assertEqual(third.returncode, second.returncode)
        self.assertEqual(self.rows(), (rows, points))

        self.write_table(**{"optim.lr": 0.5})
        refused = self.study()
        self.assertEqual(refused.returncode, 1)
        self.assertIn("optim.lr: 0.0512 there, 0.5 in the table", refused.stderr)

    def test_a_budget_that_is_over_begins_nothing(self):
        self.assertEqual(self.study("--budget-minutes", "0").returncode, 75)
        self.assertFalse(os.path.exists(os.path.join(self.out, "active")))


class ResultsTest(unittest.TestCase):
    POINT = Point("p", 256, "1/16", "1/4", [("exact", "active", "equal"), ("exact2", "active2", "equal2")])

    def figures(self, active, seconds, equal=None, peer_ms=None):
        def row(loss, seconds, steps=100):
            return {"validation_loss": loss, "training_seconds": seconds, "steps": steps, "baselines": {"bigram": 4.0}}

        rows = {"exact": row(3.0, 100.0), "active": row(active, seconds)}
        if equal is not None:
            rows["equal"] = row(equal, 100.0, 300)
        return results.compare(self.POINT, rows, peer_ms, "wall")

    def test_the_bounds_are_those_of_the_figures(self):
        met = self.figures(3.0299, 50.0, equal=2.99, peer_ms=2500)["figures"]
        self.assertEqual(set(met.values()), {True})
        missed = self.figures(3.101, 51.0, equal=3.0, peer_ms=2500)["figures"]
        self.assertEqual(set(missed.values()), {False})

    def test_each_bound_is_its_own(self):
        got = self.figures(3.05, 40.0)  # 1.7 % above, 5 % of the way to the bigram model
        self.assertEqual(list(got["figures"].values()), [False, True, True, None, None])
        self.assertAlmostEqual(got["of_distance_to_bigram"], 0.05)
        self.assertEqual(got["seeds"], 1)

    def test_processor_time_is_that_of_all_processes_whatever_the_wall_says(self):
        class Log:
            steps, starts = [{}] * 10, [{"facts": {}}]
            training_seconds = staticmethod(lambda: 400.0)  # one of them stood still for most of it
            phase_seconds, curve, tokens, min_alive_note = (staticmethod(dict), staticmethod(list), staticmethod(lambda: 80),
                                                            staticmethod(str))

        run = Run("name", "figures", "why", {})
        attempts = [{"cpu_seconds": cpu, "wall_seconds": wall, "load_average": [1, 1]} for cpu, wall in ((30.0, 31), (50.0, 900))]
        row = results.row_of(run, {"run.threads": 2}, Log, {"loss": 1, "tokens": 1, "baselines": {}}, attempts)
        self.assertEqual(row["cpu_seconds"], 40.0)
        self.assertIsNone(results.row_of(run, {"run.threads": 2}, Log, {"loss": 1, "tokens": 1, "baselines": {}}, [])["cpu_seconds"])

    def test_nothing_is_said_of_a_point_without_its_runs(self):
        self.assertIsNone(results.compare(self.POINT, {"exact": {}}, None, "wall"))


class SettingsTest(unittest.TestCase):
    def test_a_fraction_is_its_value_and_free_keys_do_not_count(self):
        stored = {"sparsity": {"density": 0.0625, "regime": "active"}, "run": {"threads": 2}, "model": {"sink": True}}
        same = {"sparsity.density": "1/16", "run.threads": 1, "eval.every": 7, "model.sink": "true"}
        self.assertEqual(differences(same, stored), [])
        self.assertEqual(differences({"sparsity.regime": "exact"}, stored),
                         ["sparsity.regime: active there, exact in the table"])


if __name__ == "__main__":
    program.main()
