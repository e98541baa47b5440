"""`telemetry.serve`: a run that its user started himself, alone or under mpirun, is looked at, drained and cancelled with the
commands for a cluster."""
import json
import os
import re
import signal
import subprocess
import time

import program
import reports
from program import ProgramTest, main, patience, run

ENDLESS = 10 ** 8  # steps
LAUNCHER = ["mpirun", "--mca", "plm", "isolated", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "-n", "2"]
ENVIRONMENT = {**os.environ, **reports.WITHOUT_LEAKS, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class ServeTest(ProgramTest):
    def start(self, launcher=(), **changes):
        """The run under way; .address and .job once it has said them."""
        changes = {"run__steps": ENDLESS, "run__threads": 1, "eval__every": 0, "sample__every": 0, "checkpoint__every": ENDLESS,
                   "telemetry__serve": "127.0.0.1:0", **changes}
        self.said = os.path.join(self.folder, "said")
        with open(self.said, "w", encoding="utf-8") as out:
            self.process = subprocess.Popen([*launcher, program.PROGRAM, "train", self.config(**changes), "--quiet"],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        found = self.eventually(lambda: re.search(r"job (\S+) of its own coordinator on (\S+):", self.text()))
        self.job, self.address = found.groups()

    def text(self):
        with open(self.said, encoding="utf-8", errors="replace") as lines:
            return lines.read()

    def eventually(self, what, seconds=60):
        end = time.monotonic() + patience(seconds)
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.05)
        return self.fail(f"not within {seconds} s: {self.text()}")

    def ask(self, *words):
        process = run(words[0], "--coordinator", self.address, *words[1:])
        self.assertExit(process, 0)
        return process.stdout

    def runs(self, ranks):
        """The job once all ranks run and have told of steps."""
        def there():
            job = json.loads(self.ask("jobs", self.job, "--json"))
            steps = [rank["step"] for rank in job["ranks"]]
            return job if job["state"] == "running" and len(steps) == ranks and min(steps) > 3 else None
        return self.eventually(there)

    def watch(self):
        return subprocess.Popen([program.PROGRAM, "watch", "--json", "--coordinator", self.address, self.job],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_a_run_alone_is_followed_to_its_end(self):
        # Long enough to be seen, and done by itself.
        self.start(run__steps=1500, model__n_ctx=40)
        watch = self.watch()
        job = self.runs(1)
        self.assertEqual((job["data"], job["tensor"]), (1, 1))
        said = watch.communicate(timeout=patience(120))[0].splitlines()
        self.assertEqual(watch.returncode, 0, said[-3:])
        self.assertEqual(self.process.wait(timeout=patience(60)), 0, self.text())
        progress = [json.loads(line)["progress"] for line in said if "progress" in json.loads(line)]
        self.assertTrue(progress)
        self.assertEqual(json.loads(said[-1])["to"], "done")
        self.assertEqual(self.state()[0], 1500)

    def test_whoever_drains_it_stops_it_after_a_checkpoint(self):
        self.start()
        self.runs(1)
        other = run("submit", "--coordinator", self.address, self.config("other.toml"))
        self.assertExit(other, 3)
        self.assertSays(other, "belongs to the one run that it has")
        self.ask("drain", self.job)
        self.assertEqual(self.process.wait(timeout=patience(60)), 75, self.text())
        self.assertEqual(self.state()[0], len(self.log("step")))

    def test_whoever_cancels_it_ends_it_at_once(self):
        self.start()
        self.runs(1)
        watch = self.watch()
        self.ask("cancel", self.job)
        self.assertEqual(self.process.wait(timeout=patience(60)), 75, self.text())
        self.assertIn("cancelled on request", self.text())
        watch.communicate(timeout=patience(60))
        self.assertEqual(watch.returncode, 75)
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "checkpoints")))

    def test_a_signal_is_a_drain_for_those_who_look_on(self):
        self.start()
        self.runs(1)
        watch = self.watch()
        self.eventually(lambda: watch.stdout.readline())  # it looks on
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(timeout=patience(60)), 75, self.text())
        watch.communicate(timeout=patience(60))
        self.assertEqual(watch.returncode, 75)

    def test_all_ranks_of_mpirun_are_seen_and_drained(self):
        self.start(LAUNCHER, parallel__data=2)
        job = self.runs(2)
        self.assertEqual((job["data"], job["tensor"]), (2, 1))
        self.ask("drain", self.job)
        self.assertEqual(self.process.wait(timeout=patience(60)), 75, self.text())
        self.assertEqual(self.state()[0], len(self.log("step")))

    def test_others_than_this_machine_are_refused_and_so_is_a_taken_port(self):
        refused = self.train(self.config(telemetry__serve="0.0.0.0:7000"))
        self.assertExit(refused, 2)
        self.assertSays(refused, "telemetry.serve", "0.0.0.0:7000")
        self.start()
        taken = self.train(self.config("other.toml", run__dir=os.path.join(self.folder, "other"), telemetry__serve=self.address))
        self.assertExit(taken, 1)
        self.assertSays(taken, "telemetry.serve", self.address)


if __name__ == "__main__":
    main()
