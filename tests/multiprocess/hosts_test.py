"""Ranks on several hosts: mpirun over sshd between network namespaces, messages over their network alone.

The bits of one process, and an end with a reason where a host vanishes, cannot be heard, or cannot read its data. Without
namespaces the cases are skipped; with FILIGREE_HOSTS_REQUIRED=1 they fail.
"""
import os
import subprocess
import time

import hosts
import program
from program import ProgramTest, main

# Longer than any test: a host goes while the job trains.
LONG = {"run__steps": 100000, "run__threads": 1, "eval__every": 0, "sample__every": 0, "checkpoint__every": 5,
        "parallel__stuck_after": 2}
PROGRAMS = ("filigree", "mpirun", "orted")


class HostsTest(ProgramTest):
    def setUp(self):
        obstacle = hosts.obstacle()
        if obstacle is not None:
            (self.fail if os.environ.get("FILIGREE_HOSTS_REQUIRED") == "1" else self.skipTest)(obstacle)
        super().setUp()

    def hosts(self, count):
        cluster = hosts.Hosts(count, self.folder)
        self.addCleanup(cluster.close)
        return cluster

    def mpirun(self, cluster, slots, *arguments):
        return ["mpirun", *cluster.mpirun_options(slots), program.PROGRAM, *arguments]

    def test_grids_over_two_hosts_end_in_the_bits_of_one_process(self):
        cluster = self.hosts(2)
        for slots, overrides, changes in ((1, [], {}), (2, ["--parallel.tensor=2"], {"model__tensor_groups": 2})):
            with self.subTest(slots=slots):
                alone = os.path.join(self.folder, f"alone{slots}")
                self.assertExit(self.train(self.config("alone.toml", run__dir=alone, **changes)), 0)
                self.run_dir = os.path.join(self.folder, f"run{slots}")
                config = self.config(run__threads=1, **changes)
                together = cluster[0].run(self.mpirun(cluster, slots, "train", config, *overrides), timeout=120)
                self.assertExit(together, 0)
                self.assertSays(together, f"{2 * slots} ranks (2 data x {slots} tensor) over mpi on 2 hosts")
                self.assertEqual(self.state(), self.state(alone))
                losses = [[record["loss"] for record in self.log("step", folder)] for folder in (alone, self.run_dir)]
                self.assertEqual(losses[0], losses[1])

    def begin(self, cluster):
        """A job that has trained a few steps, and the file of what it says."""
        said = os.path.join(self.folder, "said")
        with open(said, "w", encoding="utf-8") as out:
            job = cluster[0].start(self.mpirun(cluster, 1, "train", self.config(**LONG)), stdout=out, stderr=out)
        self.addCleanup(job.wait)
        self.addCleanup(job.kill)
        self.wait_for_steps(10, job)
        return job, said

    def assert_ends(self, job, said, cluster, codes, *words):
        """The job ends with one of the codes and says so, and nothing of it is left on any host that is still there."""
        begin = time.monotonic()
        try:
            job.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.fail(f"the job did not end; still running: {self.running(cluster)}")
        with open(said, encoding="utf-8", errors="replace") as file:
            text = file.read()
        named = [line for line in text.splitlines() if line.startswith("filigree: ")]
        print(f"status {job.returncode} after {time.monotonic() - begin:.1f} s: {' | '.join(named)}", flush=True)
        self.assertIn(job.returncode, codes, text[-2000:])
        for word in words:
            self.assertIn(word, text)
        end = time.monotonic() + 30
        while running := self.running(cluster):
            self.assertLess(time.monotonic(), end, f"still running: {running}")
            time.sleep(0.05)

    def running(self, cluster):
        return [(host.name, name, found) for host in cluster for name in PROGRAMS if (found := host.processes(name))]

    def test_a_host_without_a_network_is_named_and_ends_the_job_on_all(self):
        cluster = self.hosts(3)
        job, said = self.begin(cluster)
        cluster[2].unplug()
        self.assert_ends(job, said, cluster, (4,), "rank 2 on node2", "go on from the last checkpoint with the same command")

    def test_a_host_whose_processes_all_die_is_named_and_ends_the_job_on_all(self):
        cluster = self.hosts(3)
        job, said = self.begin(cluster)
        cluster[1].close()
        # mpirun loses its own daemon there at once and may be the first to end the job, with a status of its own: 205 where it
        # notices itself, 255 where its ssh does.
        self.assert_ends(job, said, cluster, (4, 205, 255), "node1")

    def test_a_host_that_is_not_heard_by_one_other_ends_the_job_on_all(self):
        cluster = self.hosts(3)
        job, said = self.begin(cluster)
        cluster[2].lose_messages_to(cluster[1])
        self.assert_ends(job, said, cluster, (4,), "rank 2 on node2")

    def test_ranks_that_meet_in_a_folder_go_on_without_the_one_that_another_does_not_reach(self):
        cluster = self.hosts(3)
        config = self.config(**{**LONG, "parallel__stuck_after": 1, "parallel__backend": "gloo"})
        store = os.path.join(self.folder, "store")
        os.mkdir(store)
        said, jobs = [], []
        for host in cluster:
            said.append(os.path.join(self.folder, f"said{host.number}"))
            environment = {**os.environ, "FILIGREE_STORE": store, "FILIGREE_RANKS": "3",
                           "FILIGREE_RANK": str(host.number), "FILIGREE_HOST": host.address}
            with open(said[-1], "w", encoding="utf-8") as out:
                jobs.append(host.start([os.path.abspath(program.PROGRAM), "train", config], stdout=out, stderr=out, env=environment))
            self.addCleanup(jobs[-1].wait)
            self.addCleanup(jobs[-1].kill)
        self.wait_for_steps(10, jobs[0])
        # All of them still see the folder, and node0 reaches both others.
        cluster[2].lose_messages_to(cluster[1])
        begin = time.monotonic()
        self.wait_for(lambda: "2 ranks (2 data x 1 tensor)" in self.read(said[0]), "two ranks do not go on")
        print(f"two of three go on after {time.monotonic() - begin:.1f} s", flush=True)
        self.wait_for_steps(len(self.log("step")) + 10, jobs[0])
        # One of the two that do not hear each other idles: whom the others miss first. It learns so for itself.
        self.wait_for(lambda: any("idles" in self.read(path) for path in said), "no process idles")
        self.assertEqual(sorted("idles" in self.read(path) for path in said), [False, False, True])
        self.assertNotIn("idles", self.read(said[0]))
        steps = [record["step"] for record in self.log("step")]
        self.assertEqual(steps, list(range(len(steps))))

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_for(self, there, otherwise):
        end = time.monotonic() + 90
        while not there():
            self.assertLess(time.monotonic(), end, otherwise)
            time.sleep(0.2)

    def wait_for_steps(self, count, job):
        end = time.monotonic() + 60
        while True:
            try:
                if len(self.log("step")) >= count:
                    return
            except (OSError, ValueError):
                pass  # no log yet, or a line that is being written
            self.assertIsNone(job.poll(), "the job ended")
            self.assertLess(time.monotonic(), end, f"the job does not come to step {count}")
            time.sleep(0.05)

    def test_a_host_that_cannot_read_its_corpus_is_named(self):
        cluster = self.hosts(2)
        self.assertEqual(cluster[1].run(["mount", "-t", "tmpfs", "tmpfs", self.data]).returncode, 0)
        done = cluster[0].run(self.mpirun(cluster, 1, "train", self.config(run__threads=1)), timeout=60)
        self.assertExit(done, 3)
        self.assertSays(done, "rank 1 on node1: ", self.data)
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "steps.jsonl")))


if __name__ == "__main__":
    main()
