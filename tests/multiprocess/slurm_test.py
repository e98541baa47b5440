"""deploy/slurm/train.sbatch as Slurm runs it, but for Slurm: `scontrol` is a script that writes down what it was asked.

The time of a job that ends, and a rank that is lost, queue it again; the next start goes on to the bits of an undisturbed run.
"""
import os
import signal
import subprocess
import sys

import program
from program import ProgramTest, main

SCRIPT = sys.argv.pop(2)
OPTIONS = "--mca plm isolated --oversubscribe --mca mpi_yield_when_idle 1 -n 2"
CHANGES = {"run__steps": 60, "run__threads": 1, "eval__every": 0, "sample__every": 0, "checkpoint__every": 4}


class SlurmTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.asked = os.path.join(self.folder, "asked")
        scontrol = os.path.join(self.folder, "scontrol")
        with open(scontrol, "w", encoding="utf-8") as out:
            out.write(f'#!/bin/sh\necho "$@" >> "{self.asked}"\n')
        os.chmod(scontrol, 0o755)

    def sbatch(self, *arguments, restarts=0, **env):
        environment = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "FILIGREE": program.PROGRAM,
                       "FILIGREE_MPIRUN_OPTIONS": OPTIONS, "OMPI_ALLOW_RUN_AS_ROOT": "1",
                       "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "SLURM_RESTART_COUNT": str(restarts), **env}
        # What Slurm sets and Open MPI would take for an allocation is left out, but for the id.
        return subprocess.Popen(["bash", "-c", f'SLURM_JOB_ID=17 . "{SCRIPT}" "$@"', "train.sbatch", *arguments],
                                env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    def finish(self, job):
        try:
            stdout, stderr = job.communicate(timeout=120)
        finally:
            job.kill()
        return subprocess.CompletedProcess(job.args, job.returncode, stdout, stderr)

    def requeued(self):
        try:
            with open(self.asked, encoding="utf-8") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def test_the_end_of_the_time_queues_the_job_again_and_it_goes_on_to_the_same_bits(self):
        alone = os.path.join(self.folder, "alone")
        self.assertExit(self.train(self.config("alone.toml", run__dir=alone, **CHANGES)), 0)
        config = self.config(**CHANGES)
        job = self.sbatch(config)
        for line in job.stdout:
            if "step 5 " in line:
                job.send_signal(signal.SIGUSR1)
                break
        stopped = self.finish(job)
        self.assertExit(stopped, 75)
        self.assertEqual(self.requeued(), ["requeue 17"])
        self.assertSays(stopped, "stopped with a checkpoint; queued again (restart 1)")
        self.assertExit(self.finish(self.sbatch(config, restarts=1)), 0)
        self.assertEqual(self.requeued(), ["requeue 17"], "a run that is done is not queued again")
        self.assertEqual(self.state(), self.state(alone))

    def test_a_lost_rank_queues_the_job_again_but_not_for_ever(self):
        # Not a stopped one, which mpirun wakes when it ends the job: it may finish its step and leave a checkpoint.
        fault = {"FILIGREE_FAULT": "hang:exchange:10", "FILIGREE_FAULT_RANK": "1"}
        config = self.config(parallel__stuck_after=1, **CHANGES)
        lost = self.finish(self.sbatch(config, **fault))
        self.assertExit(lost, 4)
        self.assertEqual(self.requeued(), ["requeue 17"])
        given_up = self.finish(self.sbatch(config, restarts=3, FILIGREE_MOST_RESTARTS="3", **fault))
        self.assertExit(given_up, 4)
        self.assertEqual(self.requeued(), ["requeue 17"])
        self.assertSays(given_up, "a rank or a host was lost; not queued again after 3 restarts")

    def test_an_mpirun_that_ends_by_that_signal_itself_is_not_waited_for_again(self):
        with open(os.path.join(self.folder, "mpirun"), "w", encoding="utf-8") as out:
            out.write("#!/bin/sh\nexit 138\n")
        os.chmod(os.path.join(self.folder, "mpirun"), 0o755)
        ended = self.finish(self.sbatch(self.config(**CHANGES)))
        self.assertExit(ended, 138)
        self.assertEqual(self.requeued(), ["requeue 17"])
        self.assertSays(ended, "a rank or a host was lost; queued again")

    def test_what_wants_a_person_is_not_queued_again(self):
        refused = self.finish(self.sbatch(self.config(**CHANGES), "--model.d_model=-3"))
        self.assertExit(refused, 2)
        self.assertEqual(self.requeued(), [])
        usage = self.finish(self.sbatch())
        self.assertExit(usage, 2)
        self.assertSays(usage, "usage: sbatch train.sbatch CONFIG")


if __name__ == "__main__":
    main()
