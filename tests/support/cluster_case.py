"""Test cases on a small cluster of this machine: a coordinator whose leases are 3 s, workers of one slot or more, and jobs."""
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request

import program
from cluster import Coordinator, Worker
from program import ProgramTest, patience, run

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
    """`filigree watch JOB`, from now on: .lines, and .heard with the second of the monotonic clock of each."""

    def __init__(self, address, job, *flags):
        self.process = subprocess.Popen([program.PROGRAM, "watch", *flags, "--coordinator", address, job],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.heard = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.heard.append((time.monotonic(), line))

    @property
    def lines(self):
        return [line for _, line in self.heard]

    def events(self, kind, since=0):
        """[(second, event)], of --json."""
        found = ((at, json.loads(line)) for at, line in list(self.heard) if at >= since and line.startswith("{"))
        return [(at, event) for at, event in found if event.get("event") == kind]

    def end(self):
        code = self.process.wait(timeout=patience(60))
        self.reader.join(timeout=10)
        self.process.stdout.close()
        return code

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.end()


class ClusterTest(ProgramTest):
    FLAGS = ()  # of the coordinator

    def setUp(self):
        super().setUp()
        self.workers = []
        self.coordinator = self.start_coordinator("127.0.0.1:0", *self.FLAGS)
        self.addCleanup(lambda: self.coordinator.stop())  # whichever there is at the end

    def start_coordinator(self, listen="127.0.0.1:0", *flags, **env):
        started = Coordinator(os.path.join(self.folder, "journal.db"), "--lease", "3", *flags, listen=listen, **env)
        self.assertIsNotNone(started.address, "".join(started.lines))
        return started

    def worker(self, name, *flags, slots=1, **env):
        started = Worker(self.folder, name, self.coordinator.address, "--slots", str(slots), *flags,
                         **{"FILIGREE_HOST": "127.0.0.1", **env})
        self.addCleanup(started.stop)
        self.workers.append(started)
        self.eventually(lambda: "registered" in started.said)
        return started

    def watch(self, job, *flags):
        started = Watch(self.coordinator.address, job, *flags)
        self.addCleanup(lambda: started.process.stdout.closed or started.stop())
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
        end = time.monotonic() + patience(seconds)
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

    def worker_of(self, job, rank):
        return next(r["worker"] for r in job["ranks"] if r["rank"] == rank)

    def process_of(self, job, rank):
        name = self.worker_of(job, rank)
        return next(pid for pid, worker in self.processes().items() if worker == name)

    def step_of(self, job):
        return self.job(job).get("progress", {}).get("step", 0)

    def alone(self, **changes):
        folder = os.path.join(self.folder, "alone")
        self.assertExit(self.train(self.config("alone.toml", run__dir=folder, **changes), "--quiet"), 0)
        return self.state(folder)

    def alone_at(self, step, env=None, **changes):
        """state_sha256 of a run of one process, to which nothing happens, but for `env`, until it has come that far."""
        folder, faults = os.path.join(self.folder, "alone"), os.path.join(self.folder, "faults-alone")
        os.makedirs(faults)
        with open(os.path.join(faults, f"kill:data:{step}"), "w", encoding="utf-8"):
            pass
        config = self.config("alone.toml", **{**changes, "run__dir": folder, "checkpoint__every": step})
        self.assertExit(self.train(config, "--quiet", env={"FILIGREE_FAULTS": faults, **(env or {})}), -signal.SIGKILL)
        self.assertEqual(self.state(folder)[0], step)
        return self.state(folder)[1]
