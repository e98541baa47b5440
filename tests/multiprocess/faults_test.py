"""Faults of one rank of a cluster's job, which the coordinator names: a rank that hangs, whose state differs, that runs out of
memory, whose port is taken, that is configured wrongly; and ranks that are to be gone and are not. Prints what each took.
"""
import contextlib
import json
import os
import re
import signal
import socket
import stat
import time
import unittest

import program
from cluster import lives
from cluster_case import ACTIVE, QUIET, ClusterTest, get
from program import main

RUN = {**QUIET, **ACTIVE, "run__steps": 50000, "checkpoint__every": 100, "sparsity__anneal_end": 0.02, "optim__warmup": 0.005,
       "parallel__stuck_after": 5}  # as it is by default
DATA_KIB = 110 << 10  # enough to begin, and too little to train
RESTARTS = 3  # without progress, by default
MEMORY = "/sys/fs/cgroup/memory"  # version 1


class FaultsTest(ClusterTest):
    def faults_of(self, worker):
        path = os.path.join(self.folder, "faults-" + worker)
        os.makedirs(path, exist_ok=True)
        return path

    def wrapper(self, *lines):
        """A program that does this first, and then runs a rank."""
        path = os.path.join(self.folder, "filigree")
        with open(path, "w", encoding="utf-8") as script:
            script.write("\n".join(["#!/bin/sh", *lines, f'exec {os.path.abspath(program.PROGRAM)} "$@"', ""]))
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def begin(self, step=30, program=None, env=None, **changes):
        """A job whose ranks are on workers a, b and c; that of b is another program, or has more in its environment."""
        self.changes = {**RUN, **changes}
        self.name = self.submit(self.config(**self.changes), "--data=3")
        self.heard = self.watch(self.name, "--json")
        self.told = self.watch(self.name)
        self.eventually(lambda: self.heard.lines and self.told.lines)  # nothing happens yet that they could miss
        for name in ("a", "b", "c"):
            flags = ("--program", program) if program and name == "b" else ()
            self.worker(name, *flags, FILIGREE_FAULTS=self.faults_of(name), **(env if env and name == "b" else {}))
        if step:
            self.at(self.name, 1, step)

    def needs_little_memory(self):
        if program.slowdown() > 1:
            self.skipTest("a sanitizer keeps a shadow of all memory")

    def rank_of(self, worker):
        return next(r["rank"] for r in self.job(self.name)["ranks"] if r["worker"] == worker)

    def goes_on(self, what, since, generation, *words):
        """The coordinator tells of the fault in these words, and the run goes on; prints how soon, and what was lost."""
        last, notes = self.log("step")[-1]["step"], len(self.log("note"))
        at, event = self.eventually(lambda: next(iter(self.heard.events("fault", since)), None))
        for word in words:
            self.assertRegex(event["text"], word)
        self.eventually(lambda: any("fault: " in line and re.search(words[0], line) for line in self.told.lines), 5)
        self.at(self.name, generation, 0)
        note = self.eventually(lambda: self.log("note")[notes:])[-1]
        self.eventually(lambda: self.log("step")[-1]["step"] >= note["step"])
        print(f"{what}: noticed {at - since:.1f} s, on its way again {time.monotonic() - since:.1f} s, "
              f"{max(0, last + 1 - note['step'])} steps lost: {event['text'][:300]}", flush=True)
        return event

    def is_whole(self, **env):
        """The job is drained; its log and its bits are those of a run alone, with this environment, that nothing happened to."""
        self.at(self.name, self.job(self.name)["generation"], self.step_of(self.name) + 120)
        self.assertExit(self.ask("drain", self.name), 0)
        self.ended(self.name, "cancelled")
        step, digest = self.state()
        self.assertEqual([record["step"] for record in self.log("step")], list(range(step)))
        self.assertEqual(digest, self.alone_at(step, env=env, **self.changes))
        print(f"{step} steps, state {digest}", flush=True)

    def complete(self):
        return len(self.log("step"))

    def put(self, *faults):
        for fault in faults:
            with open(os.path.join(self.faults_of("b"), fault), "w", encoding="utf-8"):
                pass

    def taken(self):
        """When the rank of b took one of the faults that are there; the others are taken away."""
        folder = self.faults_of("b")
        there = set(os.listdir(folder))
        self.eventually(lambda: set(os.listdir(folder)) != there)
        moment = time.monotonic()
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # taken meanwhile
                os.unlink(os.path.join(folder, name))
        return moment

    def gone(self, what, since, pids):
        """No such process is there any more, in time."""
        self.eventually(lambda: not any(map(lives, pids)), seconds=15)
        print(f"{what}: gone after {time.monotonic() - since:.1f} s", flush=True)

    def test_a_rank_that_hangs_is_named(self):
        self.begin()
        # hang: its other threads answer, and say that it makes no progress; stop: nobody answers. Whoever reports it first,
        # the rank that does nothing is named.
        for generation, fault, words in ((2, "hang", "made no progress for .* of step"), (3, "stop", "told nothing|no answer")):
            rank = self.rank_of("b")
            process, at = self.process_of(self.job(self.name), rank), self.complete()
            self.put(*(f"{fault}:forward:{step}" for step in range(at + 40, at + 100)))
            moment = self.taken()
            self.goes_on(f"a rank does nothing any more ({fault})", moment, generation, words, f"rank {rank} on ")
            self.gone("its process", moment, [process])
        self.is_whole()

    def test_a_rank_whose_state_differs_is_named(self):
        # All go back to the last checkpoint in the same generation.
        at = 350
        self.begin(env={"FILIGREE_FAULT": f"flip:update:{at}"})
        rank = self.rank_of("b")
        self.eventually(lambda: self.complete() >= at - 1)
        moment = time.monotonic()
        said = self.eventually(lambda: re.search(r"rank 0 \| (.*going back to the last checkpoint.*)", self.ask("logs", self.name).stdout))
        noticed = time.monotonic() - moment
        self.assertIn(f"the state of rank {rank} is in doubt", said.group(1))
        self.eventually(lambda: self.complete() > at + 1)
        print(f"a bit of a weight of one rank flipped in step {at}: said at most {noticed:.1f} s, step {at + 1} done at most "
              f"{time.monotonic() - moment:.1f} s later: {said.group(1)[:300]}", flush=True)
        self.assertEqual(self.job(self.name)["generation"], 1)
        self.is_whole()

    def test_what_one_rank_miscalculated_is_computed_again(self):
        self.begin(step=60)
        for fault, note in (("nan:gradient", r"step (\d+) was not finite and is now: computed again"),
                            ("huge:loss", r"step (\d+): the loss was \d+\.\d+, and computed again .*: a machine miscalculated")):
            at = self.complete() + 40
            self.put(*(f"{fault}:{step}" for step in range(at, at + 60)))
            moment = self.taken()
            said = self.eventually(lambda n=note: next(filter(None, (re.search(n, one["text"]) for one in self.log("note"))), None))
            self.eventually(lambda s=int(said.group(1)): self.complete() > s)
            print(f"{fault} on one rank: computed again and on its way at most {time.monotonic() - moment:.2f} s later: "
                  f"{said.group(0)}", flush=True)
        self.assertEqual(self.job(self.name)["generation"], 1)
        self.is_whole()

    def test_a_step_that_stays_no_number_is_left_out_by_all(self):
        at = 200
        self.begin(env={"FILIGREE_FAULT": f"nan:gradient:{at}"})
        said = self.eventually(lambda: next((one["text"] for one in self.log("note") if "changes nothing" in one["text"]), None))
        self.assertIn(f"step {at}: ", said)
        self.assertEqual(self.job(self.name)["generation"], 1)
        self.is_whole(FILIGREE_FAULT=f"nan:gradient:{at}")
        print(said, flush=True)

    def test_a_rank_that_is_refused_memory_is_named(self):
        self.needs_little_memory()
        once = os.path.join(self.folder, "once")
        with open(once, "w", encoding="utf-8"):
            pass
        moment = time.monotonic()
        self.begin(step=0, program=self.wrapper(f"if rm {once} 2>/dev/null; then ulimit -d {DATA_KIB}; fi"))
        self.starts_after(f"a rank was refused more than {DATA_KIB >> 10} MiB of data", moment, r"exit code 6 \(out of memory\)",
                          "rank . on worker b")
        self.is_whole()

    @unittest.skipUnless(os.access(MEMORY, os.W_OK), "no cgroup for memory to make")
    def test_a_rank_that_the_kernel_kills_for_want_of_memory_is_named(self):
        self.needs_little_memory()
        group = os.path.join(MEMORY, f"filigree-test-{os.getpid()}")
        os.mkdir(group)
        self.addCleanup(os.rmdir, group)
        with open(os.path.join(group, "memory.limit_in_bytes"), "w", encoding="utf-8") as limit:
            limit.write(str(12 << 20))
        once = os.path.join(self.folder, "once")
        with open(once, "w", encoding="utf-8"):
            pass
        moment = time.monotonic()
        self.begin(step=0, program=self.wrapper(f"if rm {once} 2>/dev/null; then echo $$ > {group}/cgroup.procs; fi"))
        self.starts_after("a rank had 12 MiB", moment, "out of memory", "rank . on worker b")
        self.is_whole()

    def starts_after(self, what, since, *words):
        """The first generation ends by that fault before its first step, the second one runs."""
        at, event = self.eventually(lambda: next(iter(self.heard.events("fault", since)), None))
        for word in words:
            self.assertRegex(event["text"], word)
        self.at(self.name, 2, 0)
        print(f"{what}: runs {time.monotonic() - at:.1f} s after the coordinator was told: {event['text'][:300]}", flush=True)

    def test_a_port_that_is_taken_gives_way(self):
        self.coordinator.stop()
        self.coordinator = self.start_coordinator("127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.begin(telemetry__listen=f"127.0.0.1:{port}")
            page = next(line.split("http://")[1].split("/")[0] for line in self.coordinator.lines if "http://" in line)
            ports = [int(target.rsplit(":", 1)[1]) for group in json.loads(get(f"http://{page}/sd")) for target in group["targets"]]
        self.assertEqual(len(set(ports)), 3, ports)
        self.assertNotIn(port, ports)
        self.assertEqual(self.heard.events("fault"), [])
        print(f"port {port} was taken: ranks show their metrics on {sorted(ports)}", flush=True)

    def test_a_rank_that_is_configured_wrongly_is_named_and_not_started_for_ever(self):
        moment = time.monotonic()
        self.begin(step=0, program=self.wrapper('set -- "$@" --model.d_model=33'))
        job = self.ended(self.name, "failed")
        self.eventually(lambda: len(self.heard.events("fault", moment)) > RESTARTS)  # `watch` is another process
        faults = self.heard.events("fault", moment)
        self.assertEqual(len(faults), RESTARTS + 1)
        for _, event in faults:
            self.assertRegex(event["text"], r"rank 1 on .*model.d_model=33.* \(exit code 2 \(bad configuration\)\)")
        self.assertIn(f"{RESTARTS + 1} faults in a row without progress", job["reason"])
        self.assertIn("bad configuration", self.ask("jobs", self.name).stdout)
        print(f"a rank was configured wrongly: {len(faults)} starts in {faults[-1][0] - moment:.1f} s, then failed: "
              f"{job['reason'][:300]}", flush=True)
        self.eventually(lambda: not self.processes(), seconds=15)

    def test_ranks_that_are_to_be_gone_are(self):
        child = os.path.join(self.folder, "child")
        self.begin(program=self.wrapper(f"setsid sh -c 'trap \"\" TERM INT HUP; echo $$ > {child}; sleep 600' &"))
        ranks = {r["worker"]: self.process_of(self.job(self.name), r["rank"]) for r in self.job(self.name)["ranks"]}
        with open(child, encoding="utf-8") as pid:
            ranks["child of b"] = int(pid.read())
        # One runs, one hangs and has a child that hears no signal in a session of its own, one is stopped.
        at = self.complete()
        self.put(*(f"hang:forward:{step}" for step in range(at + 40, at + 100)))
        self.taken()
        os.kill(ranks["c"], signal.SIGSTOP)
        moment = time.monotonic()
        self.assertExit(self.ask("cancel", self.name), 0)
        left = dict(ranks)
        def look():
            for name in [name for name, pid in left.items() if not lives(pid)]:
                print(f"the job was cancelled, {name}: gone after {time.monotonic() - moment:.1f} s", flush=True)
                left.pop(name)
            return not left
        self.eventually(look, seconds=15)
        self.ended(self.name, "cancelled")
        print(f"the coordinator says so after {time.monotonic() - moment:.1f} s", flush=True)

    def test_ranks_go_with_their_worker(self):
        self.begin()
        b = next(worker for worker in self.workers if worker.name == "b")
        process = self.process_of(self.job(self.name), self.rank_of("b"))
        os.kill(process, signal.SIGSTOP)
        moment = time.monotonic()
        b.process.kill()
        self.gone("the worker of a rank that was stopped was killed; the rank", moment, [process])


if __name__ == "__main__":
    main()
