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
from program import ProgramTest, main, patience

SCRIPT = sys.argv.pop(2)
CHANGES = {"run__steps": 60, "run__threads": 1, "eval__every": 0, "sample__every": 0, "checkpoint__every": 4}
# Two ranks on cores that others use as well; all messages over the network between the nodes.
MPI = {"OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
       "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self", "OMPI_MCA_btl_tcp_if_include": "eth0",
       "OMPI_MCA_oob_tcp_if_include": "eth0"}
OBSTACLE = slurm.missing() or hosts.obstacle()


@unittest.skipIf(OBSTACLE and os.environ.get("FILIGREE_HOSTS_REQUIRED") != "1", OBSTACLE)
class SlurmHostsTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.cluster = hosts.Hosts(2, cls.shared)
            cls.addClassCleanup(cls.cluster.close)  # its daemons end with the hosts
            cls.slurm = slurm.Slurm(os.path.join(cls.shared, "slurm"), cls.cluster)
            cls.addClassCleanup(cls.slurm.stop)
            cls.slurm.start()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.doClassCleanups()  # before the folder goes
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.alone = os.path.join(self.folder, "alone")
        self.assertExit(self.train(self.config("alone.toml", run__dir=self.alone, **CHANGES)), 0)

    def srun(self, *words, overrides=(), env=None):
        return self.slurm.ask("srun", "--nodes=2", "--ntasks-per-node=1", *words, program.PROGRAM, "train",
                              self.config(**CHANGES), "--parallel.data=2", *overrides, env={**MPI, **(env or {})})

    def sbatch(self, config):
        """The number of the job."""
        submitted = self.slurm.ask("sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", f"--output={self.folder}/out",
                                   f"--error={self.folder}/err", SCRIPT, config, env={**MPI, "FILIGREE": program.PROGRAM})
        self.assertExit(submitted, 0)
        number = int(submitted.stdout.split(";")[0])
        self.addCleanup(self.slurm.ask, "scancel", "--full", "--signal=KILL", str(number))  # the nodes are for the next one
        return number

    def until(self, number, what, there):
        try:
            self.slurm.wait(what, lambda: there(self.slurm.job(number)), seconds=patience(180))
        except TimeoutError as late:
            self.fail(f"{late}\njob {self.slurm.job(number)}\nout: {self.said('out')[-2000:]}\nerr: {self.said('err')[-2000:]}")
        return self.slurm.job(number)

    def ended(self, number):
        return self.until(number, "end of the job", lambda job: job.get("JobState") in ("COMPLETED", "FAILED", "CANCELLED"))

    def said(self, name):
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()

    def assert_went_well(self, text):
        self.assertEqual(text.count("done after 60 of 60 steps"), 1, text[-2000:])
        self.assertIn("on 2 hosts", text)
        self.assertEqual(self.state(), self.state(self.alone))

    def test_srun_starts_ranks_of_mpi_on_two_nodes(self):
        done = self.srun("--mpi=pmix")
        self.assertExit(done, 0)
        self.assert_went_well(done.stdout)

    def test_srun_starts_ranks_of_gloo_on_two_nodes(self):
        store = os.path.join(self.folder, "store")
        os.mkdir(store)
        done = self.srun(overrides=["--parallel.backend=gloo"], env={"FILIGREE_STORE": store})
        self.assertExit(done, 0)
        self.assert_went_well(done.stdout)

    def test_the_script_trains_on_two_nodes(self):
        job = self.ended(self.sbatch(self.config(**CHANGES)))
        self.assertEqual((job["JobState"], job["Restarts"]), ("COMPLETED", "0"), self.said("err"))
        self.assert_went_well(self.said("out"))

    def test_a_node_that_vanishes_ends_the_start_and_the_job_goes_on_where_it_is_back(self):
        long = {**CHANGES, "run__steps": 1500, "checkpoint__every": 100, "parallel__stuck_after": 2}
        alone = os.path.join(self.folder, "long")
        self.assertExit(self.train(self.config("long.toml", run__dir=alone, **long)), 0)
        number = self.sbatch(self.config(**long))
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
