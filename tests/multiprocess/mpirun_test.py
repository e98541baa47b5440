"""`mpirun -n N filigree train`: the bits of one process, one voice, and an end with a reason where a rank is lost or stuck."""
import json
import os
import signal
import subprocess
import time

import program
from program import ProgramTest, main, patience

# plm isolated: one host, which needs no ssh.
LAUNCHER = ["mpirun", "--mca", "plm", "isolated", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1"]
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
SPARSE_START = {"sparsity__regime": "active", "sparsity__density_start": "1/4", "sparsity__embedding_density_start": "1/2",
                "sparsity__density": "1/8", "sparsity__embedding_density": "1/4", "sparsity__candidates": 1.5,
                "sparsity__refresh_every": 3}


def mpirun(ranks, *arguments, env=None, timeout=None):
    """Standard input is closed: mpirun would wait for it."""
    command = [*LAUNCHER, "-n", str(ranks), program.PROGRAM, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **ENVIRONMENT, **(env or {})}, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=timeout or patience(120), errors="replace")


class MpirunTest(ProgramTest):
    def same_as_alone(self, ranks, *overrides, **changes):
        alone = self.run_dir + "-alone"
        self.assertExit(self.train(self.config("alone.toml", run__dir=alone, **changes)), 0)
        together = mpirun(ranks, "train", self.config(run__threads=1, **changes), *overrides)
        self.assertExit(together, 0)
        self.assertEqual(self.state(), self.state(alone))
        losses = [[record["loss"] for record in self.log("step", folder)] for folder in (alone, self.run_dir)]
        self.assertEqual(losses[0], losses[1])
        evaluations = [[record["loss"] for record in self.log("eval", folder)] for folder in (alone, self.run_dir)]
        self.assertEqual(evaluations[0], evaluations[1])
        return together

    def test_two_and_three_ranks_end_in_the_bits_of_one_and_speak_once(self):
        for ranks in (2, 3):
            with self.subTest(ranks=ranks):
                self.run_dir = os.path.join(self.folder, f"run{ranks}")
                together = self.same_as_alone(ranks)
                self.assertEqual(together.stdout.count("done after 12 of 12 steps"), 1)
                self.assertEqual(together.stdout.count("step 5  loss"), 1)
                self.assertSays(together, f"{ranks} ranks ({ranks} data x 1 tensor) over mpi")
                wire = self.log("step")[-1]["wire_bytes"]
                self.assertGreater(wire["sent"], 0)
                self.assertGreater(wire["dense_equivalent"], 0)

    def test_the_active_regime_sends_less_and_ends_in_the_same_bits(self):
        self.same_as_alone(2, **SPARSE_START)
        wire = self.log("step")[-1]["wire_bytes"]
        self.assertLess(wire["sent"], wire["dense_equivalent"])

    def test_ranks_that_share_the_model_end_in_the_bits_of_one(self):
        # The last one exchanges on a thread beside backward, whose ranks speak to each other meanwhile.
        for ranks, regime, overlap in ((2, {}, "auto"), (4, {}, "off"), (4, SPARSE_START, "on")):
            with self.subTest(ranks=ranks, regime=regime):
                self.run_dir = os.path.join(self.folder, f"run{ranks}{len(regime)}")
                together = self.same_as_alone(ranks, "--parallel.tensor=2", f"--parallel.overlap={overlap}",
                                              model__tensor_groups=2, **regime)
                self.assertSays(together, f"{ranks} ranks ({ranks // 2} data x 2 tensor) over mpi")
                self.assertGreater(self.log("step")[-1]["wire_bytes"]["sent"], 0)

    def test_gradients_of_several_buckets_beside_backward_end_in_the_same_bits(self):
        # A layer's gradients are 1.2 MB, more than a bucket (worker/exchange/buckets.h), the table's 0.4 MB.
        wide = {"model__d_model": 256, "model__n_layer": 4, "run__steps": 5, "eval__every": 0, "sample__every": 0}
        for ranks, grid, changes in ((2, [], {}), (4, ["--parallel.tensor=2"], {"model__tensor_groups": 2})):
            with self.subTest(ranks=ranks):
                self.run_dir = os.path.join(self.folder, f"run{ranks}")
                self.same_as_alone(ranks, "--parallel.overlap=on", *grid, **wide, **changes, **SPARSE_START)

    def test_a_run_goes_on_with_another_number_of_ranks(self):
        alone = os.path.join(self.folder, "alone")
        self.assertExit(self.train(self.config("alone.toml", run__dir=alone)), 0)
        config = self.config(run__threads=1)
        killed = mpirun(2, "train", config, env={"FILIGREE_FAULT": "kill:forward:6", "FILIGREE_FAULT_RANK": "1"})
        self.assertNotEqual(killed.returncode, 0)
        self.assertExit(mpirun(3, "train", config), 0)
        self.assertEqual(self.state(), self.state(alone))

    def test_a_signal_to_mpirun_stops_the_run_with_a_checkpoint_and_75(self):
        alone = os.path.join(self.folder, "alone")
        changes = {"run__steps": 60, "eval__every": 0, "sample__every": 0, "checkpoint__every": 0}
        self.assertExit(self.train(self.config("alone.toml", run__dir=alone, **changes)), 0)
        config = self.config(run__threads=1, **changes)
        job = subprocess.Popen([*LAUNCHER, "-n", "2", program.PROGRAM, "train", config], env={**os.environ, **ENVIRONMENT},
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            for line in job.stdout:
                if "step 5 " in line:
                    job.send_signal(signal.SIGUSR1)
                    break
            said = job.stdout.read()
            self.assertEqual(job.wait(timeout=patience(60)), 75, said)
        finally:
            job.kill()
            job.wait()
            job.stdout.close()
        self.assertIn("Stopped at step ", said)
        self.assertLess(self.state()[0], 60)
        self.assertExit(mpirun(2, "train", config), 0)
        self.assertEqual(self.state(), self.state(alone))

    def test_a_rank_that_hangs_is_named_and_ends_the_job(self):
        # stop: nobody of its process answers; hang: its other threads do, and its buckets are with the others meanwhile.
        for fault, overlap, rank in (("stop:exchange", "off", 0), ("hang:overlap", "on", 1)):
            with self.subTest(fault=fault):
                self.run_dir = os.path.join(self.folder, fault.replace(":", "-"))
                config = self.config(run__threads=1, run__steps=400, parallel__stuck_after=1, parallel__overlap=overlap,
                                     eval__every=0, sample__every=0)
                begin = time.monotonic()
                stuck = mpirun(3, "train", config, env={"FILIGREE_FAULT": f"{fault}:100", "FILIGREE_FAULT_RANK": str(rank)})
                seconds = time.monotonic() - begin
                self.assertEqual(stuck.returncode, 4, stuck.stderr[-2000:])
                self.assertSays(stuck, f"rank {rank} on ", "go on from the last checkpoint with the same command")
                if fault.startswith("hang"):  # all know who speaks; where one is gone, mpirun must be quick to end the next
                    self.assertEqual(stuck.stderr.count("go on from the last checkpoint"), 1, stuck.stderr[-2000:])
                print(f"{fault}: reported {seconds:.1f} s after the start of the job", flush=True)

    def test_an_error_that_one_rank_did_not_expect_ends_all_of_them_with_its_words(self):
        for phase, overlap, rank in (("optimizer", "off", 1), ("overlap", "on", 0)):
            with self.subTest(phase=phase):
                self.run_dir = os.path.join(self.folder, phase)
                config = self.config(run__threads=1, parallel__overlap=overlap)
                failed = mpirun(3, "train", config,
                                env={"FILIGREE_FAULT": f"throw:{phase}:7", "FILIGREE_FAULT_RANK": str(rank)})
                self.assertEqual(failed.returncode, 1, failed.stderr[-2000:])
                words = "an error that nothing was prepared for: thrown on request"
                self.assertSays(failed, words)
                self.assertEqual(failed.stderr.count(words), 1, failed.stderr[-2000:])

    def test_a_wrong_bit_is_named_and_the_run_goes_back_to_the_bits_of_one(self):
        alone = os.path.join(self.folder, "alone")
        self.assertExit(self.train(self.config("alone.toml", run__dir=alone)), 0)
        for what in ("weight", "moment", "mask", "update"):
            with self.subTest(flipped=what):
                self.run_dir = os.path.join(self.folder, what)
                done = mpirun(3, "train", self.config(run__threads=1),
                              env={"FILIGREE_FAULT": f"flip:{what}:9", "FILIGREE_FAULT_RANK": "1"})
                self.assertExit(done, 0)
                self.assertSays(done, "rank 1", "going back to the last checkpoint")
                self.assertEqual(done.stdout.count("[run]"), 1, "settings are printed once")
                self.assertEqual(done.stderr.count("going back"), 1)
                self.assertEqual(self.state(), self.state(alone))
                self.assertEqual([record["step"] for record in self.log("step")], list(range(12)))

    def test_a_dry_run_says_what_the_ranks_then_send(self):
        for ranks, overrides, changes in ((3, [], {}), (3, ["--parallel.exchange=dense"], {}),
                                          (4, ["--parallel.tensor=2"], {"model__tensor_groups": 2})):
            with self.subTest(ranks=ranks, overrides=overrides):
                self.run_dir = os.path.join(self.folder, f"run{ranks}{len(overrides)}")
                config = self.config(run__threads=1, model__bigram="false", **changes)  # whose rows depend on the text
                dry = self.train(config, "--dry-run", "--json", "--ranks", ranks, *overrides)
                self.assertExit(dry, 0)
                self.assertFalse(os.path.exists(self.run_dir), "a dry run writes nothing")
                plan = json.loads(dry.stdout)
                self.assertEqual([rank["rank"] for rank in plan["ranks"]], list(range(ranks)))
                self.assertExit(mpirun(ranks, "train", config, *overrides), 0)
                said = {**plan["ranks"][0]["wire_bytes"], "dense_equivalent": plan["dense_equivalent"]}
                records = [record["wire_bytes"] for record in self.log("step")]
                self.assertEqual(records[0], said)
                if overrides == ["--parallel.exchange=dense"]:
                    self.assertEqual(records, [said] * len(records))
                    continue
                # Owners send the weights that survive, fewer as densities fall.
                self.assertLess(records[-1]["sent"], said["sent"])
                self.assertLess(records[-1]["received"], said["received"])

    def test_a_world_of_one_under_mpirun_is_a_run_alone(self):
        self.same_as_alone(1)
        self.assertNotIn("wire_bytes", self.log("step")[-1])

    def test_a_grid_that_does_not_fit_says_which_would(self):
        done = mpirun(2, "train", self.config(), "--parallel.data=3")
        self.assertExit(done, 2)
        self.assertSays(done, "parallel.data 3 x parallel.tensor 1 are 3 ranks, and 2 were started", "2x1")
        self.assertEqual(done.stderr.count("were started"), 1, done.stderr)

    def test_newcomers_that_one_rank_alone_can_choose_are_refused_before_the_first_step(self):
        for newcomers in ("votes", "gradient"):
            done = mpirun(2, "train", self.config(**SPARSE_START), f"--sparsity.newcomers={newcomers}")
            self.assertExit(done, 2)
            self.assertSays(done, f'sparsity.newcomers = "{newcomers}" is for one rank, and 2 were started; take "norms"')
            self.assertFalse(os.path.exists(os.path.join(self.run_dir, "steps.jsonl")))

    def test_ranks_with_different_settings_are_named_with_the_field(self):
        first, second = self.config("a.toml"), self.config("b.toml", optim__lr=0.5)
        script = ["sh", "-c", f'exec "$0" train "$([ "$OMPI_COMM_WORLD_RANK" = 0 ] && echo "{first}" || echo "{second}")"',
                  program.PROGRAM]
        done = subprocess.run([*LAUNCHER, "-n", "2", *script], env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL,
                              text=True, capture_output=True, timeout=120, errors="replace")
        self.assertExit(done, 3)
        self.assertSays(done, "ranks disagree in optim.lr", "rank 1 on ")
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "steps.jsonl")))


if __name__ == "__main__":
    main()
