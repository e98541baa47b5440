"""A small cluster on this machine, of the real programs: a coordinator, workers, and jobs that a test submits to it."""
import json
import os
import re
import signal
import subprocess
import time

import program


def wait_until(what, happened, timeout=60, pause=0.05):
    """The first true value that `happened` gives; fails where there is none in time."""
    end = time.monotonic() + timeout
    while True:
        value = happened()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(pause)


class Process:
    """One program that goes on until it is killed; what it says is in the file `said`."""

    def __init__(self, arguments, said, env=None):
        self.arguments, self.said, self.env = [str(word) for word in arguments], said, env
        self.process = None

    def start(self):
        with open(self.said, "a", encoding="utf-8") as out:
            self.process = subprocess.Popen([program.PROGRAM, *self.arguments], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out, env={**os.environ, **(self.env or {})})
        return self

    def text(self):
        with open(self.said, encoding="utf-8", errors="replace") as lines:
            return lines.read()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def kill(self):
        """As the machine would: no time to say anything."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()


class Cluster:
    """`folder`: where everything lies. Use it in a `with` statement: at its end every process is killed."""

    def __init__(self, folder, lease=2, coordinator_flags=()):
        self.folder, self.lease = folder, lease
        self.address = None
        self.coordinator = Process(["coordinator", "--listen", "127.0.0.1:0", "--journal",
                                    os.path.join(folder, "journal.db"), "--lease", lease, *coordinator_flags],
                                   os.path.join(folder, "coordinator.log"))
        self.workers = {}

    def __enter__(self):
        self.start_coordinator()
        return self

    def __exit__(self, *_):
        for worker in self.workers.values():
            worker.signal(signal.SIGCONT)
            worker.kill()
        self.coordinator.kill()

    def start_coordinator(self):
        """The first time on any free port, then on that one."""
        before = len(self.coordinator.text()) if os.path.exists(self.coordinator.said) else 0
        if self.address:
            self.coordinator.arguments[2] = self.address
        self.coordinator.start()

        def listens():
            found = re.search(r"listens on ([^ ]+:\d+):", self.coordinator.text()[before:])
            if not found and not self.coordinator.running():
                raise AssertionError(f"the coordinator has ended: {self.coordinator.text()[before:]}")
            return found

        self.address = wait_until("the coordinator listens", listens).group(1)

    def add_worker(self, name, slots=1, env=None, flags=()):
        worker = Process(["worker", "--coordinator", self.address, "--name", name, "--host", name, "--slots", slots,
                          "--workdir", self.folder, *flags], os.path.join(self.folder, f"worker-{name}.log"),
                         env={"FILIGREE_HOST": "127.0.0.1", **(env or {})})
        self.workers[name] = worker.start()
        return worker

    def ask(self, *arguments, timeout=30):
        """A command of a user that must succeed; its standard output."""
        done = program.run(*arguments, "--coordinator", self.address, timeout=timeout + 10)
        if done.returncode != 0:
            raise AssertionError(f"filigree {' '.join(map(str, arguments))}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def submit(self, config, *arguments):
        return self.ask("submit", config, *arguments).strip()

    def job(self, name):
        return json.loads(self.ask("jobs", name, "--json"))

    def await_job(self, name, *states, timeout=120):
        """The job, once it is in one of these states; fails where it ends in another one."""
        def there():
            job = self.job(name)
            if job["state"] in ("done", "failed", "cancelled") and job["state"] not in states:
                raise AssertionError(f"job {name} is {job['state']}: {job.get('reason')}")
            return job if job["state"] in states else None
        return wait_until(f"job {name} is {' or '.join(states)}", there, timeout, pause=0.1)

    def rank_pids(self, worker=None):
        """Processes of ranks, of one worker or of all."""
        agents = [w.process.pid for name, w in self.workers.items() if worker in (None, name) and w.running()]
        return [pid for pid, parent, words in processes() if parent in agents and b"train" in words]


def processes():
    """(pid, parent, words) of every process there is."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stat:
                parent = int(stat.read().rsplit(b")", 1)[1].split()[1])
            with open(f"/proc/{entry}/cmdline", "rb") as line:
                words = line.read().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue  # it has ended meanwhile
        yield int(entry), parent, words
