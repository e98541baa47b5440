"""Two hundred kills: ranks at random moments, inside phases of a step, in saves and around commits, workers, and the
coordinator, of jobs that run on a small cluster of this machine. Every job ends in the bits of one that nothing happened
to. Prints a line of JSON for every kill and a table of what it took.

    SOAK_KILLS=200 SOAK_SEED=1 python3 soak.py PROGRAM
"""
import json
import os
import random
import signal
import statistics
import subprocess
import threading
import time

import program
from cluster import Coordinator, Worker
from program import ProgramTest, main, run

KILLS = int(os.environ.get("SOAK_KILLS", "200"))
SEED = int(os.environ.get("SOAK_SEED", "20261129"))
LEASE = 3  # seconds
STEPS = 3000  # of a job
CHANGES = {"sparsity__regime": "active", "sparsity__density_start": "1/4", "sparsity__embedding_density_start": "1/2",
           "sparsity__candidates": 1.5, "sparsity__refresh_every": 3, "eval__every": 0, "sample__every": 0,
           "run__threads": 1, "parallel__stuck_after": 2, "parallel__overlap": "on", "checkpoint__every": 100,
           "run__steps": STEPS}
PHASES = ["data", "forward", "exchange", "overlap", "optimizer", "topk", "refresh", "log"]
AT_SAVES = ["checkpoint", "commit", "committed"]
OPERATIONS = 12  # of one save that are hit


def generation_of(said):
    """Of an event, a snapshot or progress; 0: it is of none."""
    return said.get("snapshot", said.get("progress", said)).get("generation", 0)


class Hit:
    """A moment at which harm was done, and what there was: the log as the ranks of then write it, since the next
    generation puts a file of its own in its place, and the newest generation that was heard of with its ranks: of one
    nothing lives on."""

    def __init__(self, run_dir, watch):
        self.at, self.wall = time.monotonic(), time.time()
        self.generation, self.ranks = watch.generation()
        self.log = open(os.path.join(run_dir, "steps.jsonl"), "rb")

    def last_step(self):
        """What those ranks have done in the end; -1: no step."""
        with self.log:
            lines = self.log.read().split(b"\n")[:-1]
        return max([json.loads(line)["step"] for line in lines if b'"kind":"step"' in line], default=-1)


