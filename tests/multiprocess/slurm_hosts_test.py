"""A real Slurm of two nodes, which are hosts of their own: network namespaces, messages between ranks over their network alone.

Ranks that srun starts, and deploy/slurm/train.sbatch, whose mpirun starts its daemons through Slurm. Every run ends in the bits
of one process; a node that vanishes ends its start of the job, which Slurm then runs again where it is back.
"""
import os
import sys
import unittest

import hosts
import program
import slurm
import slurm_case
from program import main
from slurm_case import CHANGES, SlurmCase

SCRIPT = sys.argv.pop(2)
OBSTACLE = slurm.missing() or hosts.obstacle()


@unittest.skipIf(OBSTACLE and os.environ.get("FILIGREE_HOSTS_REQUIRED") != "1", OBSTACLE)
class SlurmHostsTest(SlurmCase):
    SCRIPT = SCRIPT
    # All messages over the network between the nodes.
    MPI = {**slurm_case.MPI, "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self", "OMPI_MCA_btl_tcp_if_include": "eth0",
           "OMPI_MCA_oob_tcp_if_include": "eth0"}
    NODES = ("--nodes=2", "--ntasks-per-node=1")

    @classmethod
    def make_cluster(cls):
        return hosts.Hosts(2, cls.shared)

    def srun_train(self, *words, overrides=(), env=None):
        return self.srun(*self.NODES, *words, program.PROGRAM, "train", self.config(**CHANGES), "--parallel.data=2", *overrides,
                         env=env)

    def assert_went_well(self, text):
        self.assertEqual(text.count("done after 60 of 60 steps"), 1, text[-2000:])
        self.assertIn("on 2 hosts", text)
        self.assertEqual(self.state(), self.state(self.alone))

    def test_srun_starts_ranks_of_mpi_on_two_nodes(self):
        done = self.srun_train("--mpi=pmix")
        self.assertExit(done, 0)
        self.assert_went_well(done.stdout)

    def test_srun_starts_ranks_of_gloo_on_two_nodes(self):
        store = os.path.join(self.folder, "store")
        os.mkdir(store)
        done = self.srun_train(overrides=["--parallel.backend=gloo"], env={"FILIGREE_STORE": store})
        self.assertExit(done, 0)
        self.assert_went_well(done.stdout)

    def test_the_script_trains_on_two_nodes(self):
        job = self.ended(self.sbatch(self.config(**CHANGES), *self.NODES))
        self.assertEqual((job["JobState"], job["Restarts"]), ("COMPLETED", "0"), self.said("err"))
        self.assert_went_well(self.said("out"))

    def test_a_node_that_vanishes_ends_the_start_and_the_job_goes_on_where_it_is_back(self):
        long = {**CHANGES, "run__steps": 1500, "checkpoint__every": 100, "parallel__stuck_after": 2}
        alone = os.path.join(self.folder, "long")
        self.assertExit(self.train(self.config("long.toml", run__dir=alone, **long)), 0)
        number = self.sbatch(self.config(**long), *self.NODES)
        self.until(number, "step 100", lambda job: "step 100 " in self.said("out"))
        self.cluster[1].unplug()
        try:
            self.until(number, "second start", lambda job: job.get("Restarts") == "1")
        finally:
            self.cluster[1].plug()
        job = self.ended(number)
        self.assertEqual(job["JobState"], "COMPLETED", self.said("err"))
        began = [record["step"] for record in self.log("run")]
        self.assertGreaterEqual(len(began), 2)
        self.assertTrue(all(step >= 100 for step in began[1:]), f"starts at {began}, with a checkpoint of step 100")
        self.assertEqual(self.state(), self.state(alone))


if __name__ == "__main__":
    main()
