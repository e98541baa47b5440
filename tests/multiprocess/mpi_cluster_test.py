"""Jobs of one mpirun, which a worker starts (backend mpi): the coordinator sees its ranks, commits their checkpoints, and
starts them anew from the last one when one of them is lost."""
import hashlib
import json
import os
import signal
import subprocess

import reports
from cluster import lives
from cluster_case import ACTIVE, ENDLESS, QUIET, ClusterTest, get
from program import main


class MpiClusterTest(ClusterTest):
    FLAGS = ("--metrics-listen", "127.0.0.1:0")

    def setUp(self):
        super().setUp()
        self.first = self.worker("a", slots=2, **reports.WITHOUT_LEAKS)

    def submit_ranks(self, **changes):
        return self.submit(self.config(**{**QUIET, **changes}), "--backend=mpi", "--data=2")

    def ranks(self):
        """{rank: pid} of the processes that an mpirun of a worker has started."""
        found = {}
        for launcher in self.processes():
            children = subprocess.run(["pgrep", "-P", str(launcher)], capture_output=True, text=True, check=False)
            for pid in children.stdout.split():
                with open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as environment:
                    variables = dict(word.split("=", 1) for word in environment.read().split("\0") if "=" in word)
                found[int(variables["OMPI_COMM_WORLD_RANK"])] = int(pid)
        return found

    def test_a_job_is_seen_while_it_runs_and_drained(self):
        name = self.submit_ranks(run__steps=ENDLESS, checkpoint__every=ENDLESS, eval__every=6,
                                 telemetry__listen="127.0.0.1:0")
        watch = self.watch(name, "--json")
        self.at(name, 1, 20)
        self.assertEqual(sorted(self.ranks()), [0, 1])
        ranks = self.eventually(lambda: (r := self.job(name)["ranks"]) and min(rank["step"] for rank in r) >= 20 and r)
        self.assertEqual([(rank["rank"], rank["state"]) for rank in ranks], [(0, "running"), (1, "running")])
        page = next(line.split("http://")[1].split("/")[0] for line in self.coordinator.lines if "http://" in line)

        def targets():
            found = [target for group in json.loads(get(f"http://{page}/sd")) for target in group["targets"]]
            return found if len(found) == 2 else None

        for target in self.eventually(targets):
            text = get(f"http://{target}/metrics")
            self.assertIn(f'filigree_step_duration_seconds_count{{run_id="{name}"', text)
        text = get(f"http://{page}/metrics")
        self.assertIn(f'filigree_val_loss_nats{{run_id="{name}"}}', text)
        with open(os.path.join(self.run_dir, "config.toml"), "rb") as settings:
            digest = hashlib.sha256(settings.read()).hexdigest()
        self.assertRegex(text, f'filigree_run_info{{run_id="{name}",.*config_sha256="{digest}"')
        self.assertExit(self.ask("drain", name), 0)
        drained = self.ended(name, "cancelled")
        self.assertEqual(watch.end(), 75, watch.lines[-5:])
        step = self.state()[0]
        self.assertEqual((drained["last_commit"]["step"], drained["restarts"]), (step, 0))
        self.assertEqual(step, len(self.log("step")))
        self.eventually(lambda: not self.processes(), seconds=10)

    def test_a_killed_rank_is_named_and_costs_no_bit(self):
        changes = {**ACTIVE, "run__steps": 120, "checkpoint__every": 20}
        name = self.submit_ranks(**changes)
        watch = self.watch(name, "--json")
        self.eventually(lambda: self.job(name).get("last_commit", {}).get("step", 0) >= 20)
        os.kill(self.ranks()[1], signal.SIGKILL)
        ended = self.ended(name)
        self.assertEqual((ended["restarts"], ended["generation"]), (1, 2))
        self.assertEqual(ended["last_commit"]["step"], 120)
        self.assertEqual(ended["last_commit"]["generation"], 2)
        self.assertIn("generation 1 rank 1: failed: host host-a: killed by signal 9 (SIGKILL)", self.first.said)
        self.assertEqual(watch.end(), 0)
        self.assertTrue(any("rank 1 on worker a failed" in line for line in watch.lines), watch.lines)
        begins = [record["step"] for record in self.log("run")]
        commits = [event["step"] for _, event in watch.events("committed") if event["generation"] == 1]
        self.assertEqual(begins, [0, commits[-1]])
        self.assertEqual(self.state(), self.alone(**{**QUIET, **changes}))

    def test_a_rank_that_is_stopped_is_named(self):
        name = self.submit_ranks(run__steps=ENDLESS)
        self.at(name, 1, 5)
        os.kill(self.ranks()[1], signal.SIGSTOP)
        self.at(name, 2, 5)
        failed = [line for line in self.first.lines if "failed:" in line]
        self.assertEqual(len(failed), 1, self.first.said)
        self.assertIn("rank 1", failed[0])

    def test_the_ranks_of_a_worker_that_is_stopped_end_before_the_coordinator_takes_it_for_lost(self):
        name = self.submit_ranks(run__steps=ENDLESS, checkpoint__every=ENDLESS)
        self.at(name, 1, 5)
        pids = list(self.ranks().values())
        self.assertEqual(len(pids), 2)
        self.first.process.send_signal(signal.SIGSTOP)
        self.eventually(lambda: any("worker_lost" in line for line in self.coordinator.lines[:]))
        self.assertFalse(any(map(lives, pids)))
        self.first.process.send_signal(signal.SIGCONT)
        self.at(name, 2, 5)
        pids = list(self.ranks().values())
        self.first.process.kill()
        self.eventually(lambda: not any(map(lives, pids)), seconds=10)

    def test_a_cancelled_job_leaves_no_process(self):
        # An address that is refused elsewhere: under a worker the setting says nothing.
        name = self.submit_ranks(run__steps=ENDLESS, checkpoint__every=ENDLESS, telemetry__serve="0.0.0.0:7000")
        self.at(name, 1, 5)
        pids = list(self.ranks().values())
        self.assertExit(self.ask("cancel", name), 0)
        self.ended(name, "cancelled", seconds=20)
        self.assertFalse(any(map(lives, pids)))

    def test_a_job_that_cannot_start_says_why(self):
        name = self.submit(self.config(data__dir="/no/such/corpus", **QUIET), "--backend=mpi", "--data=2",
                           "--restart-limit=0")
        job = self.ended(name, "failed")
        self.assertIn("/no/such/corpus", job["reason"])


if __name__ == "__main__":
    main()
