"""What the kill tests share: a run that nothing disturbs, and one that is killed and goes on."""
import os

from program import ProgramTest


class KillingTest(ProgramTest):
    SETTINGS = {}  # of every run, beside those of program.SMALL

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls("undisturbed_run")
        case.folder, case.run_dir = cls.shared, os.path.join(cls.shared, "undisturbed")
        cls.undisturbed = case.undisturbed_run()

    def config(self, name="config.toml", **changes):
        return super().config(name, **{**self.SETTINGS, **changes})

    def undisturbed_run(self):
        self.assertExit(self.train(), 0)
        return self.state()

    def killed_then_resumed(self, fault):
        """False where the fault never struck."""
        run_dir = os.path.join(self.folder, fault.replace(":", "-"))
        config = self.config(fault + ".toml", run__dir=run_dir, run__threads=1)
        killed = self.train(config, env={"FILIGREE_FAULT": fault})
        if killed.returncode == 0:
            return False
        self.assertEqual(killed.returncode, -9, killed.stderr)
        self.assertExit(self.train(config), 0)
        self.assertEqual(self.state(run_dir), self.undisturbed, fault)
        self.assertEqual([record["step"] for record in self.log("step", run_dir)], list(range(12)), fault)
        return True
