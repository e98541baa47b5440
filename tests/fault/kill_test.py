"""SIGKILL in every phase of a step and before every file operation of a save: the run goes on to the same bits."""
import concurrent.futures
import itertools

import program
from killing import KillingTest


class KillTest(KillingTest):
    def test_every_phase_of_a_step(self):
        for phase in ("data", "forward", "backward", "optimizer", "topk", "log"):
            for step in (0, 6):
                with self.subTest(phase=phase, step=step):
                    self.assertTrue(self.killed_then_resumed(f"kill:{phase}:{step}"))
        with self.subTest(phase="checkpoint"):
            self.assertTrue(self.killed_then_resumed("kill:checkpoint:7"))

    def test_every_operation_of_the_saves(self):
        struck = 0
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as two_at_a_time:
            for first in itertools.count(step=16):
                faults = [f"kill:save:{operation}" for operation in range(first, first + 16)]
                results = list(two_at_a_time.map(self.killed_then_resumed, faults))
                struck += sum(results)
                if not all(results):
                    break
        print(f"{struck} operations of saves, each one killed once")
        self.assertGreater(struck, 30)


if __name__ == "__main__":
    program.main()
