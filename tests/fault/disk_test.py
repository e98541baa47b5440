"""A full disk: the run warns and goes on, tries again, and says at its end whether the last save stands."""
import os

import program
from program import ProgramTest, run


class DiskTest(ProgramTest):
    def test_a_disk_that_is_full_for_a_while_costs_nothing(self):
        self.assertExit(self.train(self.config(run__steps=30)), 0)
        undisturbed = self.state()
        self.run_dir = os.path.join(self.folder, "full-for-a-while")
        # The settings file takes the first operations; the first save fails whole.
        process = self.train(self.config(run__steps=30), env={"FILIGREE_FAULT": "full:save:4:3"})
        self.assertExit(process, 0)
        notes = [record["text"] for record in self.log("note")]
        self.assertTrue(any("no checkpoint" in note and "tries again" in note for note in notes), notes)
        self.assertEqual(self.state(), undisturbed)

    def test_a_disk_that_stays_full_ends_in_a_failure_and_keeps_the_older_checkpoint(self):
        config = self.config()
        self.assertExit(self.train(config, env={"FILIGREE_FAULT": "kill:data:6"}), -9)
        older = self.state()
        self.assertEqual(older[0], 4)
        process = run("train", self.run_dir, env={"FILIGREE_FAULT": "full:save:4:100000"})
        self.assertExit(process, 1)
        self.assertEqual([record["step"] for record in self.log("step")], list(range(12)))  # training went on
        self.assertEqual(self.state(), older)
        self.assertExit(run("train", self.run_dir), 0)
        self.assertEqual(self.state()[0], 12)


if __name__ == "__main__":
    program.main()
