"""Wall clocks that are wrong by an hour, and that jump by an hour while a job runs: of the coordinator, of a worker with its
rank, and of a rank alone, both ways (tests/support/wall_clock.cc). Nobody may notice: leases, deadlines, generations,
checkpoints and logs go by monotonic clocks, steps and numbers, and the last state is that of a run whose clocks were right.

    python3 clock_test.py PROGRAM WALL_CLOCK_LIBRARY
"""
import os
import re
import signal
import stat
import struct
import sys
import time

import program
from cluster_case import ACTIVE, QUIET, ClusterTest
from program import main

LIBRARY = ""
HOUR = 3600
LEASE = 3  # seconds, as the coordinator is told
CHANGES = {**QUIET, **ACTIVE, "run__steps": 50000, "checkpoint__every": 100, "sparsity__anneal_end": 0.02,
           "optim__warmup": 0.005}


class Clock:
    """How far the wall clock of some processes is ahead, in seconds."""

    def __init__(self, path, ahead=0):
        self.path = path
        self.set(ahead)
        self.env = {"LD_PRELOAD": LIBRARY, "FILIGREE_TEST_CLOCK": path}

    def set(self, ahead):
        self.ahead = ahead
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as file:
            file.write(struct.pack("<q", ahead * 10 ** 9))  # one write of 8 bytes


class ClockTest(ClusterTest):
    def begin(self, coordinator, worker, rank):
        """A job of three ranks: the clocks are those of the coordinator, of worker a with its rank, and of the rank of b."""
        self.clocks = {"coordinator": Clock(self.path("coordinator"), coordinator), "worker": Clock(self.path("worker"), worker),
                       "rank": Clock(self.path("rank"), rank)}
        self.coordinator.stop()
        self.coordinator = self.start_coordinator("127.0.0.1:0", **self.clocks["coordinator"].env)
        self.worker("a", **self.clocks["worker"].env)
        self.worker("b", "--program", self.wrapper(self.clocks["rank"]))
        self.worker("c")
        self.name = self.submit(self.config(**CHANGES), "--data=3", "--min-data=1")
        self.heard = self.watch(self.name, "--json")
        self.at(self.name, 1, 30, 3)

    def path(self, of):
        return os.path.join(self.folder, "clock-" + of)

    def wrapper(self, clock):
        """A program that sets the clock of a rank alone, and runs it."""
        path = os.path.join(self.folder, "filigree")
        with open(path, "w", encoding="utf-8") as script:
            words = " ".join(f'{name}="{value}"' for name, value in clock.env.items())
            script.write(f'#!/bin/sh\n{words} exec {os.path.abspath(program.PROGRAM)} "$@"\n')
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def are_wrong(self):
        """Are the clocks what the test thinks? By the times that the processes print beside what they say."""
        def ahead(lines):
            found = [re.match(r"(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)  ", line) for line in lines]
            printed = time.mktime((*map(int, [m for m in found if m][-1].groups()), 0, 0, -1))
            return round((printed - time.time()) / HOUR)
        told = {"coordinator": ahead(self.coordinator.lines), "worker": ahead(self.workers[0].lines)}
        self.assertEqual(told, {of: self.clocks[of].ahead // HOUR for of in told})

    def goes_on(self, generation, seconds):
        """It does for so long, in that generation, and nothing else happens."""
        begin, step = time.monotonic(), self.step_of(self.name)
        time.sleep(seconds)
        job = self.job(self.name)
        self.assertEqual((job["generation"], job["state"]), (generation, "running"), job["reason"])
        for kind in ("fault", "worker_lost"):
            self.assertEqual(self.heard.events(kind, begin), [])
        self.eventually(lambda: self.step_of(self.name) > step)  # told with a heartbeat

    def kill(self, what, kill, generation, data):
        """How long it takes until it is noticed, and until the next generation runs."""
        moment = time.monotonic()
        kill()
        self.at(self.name, generation, 1, data)
        again = time.monotonic() - moment
        moved = [at for at, event in self.heard.events("job_moved", moment) if event["to"] == "recovering"]
        print(f"{what} killed: noticed {moved[0] - moment:.2f} s, runs again {again:.2f} s", flush=True)

    def kill_rank(self, rank):
        os.kill(self.process_of(self.job(self.name), rank), signal.SIGKILL)

    def restart_coordinator(self):
        address = self.coordinator.address
        self.coordinator.stop(signal.SIGKILL)
        self.coordinator = self.start_coordinator(address, **self.clocks["coordinator"].env)

    def is_whole(self):
        """The job is drained, and its log and its bits are those of a run whose clocks were right."""
        self.at(self.name, self.job(self.name)["generation"], self.step_of(self.name) + 120)
        self.assertExit(self.ask("drain", self.name), 0)
        ended = self.ended(self.name, "cancelled")
        step, digest = self.state()
        self.assertEqual(ended["last_commit"]["step"], step)
        self.assertEqual([record["step"] for record in self.log("step")], list(range(step)))
        self.assertTrue(all(0 < record["ms"] < 60000 for record in self.log("step")))
        self.assertEqual(digest, self.alone_at(step, **CHANGES))
        print(f"{step} steps, state {digest}", flush=True)

    def apart(self, ahead):
        self.begin(coordinator=ahead, worker=-ahead, rank=ahead)
        self.are_wrong()
        self.goes_on(1, LEASE + 1)
        self.kill("a rank", lambda: self.kill_rank(1), 2, 3)
        self.restart_coordinator()
        self.goes_on(2, LEASE + 1)
        self.kill("a worker", self.workers[2].process.kill, 3, 2)
        self.is_whole()

    def test_the_coordinator_is_an_hour_ahead_and_a_worker_an_hour_behind(self):
        self.apart(HOUR)

    def test_the_coordinator_is_an_hour_behind_and_a_worker_an_hour_ahead(self):
        self.apart(-HOUR)

    def test_clocks_jump(self):
        self.begin(0, 0, 0)
        for of in ("coordinator", "worker", "rank"):
            for ahead in (HOUR, 0, -HOUR, 0):
                self.clocks[of].set(ahead)
                self.goes_on(1, 1)
            print(f"the clock of the {of} jumped four times", flush=True)
        self.clocks["coordinator"].set(-HOUR)
        self.clocks["worker"].set(HOUR)
        self.clocks["rank"].set(-HOUR)
        self.goes_on(1, LEASE + 1)
        self.kill("a rank", lambda: self.kill_rank(0), 2, 3)
        self.are_wrong()
        self.restart_coordinator()
        self.goes_on(2, LEASE + 1)
        self.clocks["worker"].set(-HOUR)
        self.clocks["coordinator"].set(HOUR)
        self.kill("a worker", self.workers[2].process.kill, 3, 2)
        self.is_whole()


if __name__ == "__main__":
    LIBRARY = sys.argv.pop()
    main()
