"""A real Slurm of one node: ranks that srun starts, and deploy/slurm/train.sbatch, queued again by Slurm itself.

Whatever starts the ranks, and however often, the run ends in the bits of one process alone.
"""
import os
import sys
import unittest

import program
import slurm
from program import main
from slurm_case import CHANGES, SlurmCase

SCRIPT = sys.argv.pop(2)
REQUIRED = os.environ.get("FILIGREE_HOSTS_REQUIRED") == "1"
RANKS = "--ntasks-per-node=2"


@unittest.skipIf(slurm.missing() and not REQUIRED, slurm.missing())
class SlurmClusterTest(SlurmCase):
    SCRIPT = SCRIPT

    def test_srun_starts_ranks_of_mpi_by_pmix(self):
        done = self.srun("-n", "2", "--mpi=pmix", program.PROGRAM, "train", self.config(**CHANGES), "--parallel.data=2")
        self.assertExit(done, 0)
        self.assertEqual(done.stdout.count("done after 60 of 60 steps"), 1)
        self.assertEqual(self.state(), self.state(self.alone))

    def test_srun_starts_ranks_of_gloo_that_meet_in_a_folder(self):
        store = os.path.join(self.folder, "store")
        os.mkdir(store)
        done = self.srun("-n", "2", program.PROGRAM, "train", self.config(**CHANGES), "--parallel.data=2",
                         "--parallel.backend=gloo", env={"FILIGREE_STORE": store})
        self.assertExit(done, 0)
        self.assertEqual(done.stdout.count("done after 60 of 60 steps"), 1)
        self.assertEqual(self.state(), self.state(self.alone))

    def test_a_rank_that_srun_loses_ends_the_step(self):
        lost = self.srun("-n", "2", "--mpi=pmix", program.PROGRAM, "train", self.config(parallel__stuck_after=1, **CHANGES),
                         "--parallel.data=2", env={"FILIGREE_FAULT": "stop:exchange:10", "FILIGREE_FAULT_RANK": "1"})
        self.assertExit(lost, 4)
        self.assertSays(lost, "rank 1")

    def test_the_script_ends_a_job_that_is_done(self):
        job = self.ended(self.sbatch(self.config(**CHANGES), RANKS))
        self.assertEqual((job["JobState"], job["Restarts"]), ("COMPLETED", "0"), self.said("err"))
        self.assertEqual(self.state(), self.state(self.alone))
        self.assertFalse("\x1b" in self.said("out"), "a file is no terminal, though mpirun makes it look like one")

    def test_the_signal_before_the_end_of_the_time_queues_the_job_again(self):
        # What sbatch's --signal sends, sent by hand: times of Slurm are minutes.
        long = {**CHANGES, "run__steps": 1500, "checkpoint__every": 500}
        alone = os.path.join(self.folder, "long")
        self.assertExit(self.train(self.config("long.toml", run__dir=alone, **long)), 0)
        number = self.sbatch(self.config(**long), RANKS)
        self.slurm.wait("step 5", lambda: "step 5 " in self.said("out"))
        self.assertExit(self.slurm.ask("scancel", "--batch", "--signal=USR1", str(number)), 0)
        job = self.ended(number)
        self.assertEqual((job["JobState"], job["Restarts"]), ("COMPLETED", "1"), self.said("err"))
        self.assertIn("stopped with a checkpoint; queued again (restart 1)", self.said("err"))
        self.assertEqual(self.state(), self.state(alone))

    def test_a_lost_rank_queues_the_job_again(self):
        faults = os.path.join(self.folder, "faults")
        os.mkdir(faults)
        with open(os.path.join(faults, "kill:exchange:20"), "w", encoding="utf-8"):
            pass
        job = self.ended(self.sbatch(self.config(**CHANGES), RANKS, env={"FILIGREE_FAULTS": faults}))
        self.assertEqual((job["JobState"], job["Restarts"]), ("COMPLETED", "1"), self.said("err"))
        self.assertIn("a rank or a host was lost; queued again (restart 1)", self.said("err"))
        self.assertEqual(self.state(), self.state(self.alone))


if __name__ == "__main__":
    main()