class Watch:
    """What the coordinator says of a job, as it happens: (seconds of the monotonic clock, object)."""

    def __init__(self, address, job):
        self.process = subprocess.Popen([program.PROGRAM, "watch", "--json", "--coordinator", address, job],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.heard, self.lock = [], threading.Lock()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.lock:
                self.heard.append((time.monotonic(), json.loads(line)))

    def since(self, moment):
        with self.lock:
            return [(at, said) for at, said in self.heard if at >= moment]

    def step(self):
        with self.lock:
            steps = [said["progress"]["step"] for _, said in self.heard if "progress" in said]
        return steps[-1] if steps else 0

    def generation(self):
        """The newest that was heard of, and how many ranks it has."""
        with self.lock:
            newest = max([generation_of(said) for _, said in self.heard], default=0)
            told = [said["progress"]["ranks"] for _, said in self.heard
                    if "progress" in said and generation_of(said) == newest]
        return newest, told[-1] if told else None

    def state(self):
        with self.lock:
            for _, said in reversed(self.heard):
                if said.get("event") == "job_moved":
                    return said["to"]
                if "snapshot" in said:
                    return said["snapshot"]["state"]
        return ""

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join(timeout=10)
        self.process.stdout.close()


class Soak(ProgramTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(SEED)
        self.faults = os.path.join(self.folder, "faults")
        os.makedirs(self.faults)
        self.workers, self.kills = {}, []
        self.coordinator = self.start_coordinator()
        for name in ("a", "b", "c"):
            self.start_worker(name)
        self.addCleanup(self.end_all)

    def end_all(self):
        for worker in self.workers.values():
            worker.stop(signal.SIGKILL)
        self.coordinator.stop(signal.SIGKILL)

    def start_coordinator(self, listen="127.0.0.1:0"):
        started = Coordinator(os.path.join(self.folder, "journal.db"), "--lease", str(LEASE), listen=listen)
        self.assertIsNotNone(started.address, "".join(started.lines))
        return started

    def start_worker(self, name):
        self.workers[name] = Worker(self.folder, name, self.coordinator.address, "--slots", "1",
                                    FILIGREE_HOST="127.0.0.1", FILIGREE_FAULTS=self.faults)

    def eventually(self, what, seconds, words):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.02)
        said = "".join(f"\n--- {name}\n{worker.said[-3000:]}" for name, worker in self.workers.items())
        return self.fail(f"{words}: not within {seconds} s; kills so far {json.dumps(self.kills[-5:])}"
                         f"\n--- coordinator\n{''.join(self.coordinator.lines[-40:])}{said}")

    def ranks(self, workers=None):
        """Process ids of all ranks, or of those of some workers."""
        found = []
        for worker in workers or self.workers.values():
            children = subprocess.run(["pgrep", "-P", str(worker.process.pid)], capture_output=True, text=True, check=False)
            found += [int(pid) for pid in children.stdout.split()]
        return found

    def with_rank(self):
        """A worker that has one; None: nobody has."""
        names = [name for name, worker in sorted(self.workers.items()) if self.ranks([worker])]
        return self.rng.choice(names) if names else None

    def went_on_at(self, hit):
        """The step at which the next generation has begun; None: there was none, the run was over."""
        begun = [record for record in self.log("run", self.run_dir) if record["started"] > hit.wall]
        return begun[0]["step"] if begun else None

    def hit(self, watch):
        return Hit(self.run_dir, watch)

    # Each does its harm and gives back its Hit and what is to follow: a fault, or nothing that is noticed.

    def kill_rank(self, watch):
        def killed():
            pids = self.ranks()
            try:
                return pids and (os.kill(self.rng.choice(pids), signal.SIGKILL) or True)
            except ProcessLookupError:
                return False  # it has ended by itself meanwhile
        self.eventually(killed, 30, "there are ranks")
        return self.hit(watch), True

    def kill_inside(self, watch):
        """At a place of the program: a file that the rank which comes there takes away before it dies."""
        step = watch.step()
        if self.rng.random() < 0.6:
            places = [f"kill:{self.rng.choice(PHASES)}:{step + ahead}" for ahead in range(40, 100)]
        else:
            save = (step // 100 + 1) * 100
            places = ([f"kill:save:{self.rng.randrange(OPERATIONS)}"] if self.rng.random() < 0.5 else
                      [f"kill:{self.rng.choice(AT_SAVES)}:{at}" for at in (save - 1, save)])
        # Several steps, since the run goes on while the files are made: the first that is hit is the one.
        for place in places:
            with open(os.path.join(self.faults, place), "w", encoding="utf-8"):
                pass
        taken = self.taken(places)
        hit = self.hit(watch)
        for place in places:
            try:
                os.unlink(os.path.join(self.faults, place))
            except FileNotFoundError:
                pass
        self.place = taken or "none"
        return hit, bool(taken)

    def taken(self, places, seconds=4):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            missing = set(places) - set(os.listdir(self.faults))
            if missing:
                return sorted(missing)[0]
            time.sleep(0.005)
        return None

    def kill_worker(self, watch):
        """With its rank; another one takes its name some time later."""
        name = self.eventually(self.with_rank, 30, "a worker has a rank")
        self.workers[name].stop(signal.SIGKILL)
        hit = self.hit(watch)
        time.sleep(self.rng.choice([0, 0.5, LEASE + 1]))
        self.start_worker(name)
        return hit, True

    def kill_coordinator(self, watch):
        address = self.coordinator.address
        self.coordinator.stop(signal.SIGKILL)
        hit = self.hit(watch)
        away = self.rng.choice([0, 0, 0.5, LEASE + 2])
        time.sleep(away)
        self.coordinator = self.start_coordinator(address)
        return hit, away > LEASE

    def kill_both(self, watch):
        """A rank while nobody is there to hear of it."""
        address = self.coordinator.address
        self.coordinator.stop(signal.SIGKILL)
        hit, _ = self.kill_rank(watch)
        self.coordinator = self.start_coordinator(address)
        self.kills.append({"what": "coordinator", "with": "rank"})
        return hit, True

    def disturb(self, watch):
        kind, harm = self.rng.choice([("rank", self.kill_rank), ("rank", self.kill_rank), ("inside", self.kill_inside),
                                      ("inside", self.kill_inside), ("inside", self.kill_inside),
                                      ("worker", self.kill_worker), ("coordinator", self.kill_coordinator),
                                      ("coordinator", self.kill_coordinator), ("both", self.kill_both)])
        self.place = ""
        step = watch.step()
        hit, noticed = harm(watch)
        if kind == "inside" and not noticed:
            hit.log.close()
            return  # nobody came there in time
        kill = {"what": kind, "place": self.place, "step": step, "ranks": hit.ranks}
        self.kills.append(kill)
        if noticed:
            self.follow(watch, hit, kill)
            done, kill["went_on_at"] = hit.last_step() + 1, self.went_on_at(hit)
            # The log of a writer that is lost may lack the last step, which others have done.
            kill["steps_lost"] = None if kill["went_on_at"] is None else max(0, done - kill["went_on_at"])
        else:
            hit.log.close()
            self.eventually(lambda: watch.step() > step or watch.state() == "done", 60, "the run goes on")
            kill["recovery_s"] = round(time.monotonic() - hit.at, 3)
        print(json.dumps(kill), flush=True)

    def follow(self, watch, hit, kill):
        """Until the run is on its way again, in a later generation than that one. A coordinator that has just been started
        says of the one that was hit that it runs: it has not heard of the fault yet."""
        def fault():
            return [at for at, said in watch.since(hit.at) if said.get("event") in ("fault", "worker_lost")
                    or said.get("to") == "recovering" or said.get("snapshot", {}).get("state") == "recovering"]

        def again():
            if watch.state() == "done":
                return time.monotonic()
            heard = [(at, said) for at, said in watch.since(hit.at) if generation_of(said) > hit.generation]
            runs = [at for at, said in heard if said.get("to") == "running"
                    or said.get("snapshot", {}).get("state") == "running"]
            steps = [at for at, said in heard if "progress" in said and runs and at > runs[-1]]
            return steps[-1] if runs and steps else None
        at = self.eventually(again, 90, f"the run is on its way again after {kill}")
        noticed = fault()
        kill["detection_s"] = round(noticed[0] - hit.at, 3) if noticed else None
        kill["recovery_s"] = round(at - hit.at, 3)

    def one_job(self, number, expected):
        self.run_dir = os.path.join(self.folder, f"run-{number}")
        submitted = run("submit", "--coordinator", self.coordinator.address, self.config(f"job-{number}.toml", **CHANGES),
                        "--data=3", "--min-data=1", "--restart-limit=1000", "--name=soak")
        self.assertExit(submitted, 0)
        job = submitted.stdout.strip()
        watch = Watch(self.coordinator.address, job)
        try:
            self.eventually(lambda: watch.step() > 5, 60, "the run has begun")
            while watch.state() != "done" and len(self.kills) < KILLS:
                self.disturb(watch)
                time.sleep(self.rng.uniform(0.2, 1.0))
            self.eventually(lambda: watch.state() == "done", 300, f"job {job} is done")
        finally:
            watch.end()
        self.assertEqual(self.state(self.run_dir), expected, f"job {job} has ended in other bits")
        steps = [record["step"] for record in self.log("step")]
        self.assertEqual(len(steps), len(set(steps)), "a step stands in the log twice")

    def test_every_job_ends_in_the_bits_of_one_that_nothing_happened_to(self):
        print(f"seed {SEED}, {KILLS} kills", flush=True)
        alone = os.path.join(self.folder, "alone")
        self.assertExit(self.train(self.config("alone.toml", **{**CHANGES, "run__dir": alone}), "--quiet"), 0)
        expected = self.state(alone)
        number = 0
        while len(self.kills) < KILLS:
            number += 1
            self.one_job(number, expected)
        self.report(number)

    def report(self, jobs):
        print(f"{len(self.kills)} kills in {jobs} jobs of {STEPS} steps, all with the same hash", flush=True)
        for what in sorted({kill["what"] for kill in self.kills}):
            kills = [kill for kill in self.kills if kill["what"] == what]
            for figure in ("detection_s", "recovery_s", "steps_lost"):
                values = sorted(kill[figure] for kill in kills if kill.get(figure) is not None)
                if values:
                    print(f"{what:12} {len(kills):4} {figure:12} median {statistics.median(values):6.2f} "
                          f"largest {values[-1]:6.2f}", flush=True)


if __name__ == "__main__":
    main()
