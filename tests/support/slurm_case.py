"""Cases that run in a Slurm of their own (slurm.py): what is asked of it, and what its jobs have said.

A test file gives the class SCRIPT, and MPI where ranks want more than to share cores, and `make_cluster` where there are to be
several nodes.
"""
import os

import program
import slurm
from program import ProgramTest, patience

CHANGES = {"run__steps": 60, "run__threads": 1, "eval__every": 0, "sample__every": 0, "checkpoint__every": 4}
# Ranks on cores that others use as well.
MPI = {"OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


class SlurmCase(ProgramTest):
    SCRIPT = None  # what sbatch is given
    MPI = MPI

    @classmethod
    def make_cluster(cls):
        """hosts.Hosts whose hosts are the nodes; None: this machine is the only one."""
        return None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.cluster = cls.make_cluster()
            if cls.cluster is not None:
                cls.addClassCleanup(cls.cluster.close)  # the nodes' daemons end with the hosts
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

    def srun(self, *words, env=None):
        return self.slurm.ask("srun", *words, env={**self.MPI, **(env or {})})

    def sbatch(self, config, *words, env=None):
        """The number of the job."""
        submitted = self.slurm.ask("sbatch", "--parsable", f"--output={self.folder}/out", f"--error={self.folder}/err", *words,
                                   self.SCRIPT, config, env={**self.MPI, "FILIGREE": program.PROGRAM, **(env or {})})
        self.assertExit(submitted, 0)
        number = int(submitted.stdout.split(";")[0])
        self.addCleanup(self.slurm.ask, "scancel", "--full", "--signal=KILL", str(number))  # the nodes are for the next one
        return number

    def said(self, name):
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()

    def until(self, number, what, there):
        """What Slurm says of the job when there(of it)."""
        job = {}

        def look():
            job.update(self.slurm.job(number))
            return there(job)

        try:
            self.slurm.wait(what, look, seconds=patience(180))
        except TimeoutError as late:
            self.fail(f"{late}\njob {job}\nout: {self.said('out')[-2000:]}\nerr: {self.said('err')[-2000:]}")
        return job

    def ended(self, number):
        return self.until(number, "end of the job", lambda job: job.get("JobState") in ENDED)
