"""The active regime killed, in the change of its candidates too: the run goes on to the same bits, sets and all; and what a
run that changes its regime says of it."""
import json
import os

import program
from killing import KillingTest

ACTIVE = {"sparsity__regime": "active", "sparsity__refresh_every": 3, "sparsity__candidates": 3,
          "sparsity__density": "1/8", "sparsity__embedding_density": "1/8"}


class ActiveKills(KillingTest):
    SETTINGS = {**ACTIVE, "sparsity__density_start": 0.25, "sparsity__embedding_density_start": 0.25}

    def test_every_phase_of_a_step(self):
        for phase, step in (("backward", 0), ("optimizer", 6), ("topk", 6), ("refresh", 2), ("refresh", 8), ("log", 8)):
            with self.subTest(phase=phase, step=step):
                self.assertTrue(self.killed_then_resumed(f"kill:{phase}:{step}"))

    def test_operations_of_the_saves(self):
        struck = sum(self.killed_then_resumed(f"kill:save:{operation}") for operation in range(3, 200, 23))
        self.assertGreater(struck, 5)


class DensePhaseKills(KillingTest):
    """A run that begins whole and leaves its dense phase on the way."""

    SETTINGS = {**ACTIVE, "sparsity__density_start": 1, "sparsity__embedding_density_start": 1, "sparsity__anneal_end": 0.6}

    def test_around_the_end_of_the_dense_phase(self):
        for fault in ("kill:topk:2", "kill:refresh:5", "kill:forward:6", "kill:forward:9", "kill:refresh:8"):
            with self.subTest(fault=fault):
                self.assertTrue(self.killed_then_resumed(fault))


class RegimesOfAResume(program.ProgramTest):
    def stopped_at(self, step, **settings):
        """A run folder whose newest checkpoint is of this step."""
        config = self.config(**{"checkpoint__every": step, **settings})
        killed = self.train(config, env={"FILIGREE_FAULT": f"kill:forward:{step}"})
        self.assertEqual(killed.returncode, -9, killed.stderr)
        self.assertEqual(self.state()[0], step)

    def candidates(self):
        process = program.run("inspect", self.run_dir, "--json")
        self.assertExit(process, 0)
        return [tensor for tensor in json.loads(process.stdout)["tensors"] if tensor.get("candidates", 0) > 0]

    def test_exact_to_active_drops_to_candidates_and_says_so(self):
        self.stopped_at(8, **{**ACTIVE, "sparsity__regime": "exact"})
        self.assertEqual(self.candidates(), [])
        resumed = self.train(self.run_dir, "--sparsity.regime=active", "--sparsity.candidates=3")
        self.assertExit(resumed, 0)
        self.assertSays(resumed, "the checkpoint is of the exact regime", "entries of its matrices exist")
        self.assertGreater(len(self.candidates()), 4)

    def test_active_to_exact_says_what_is_lost(self):
        self.stopped_at(8, **ACTIVE, sparsity__density_start=0.25, sparsity__embedding_density_start=0.25)
        self.assertGreater(len(self.candidates()), 4)
        resumed = self.train(self.run_dir, "--sparsity.regime=exact")
        self.assertExit(resumed, 0)
        self.assertSays(resumed, "the checkpoint is of the active regime", "is lost")
        self.assertEqual(self.candidates(), [])
        self.assertTrue(os.path.exists(os.path.join(self.run_dir, "steps.jsonl")))


if __name__ == "__main__":
    program.main()
