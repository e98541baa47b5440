"""Workers as an operator runs them: several on one machine, a coordinator, and ranks that only say what real ones say.

FILIGREE_FAKE_RANK is a program that speaks to its worker as `filigree train` does (tests/worker/agent/fake_rank.cc).
"""
import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
import unittest

import program
from cluster import Coordinator, Worker, lives
from program import patience, run

CONFIG = '[run]\nname = "night"\nsteps = 40\ndir = "run"\n[data]\ndir = "data"\n'
FAKE_RANK = os.environ["FILIGREE_FAKE_RANK"]
ENDLESS = 10 ** 9  # steps


class WorkerTest(unittest.TestCase):
    assertExit = program.ProgramTest.assertExit
    assertSays = program.ProgramTest.assertSays

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="filigree-worker-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config = os.path.join(self.folder, "config.toml")
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(CONFIG)
        self.coordinator = Coordinator(os.path.join(self.folder, "journal.db"), "--lease", "3")
        self.addCleanup(lambda: self.coordinator.stop())  # whichever there is at the end
        self.workers = []

    def worker(self, name, *flags, steps=300, wrong="", says="registered"):
        started = Worker(self.folder, name, self.coordinator.address, "--slots", "1", "--program", FAKE_RANK, *flags,
                         FAKE_RANK_STEPS=str(steps), FAKE_RANK_DO=wrong,
                         FAKE_RANK_JOURNAL=os.path.join(self.folder, "said"))
        self.addCleanup(started.stop)
        self.workers.append(started)
        self.eventually(lambda: says in started.said)
        return started

    def ask(self, *words):
        return run(words[0], "--coordinator", self.coordinator.address, *words[1:])

    def submit(self, *flags):
        process = self.ask("submit", self.config, *flags)
        self.assertExit(process, 0)
        return process.stdout.strip()

    def job(self, name):
        process = self.ask("jobs", name, "--json")
        return json.loads(process.stdout) if process.returncode == 0 else {}

    def eventually(self, what, seconds=40):
        for _ in range(int(patience(seconds) * 20)):
            found = what()
            if found:
                return found
            time.sleep(0.05)
        said = "\n".join(f"--- {w.name}\n{w.said}" for w in self.workers)
        return self.fail(f"did not happen within {seconds} s\n--- coordinator\n{''.join(self.coordinator.lines)}{said}")

    def ended(self, name, state="done"):
        job = self.eventually(lambda: (j := self.job(name)) and j["state"] in ("done", "failed", "cancelled") and j)
        self.assertEqual(job["state"], state, job["reason"])
        return job

    def said(self):
        """(pid, generation, rank, what, step) of all ranks."""
        with contextlib.suppress(FileNotFoundError), open(os.path.join(self.folder, "said"), encoding="utf-8") as lines:
            return [(int(p), int(g), int(r), what, int(s)) for p, g, r, what, s in map(str.split, lines)]
        return []

    def pids(self, generation, ranks):
        """Processes of that generation by rank, once there are as many."""
        def found():
            pids = {rank: pid for pid, g, rank, what, _ in self.said() if g == generation and what == "takes"}
            return pids if len(pids) == ranks else None
        return self.eventually(found)

    def running(self, name, generation):
        self.eventually(lambda: (j := self.job(name)) and j["state"] == "running" and j["generation"] == generation)


