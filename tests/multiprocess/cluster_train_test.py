"""`filigree train` as a cluster runs it: a coordinator, workers, and ranks that are killed, told to stop, and joined by
others. Whatever happens, a run ends in the bits of one that nothing happened to."""
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request

import program
from cluster import Coordinator, Worker, lives
from program import ProgramTest, main, run

# Every rank holds the whole state: the loss of one costs a step.
ACTIVE = {"sparsity__regime": "active", "sparsity__density_start": "1/4", "sparsity__embedding_density_start": "1/2",
          "sparsity__candidates": 1.5, "sparsity__refresh_every": 3}
QUIET = {"eval__every": 0, "sample__every": 0, "run__threads": 1, "parallel__stuck_after": 2}
ENDLESS = 10 ** 8  # steps


def get(url):
    # No proxy: what is asked is this machine.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as reply:
        return reply.read().decode("utf-8")


class Watch:
    """`filigree watch JOB --json`, from the submission on."""

    def __init__(self, address, job):
        self.process = subprocess.Popen([program.PROGRAM, "watch", "--json", "--coordinator", address, job],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def end(self):
        code = self.process.wait(timeout=60)
        self.reader.join(timeout=10)
        self.process.stdout.close()
        return code


class ClusterTrainTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.workers = []
        self.coordinator = self.start_coordinator()
        self.addCleanup(lambda: self.coordinator.stop())  # whichever there is at the end

    def start_coordinator(self, listen="127.0.0.1:0", *flags):
        started = Coordinator(os.path.join(self.folder, "journal.db"), "--lease", "3", *flags, listen=listen)
        self.assertIsNotNone(started.address, "".join(started.lines))
        return started

    def worker(self, name, slots=1, **env):
        started = Worker(self.folder, name, self.coordinator.address, "--slots", str(slots), FILIGREE_HOST="127.0.0.1",
                         **env)
        self.addCleanup(started.stop)
        self.workers.append(started)
        self.eventually(lambda: "registered" in started.said)
        return started

    def ask(self, *words):
        return run(words[0], "--coordinator", self.coordinator.address, *words[1:])

    def submit(self, config, *flags):
        process = self.ask("submit", config, *flags)
        self.assertExit(process, 0)
        return process.stdout.strip()

    def job(self, name):
        process = self.ask("jobs", name, "--json")
        return json.loads(process.stdout) if process.returncode == 0 else {}

    def eventually(self, what, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.1)
        said = "\n".join(f"--- {worker.name}\n{worker.said}" for worker in self.workers)
        return self.fail(f"did not happen within {seconds} s\n--- coordinator\n{''.join(self.coordinator.lines)}{said}")

    def at(self, name, generation, step, data=None):
        """The job once that generation of it runs and has come so far."""
        def there():
            job = self.job(name)
            self.assertNotIn(job.get("state"), ("failed", "cancelled", "done"), job.get("reason"))
            here = job.get("state") == "running" and job["generation"] == generation and data in (None, job["data"])
            return job if here and job.get("progress", {}).get("step", -1) >= step else None
        return self.eventually(there)

    def ended(self, name, state="done", seconds=120):
        job = self.eventually(lambda: (j := self.job(name)) and j["state"] in ("done", "failed", "cancelled") and j, seconds)
        logs = self.ask("logs", name).stdout[-3000:]
        self.assertEqual(job["state"], state, job["reason"] + "\n" + "".join(self.coordinator.lines) + logs)
        return job

    def processes(self):
        """{pid: worker} of all ranks."""
        found = {}
        for worker in self.workers:
            children = subprocess.run(["pgrep", "-P", str(worker.process.pid)], capture_output=True, text=True, check=False)
            found.update({int(pid): worker.name for pid in children.stdout.split()})
        return found

    def process_of(self, job, rank):
        name = next(r["worker"] for r in job["ranks"] if r["rank"] == rank)
        return next(pid for pid, worker in self.processes().items() if worker == name)

    def alone(self, **changes):
        folder = os.path.join(self.folder, "alone")
        self.assertExit(self.train(self.config("alone.toml", run__dir=folder, **changes), "--quiet"), 0)
        return self.state(folder)

    def test_a_job_is_seen_while_it_runs(self):
        changes = {**QUIET, "eval__every": 6, "telemetry__listen": "127.0.0.1:0"}
        self.coordinator.stop()
        self.coordinator = self.start_coordinator("127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
        self.worker("a")
        self.worker("b")
        name = self.submit(self.config(run__steps=ENDLESS, **changes), "--data=2")
        watch = Watch(self.coordinator.address, name)
        self.at(name, 1, 20)
        page = next(line.split("http://")[1].split("/")[0] for line in self.coordinator.lines if "http://" in line)

        def targets():
            found = [target for group in json.loads(get(f"http://{page}/sd")) for target in group["targets"]]
            return found if len(found) == 2 else None

        for target in self.eventually(targets):
            text = get(f"http://{target}/metrics")
            self.assertIn(f'filigree_step_duration_seconds_count{{run_id="{name}"', text)
            self.assertNotIn("filigree_train_loss_nats", text)  # the coordinator shows what is the run's
        text = get(f"http://{page}/metrics")
        for family in ("target_steps", "train_loss_nats", "val_loss_nats"):
            self.assertIn(f'filigree_{family}{{run_id="{name}"}}', text)
        self.assertExit(self.ask("drain", name), 0)
        self.ended(name, "cancelled")
        self.assertEqual(watch.end(), 75)
        self.assertTrue(any("progress" in line for line in watch.lines), watch.lines)
        self.assertEqual(self.state()[0], len(self.log("step")))  # a checkpoint of where it stopped
        self.eventually(lambda: not self.processes(), seconds=10)

    def test_a_job_is_done(self):
        self.worker("a", slots=3)
        changes = {**QUIET, "eval__every": 6}
        job = self.submit(self.config(**changes), "--data=3")
        ended = self.ended(job)
        self.assertEqual((ended["last_commit"]["step"], ended["restarts"]), (12, 0))
        self.assertEqual(self.state(), self.alone(**changes))
        self.assertExit(self.ask("watch", job), 0)

    def test_whatever_is_killed_and_whoever_comes_the_bits_are_the_same(self):
        # More steps than there is time for: the run is drained in the end.
        changes = {**QUIET, **ACTIVE, "run__steps": 50000, "checkpoint__every": 100, "sparsity__anneal_end": 0.02,
                   "optim__warmup": 0.005}
        for name in ("a", "b", "c"):
            self.worker(name)
        job = self.submit(self.config(**changes), "--data=3", "--min-data=1")
        watch = Watch(self.coordinator.address, job)
        first = self.processes_at(job, 1, 30, 3)
        # A rank: the others go on in the same processes.
        os.kill(self.process_of(self.job(job), 1), signal.SIGKILL)
        second = self.processes_at(job, 2, 60, 3)
        self.assertEqual(len(set(first) & set(second)), 2, (first, second))
        # The coordinator: no rank notices.
        address = self.coordinator.address
        self.coordinator.stop(signal.SIGKILL)
        self.coordinator = self.start_coordinator(address)
        self.at(job, 2, self.step_of(job) + 50, data=3)
        self.assertEqual(self.processes(), second)
        # A worker: the grid shrinks, and grows when another comes.
        next(worker for worker in self.workers if worker.name == "c").process.kill()
        third = self.processes_at(job, 3, 100, 2)
        self.assertLessEqual(set(third), set(second))
        self.worker("d")
        fourth = self.processes_at(job, 4, 0, 3)
        self.assertLess(set(third), set(fourth))
        self.at(job, 4, self.step_of(job) + 150)
        self.assertExit(self.ask("drain", job), 0)
        ended = self.ended(job, "cancelled")
        self.assertEqual(watch.end(), 75, watch.lines[-5:])
        self.assertEqual(ended["restarts"], 2)  # growing is no fault
        step, digest = self.state()
        self.assertEqual(ended["last_commit"]["step"], step)
        self.assertEqual([record["step"] for record in self.log("step")], list(range(step)))
        self.assertEqual(digest, self.alone_at(step, **changes))
        self.eventually(lambda: not self.processes(), seconds=10)

    def alone_at(self, step, **changes):
        """state_sha256 of a run of one process, to which nothing happens until it has come that far."""
        folder = os.path.join(self.folder, "alone")
        config = self.config("alone.toml", **{**changes, "run__dir": folder, "checkpoint__every": step})
        self.assertExit(self.train(config, "--quiet", env={"FILIGREE_FAULT": f"kill:data:{step}"}), -signal.SIGKILL)
        self.assertEqual(self.state(folder)[0], step)
        return self.state(folder)[1]

    def step_of(self, job):
        return self.job(job).get("progress", {}).get("step", 0)

    def processes_at(self, job, generation, step, data):
        self.at(job, generation, step, data)
        return self.processes()

    def test_the_ranks_of_a_worker_that_is_stopped_end_before_the_coordinator_takes_it_for_lost(self):
        worker = self.worker("a")
        name = self.submit(self.config(run__steps=ENDLESS, checkpoint__every=ENDLESS, **QUIET), "--data=1")
        self.at(name, 1, 5)
        pids = list(self.processes())
        self.assertEqual(len(pids), 1)
        worker.process.send_signal(signal.SIGSTOP)
        said = self.coordinator.lines
        self.eventually(lambda: any("worker_lost" in line for line in said[:]))
        self.assertFalse(lives(pids[0]))
        worker.process.send_signal(signal.SIGCONT)
        self.at(name, 2, 5)

    def test_who_is_lost_in_the_last_save_costs_no_step(self):
        faults = os.path.join(self.folder, "faults")
        os.makedirs(faults)
        changes = {**QUIET, **ACTIVE, "run__steps": 30, "checkpoint__every": 20, "eval__every": 30}
        for name in ("a", "b"):
            self.worker(name, FILIGREE_FAULTS=faults)
        with open(os.path.join(faults, "kill:commit:30"), "w", encoding="utf-8"):
            pass  # of the rank that asks for it
        job = self.submit(self.config(**changes), "--data=2")
        ended = self.ended(job)
        self.assertEqual((ended["last_commit"]["step"], ended["restarts"], os.listdir(faults)), (30, 1, []))
        self.assertEqual(self.state(), self.alone(**changes))
        self.assertEqual([record["step"] for record in self.log("run")], [0, 30])
        self.assertEqual([record["step"] for record in self.log("step")], list(range(30)))
        self.assertEqual([record["step"] for record in self.log("eval")], [30])
        self.assertEqual(self.log("end")[-1]["reason"], "done")

    def test_a_cancelled_job_leaves_no_process(self):
        self.worker("a", slots=2)
        name = self.submit(self.config(run__steps=ENDLESS, checkpoint__every=ENDLESS, **QUIET), "--data=2")
        self.at(name, 1, 5)
        pids = list(self.processes())
        self.assertEqual(len(pids), 2)
        self.assertExit(self.ask("cancel", name), 0)
        self.ended(name, "cancelled", seconds=20)
        self.eventually(lambda: not any(map(lives, pids)), seconds=10)

    def test_a_job_that_cannot_start_says_why(self):
        self.worker("a", slots=2)
        name = self.submit(self.config(data__dir="/no/such/corpus", **QUIET), "--data=2", "--restart-limit=0")
        job = self.ended(name, "failed")
        self.assertIn("/no/such/corpus", job["reason"])
        self.assertIn("rank ", job["reason"])


if __name__ == "__main__":
    main()
