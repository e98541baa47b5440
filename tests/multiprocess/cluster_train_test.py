"""`filigree train` as a cluster runs it: a coordinator, workers, and ranks that are killed, told to stop, and joined by
others. Whatever happens, a run ends in the bits of one that nothing happened to."""
import json
import os
import signal

from cluster import lives
from cluster_case import ACTIVE, ENDLESS, QUIET, ClusterTest, get
from program import main


class ClusterTrainTest(ClusterTest):
    def test_a_job_is_seen_while_it_runs(self):
        changes = {**QUIET, "eval__every": 6, "telemetry__listen": "127.0.0.1:0"}
        self.coordinator.stop()
        self.coordinator = self.start_coordinator("127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
        self.worker("a")
        self.worker("b")
        name = self.submit(self.config(run__steps=ENDLESS, **changes), "--data=2")
        watch = self.watch(name, "--json")
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
        self.eventually(lambda: watch.events("masks_agreed"))  # both ranks have told the digests of one update
        self.assertRegex(get(f"http://{page}/metrics"), rf'filigree_mask_sync_total{{run_id="{name}"}} [1-9]')
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
        # By hand it is a run like any other: where its ranks met and how many they were is not in its settings.
        alone = self.train(self.run_dir)
        self.assertExit(alone, 0)
        self.assertSays(alone, "is complete: 12 of 12 steps")

    def test_whatever_is_killed_and_whoever_comes_the_bits_are_the_same(self):
        # More steps than there is time for: the run is drained in the end.
        changes = {**QUIET, **ACTIVE, "run__steps": 50000, "checkpoint__every": 100, "sparsity__anneal_end": 0.02,
                   "optim__warmup": 0.005}
        for name in ("a", "b", "c"):
            self.worker(name)
        job = self.submit(self.config(**changes), "--data=3", "--min-data=1")
        watch = self.watch(job, "--json")
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