class Jobs(WorkerTest):
    def test_two_workers_one_job_and_its_logs(self):
        self.worker("a", steps=20)
        self.worker("b", steps=20)
        job = self.ended(self.submit("--data=2"))
        self.assertEqual((job["restarts"], job["last_commit"]["step"]), (0, 20))
        logs = self.eventually(lambda: (p := self.ask("logs", job["id"])) and p.stdout.count("finishes") == 2 and p.stdout)
        self.assertIn("rank 1", logs)

    def test_a_killed_rank_costs_no_other_process(self):
        self.worker("a")
        self.worker("b")
        name = self.submit("--data=2")
        self.running(name, 1)
        first = self.pids(1, 2)
        os.kill(first[1], signal.SIGKILL)
        second = self.pids(2, 2)
        self.assertEqual(second[0], first[0])
        self.assertNotEqual(second[1], first[1])
        self.assertEqual(self.ended(name)["restarts"], 1)
        failed = [line for line in self.coordinator.lines if "SIGKILL" in line]
        self.assertTrue(failed and "rank 1 on worker b" in failed[0] and "host host-b" in failed[0], self.coordinator.lines)

    def test_the_grid_shrinks_and_grows_in_the_same_process(self):
        self.worker("a", steps=ENDLESS)
        killed = self.worker("b", steps=ENDLESS)
        name = self.submit("--data=2", "--min-data=1")
        self.running(name, 1)
        first = self.pids(1, 2)
        killed.process.kill()
        self.eventually(lambda: not lives(first[1]), seconds=2)  # ranks die with their worker
        self.assertEqual(self.pids(2, 1)[0], first[0])
        self.running(name, 2)
        self.worker("c", steps=ENDLESS)
        third = self.pids(3, 2)
        self.assertEqual(third[0], first[0])
        self.running(name, 3)
        job = self.job(name)
        self.assertEqual((job["data"], job["restarts"]), (2, 1))  # growing was no fault
        self.assertGreater(job["last_commit"]["step"], 0)
        self.assertExit(self.ask("cancel", name), 0)
        self.ended(name, "cancelled")
        self.eventually(lambda: not any(lives(pid) for pid, *_ in self.said()), seconds=2)

    def test_a_worker_that_slept_past_its_lease_runs_nothing(self):
        self.worker("a", steps=ENDLESS)
        asleep = self.worker("b", steps=ENDLESS)
        name = self.submit("--data=2", "--min-data=1")
        self.running(name, 1)
        first = self.pids(1, 2)
        asleep.process.send_signal(signal.SIGSTOP)
        self.assertEqual(self.pids(2, 1)[0], first[0])
        asleep.process.send_signal(signal.SIGCONT)
        self.eventually(lambda: not lives(first[1]), seconds=2)
        self.eventually(lambda: "incarnation 2" in asleep.said)
        self.assertIn("lease", asleep.said)

    def test_the_coordinator_is_killed_and_nothing_is_started_twice(self):
        self.worker("a", steps=400)
        self.worker("b", steps=400)
        name = self.submit("--data=2")
        self.running(name, 1)
        address = self.coordinator.address
        self.coordinator.stop(signal.SIGKILL)
        self.coordinator = Coordinator(os.path.join(self.folder, "journal.db"), "--lease", "3", listen=address)
        job = self.ended(name)
        self.assertEqual((job["generation"], job["restarts"]), (1, 0))
        self.assertEqual(len([1 for *_, what, _ in self.said() if what == "takes"]), 2)

    def test_a_worker_that_is_to_end_leaves_a_checkpoint_and_no_fault(self):
        self.worker("a", steps=ENDLESS)
        leaves = self.worker("b", steps=ENDLESS)
        name = self.submit("--data=2", "--min-data=1")
        self.running(name, 1)
        first = self.pids(1, 2)
        self.assertEqual(leaves.stop(), 0)
        self.assertFalse(lives(first[1]))
        self.running(name, 2)
        job = self.job(name)
        self.assertEqual((job["restarts"], job["data"]), (0, 1), "".join(self.coordinator.lines) + leaves.said)
        self.assertEqual(self.pids(2, 1)[0], first[0])
        self.assertEqual(job["resume"]["step"] if "resume" in job else job["last_commit"]["step"], job["last_commit"]["step"])
        self.assertIn("left", leaves.said)


class Starting(WorkerTest):
    def refused(self, code, *parts, words=()):
        process = run("worker", *words, cwd=self.folder)
        self.assertExit(process, code)
        self.assertSays(process, *parts)

    def test_mistakes_have_codes_and_words(self):
        for wrong in ("", "nowhere", self.folder, self.config):
            self.refused(2, f'--program "{wrong}": is no program', words=("--program", wrong))
        self.refused(2, "a/b", words=("--name", "a/b"))
        self.refused(2, "no-such", words=("--workdir", os.path.join(self.folder, "no-such")))
        self.refused(2, "shorter --state", words=("--state", os.path.join(self.folder, "x" * 100)))
        self.refused(2, "--slots", words=("--slots", "0"))
        self.refused(2, "--tls-ca", words=("--coordinator", "10.0.0.1:7070"))
        shared = os.path.join(self.folder, "shared")
        os.mkdir(shared)
        os.chmod(shared, 0o755)
        self.refused(1, "chmod 700", words=("--state", shared))

    def test_two_workers_do_not_share_a_state_folder(self):
        self.worker("a")
        self.refused(3, "in use by another worker", words=("--name", "a"))

    def test_a_name_that_is_taken_is_waited_for(self):
        first = self.worker("a")
        second = self.worker("a", "--state", os.path.join(self.folder, "other"), says="by another process")
        self.assertEqual(first.stop(signal.SIGKILL), -signal.SIGKILL)
        self.eventually(lambda: "incarnation 2" in second.said)


if __name__ == "__main__":
    program.main()
