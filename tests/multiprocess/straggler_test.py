"""A rank of a cluster's job that becomes slow while it runs, and is not any more later. The coordinator names it, with the
phase, everywhere where somebody may look; the run goes on, to the bits of one whose ranks were all as fast.

    STRAGGLER_FACTOR=2 python3 straggler_test.py PROGRAM      # how many times as long its forward and backward take
"""
import json
import os
import re
import time

from cluster_case import ENDLESS, QUIET, ClusterTest, get
from program import main

FACTOR = int(os.environ.get("STRAGGLER_FACTOR", "4"))
SLOW = 1  # the rank
# A step of some tenths of a second. How soon is printed and not held to a bound: coordinator/core/stragglers_test does that.
CHANGES = {**QUIET, "parallel__stuck_after": 5, "model__d_model": 128, "model__n_layer": 4, "model__n_ctx": 128,
           "train__batch": 12, "run__steps": ENDLESS, "checkpoint__every": ENDLESS, "telemetry__listen": "127.0.0.1:0"}


class StragglerTest(ClusterTest):
    FLAGS = ("--metrics-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0")

    def setUp(self):
        super().setUp()
        self.faults = {}
        for name in ("a", "b", "c"):
            self.faults[name] = os.path.join(self.folder, "faults-" + name)
            os.makedirs(self.faults[name])
            self.worker(name, FILIGREE_FAULTS=self.faults[name])
        pages = re.findall(r"http://([0-9.]+:[0-9]+)", self.eventually(
            lambda: (text := "".join(self.coordinator.lines)).count("http://") >= 2 and text))
        self.metrics = next(page for page in pages if self.answers(page, "/metrics"))
        self.console = next(page for page in pages if self.answers(page, "/api/state"))

    @staticmethod
    def answers(page, path):
        try:
            return bool(get(f"http://{page}{path}"))
        except OSError:
            return False

    def slow_down(self, worker, slow):
        for phase in ("forward", "backward"):
            place = os.path.join(self.faults[worker], f"slow:{phase}:{FACTOR}")
            if slow:
                with open(place, "w", encoding="utf-8"):
                    pass
            else:
                os.unlink(place)

    def complete_steps(self):
        return len(self.log("step"))

    def said(self, watch, kind, since):
        """(seconds, steps, event) until that was said of the rank."""
        begin = self.complete_steps()
        at, event = self.eventually(lambda: next((e for e in watch.events(kind, since) if e[1]["rank"] == SLOW), None))
        return at - since, self.complete_steps() - begin, event

    def own_work(self, name):
        """{rank: seconds of own work until now}, of the ranks' pages, as the alert counts them."""
        targets = [t for group in json.loads(get(f"http://{self.metrics}/sd")) for t in group["targets"]]
        self.assertEqual(len(targets), 3)
        work = {}
        for target in targets:
            for rank, phase, value in re.findall(
                    rf'filigree_step_phase_seconds_total{{run_id="{name}",rank="(\d+)",phase="(\w+)"}} (\S+)',
                    get(f"http://{target}/metrics")):
                work[int(rank)] = work.get(int(rank), 0) + (float(value) if phase not in ("exchange", "checkpoint") else 0)
        return work

    def is_shown(self, name, worker):
        """Wherever somebody may look while the rank is slow."""
        job = self.job(name)
        slow = {rank["rank"]: rank for rank in job["progress"]["slow"]}
        self.assertIn(SLOW, slow, job)
        self.assertIn(slow[SLOW]["phase"], ("forward", "backward"))
        self.assertEqual(slow[SLOW]["worker"], worker)
        self.assertTrue(next(rank for rank in job["ranks"] if rank["rank"] == SLOW)["straggler"])
        self.assertRegex(self.ask("jobs", name).stdout, rf"rank {SLOW} on {worker}: [0-9.]+ times the median, mostly in")
        page = get(f"http://{self.metrics}/metrics")
        self.assertRegex(page, rf'filigree_straggler_ratio{{run_id="{name}",rank="{SLOW}",phase="(forward|backward)"}} ')
        seen = json.loads(get(f"http://{self.console}/api/job?id={name}"))
        self.assertIn((SLOW, worker), [(rank["rank"], rank["worker"]) for rank in seen["slow_ranks"]])
        return slow[SLOW]

    def test_a_slow_rank_is_named_until_it_keeps_up(self):
        name = self.submit(self.config(**CHANGES), "--data=3")
        worker = self.worker_of(self.at(name, 1, 12), SLOW)
        watch, lines = self.watch(name, "--json"), self.watch(name)
        self.eventually(lambda: watch.lines and lines.lines)
        usual = self.log("step")[-1]["ms"]

        moment = time.monotonic()
        self.slow_down(worker, True)
        seconds, steps, event = self.said(watch, "straggler", moment)
        print(f"a step took {usual:.0f} ms; rank {SLOW} slowed down {FACTOR} times; named {seconds:.1f} s, {steps} steps later: "
              f"{event['text']}", flush=True)
        self.assertRegex(event["text"], "mostly in (forward|backward)")
        self.assertEqual(event["worker"], worker)
        self.assertTrue(any(f"straggler: rank {SLOW} on worker {worker} works" in line for line in lines.lines), lines.lines)
        print(f"jobs, console, metric: {self.is_shown(name, worker)}", flush=True)
        before = self.own_work(name)
        self.at(name, 1, self.complete_steps() + 5)
        work = {rank: seconds - before[rank] for rank, seconds in self.own_work(name).items()}
        print("own work of the ranks, s:", {rank: round(seconds, 2) for rank, seconds in sorted(work.items())}, flush=True)
        self.assertGreater(work[SLOW], 1.5 * sorted(work.values())[1])  # FiligreeStraggler

        moment = time.monotonic()
        self.slow_down(worker, False)
        seconds, steps, event = self.said(watch, "straggler_caught_up", moment)
        print(f"as fast as the others again; said {seconds:.1f} s, {steps} steps later", flush=True)
        self.assertEqual([rank["rank"] for rank in self.job(name)["progress"]["slow"] if rank["rank"] == SLOW], [])
        self.assertNotIn(f'filigree_straggler_ratio{{run_id="{name}",rank="{SLOW}"', get(f"http://{self.metrics}/metrics"))
        named = [event["rank"] for _, event in watch.events("straggler")]
        print(f"named in all: ranks {named}", flush=True)

        self.assertExit(self.ask("drain", name), 0)
        ended = self.ended(name, "cancelled")
        self.assertEqual(ended["restarts"], 0)
        step, digest = self.state()
        self.assertEqual(digest, self.alone_at(step, **{**CHANGES, "telemetry__listen": "", "run__threads": 2}))
        print(f"{step} steps, state {digest}", flush=True)


if __name__ == "__main__":
    main()
