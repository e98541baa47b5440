"""`filigree logs` before a real coordinator and workers that are played.

    logs_test.py FILIGREE PLAY
"""
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

import program
from program import run

CONFIG = '[run]\nname = "night"\nsteps = 40\ndir = "run"\n[data]\ndir = "data"\n'
PLAY = sys.argv.pop(2) if len(sys.argv) > 2 else ""


class Logs(unittest.TestCase):
    assertExit = program.ProgramTest.assertExit

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="filigree-logs-")
        self.addCleanup(folder.cleanup)
        self.config = os.path.join(folder.name, "config.toml")
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(CONFIG)
        coordinator = subprocess.Popen([program.PROGRAM, "coordinator", "--journal", os.path.join(folder.name, "j.db"), "--listen",
                                        "127.0.0.1:0", "--quiet"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop, coordinator)
        coordinator.stdout.readline()
        self.address = coordinator.stdout.readline().split("listens on ")[1].split(": ")[0]
        players = subprocess.Popen([PLAY, "--coordinator", self.address, "--steps", "40", "--fail-step", "15", "--beat-ms", "20"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop, players)
        self.assertEqual(players.stdout.readline(), "playing\n")

    @staticmethod
    def stop(process):
        if process.stdin:
            process.stdin.close()
        else:
            process.terminate()
        process.wait(timeout=30)
        process.stdout.close()

    def ask(self, *words):
        return run(*words, "--coordinator", self.address)

    def lines(self, *words):
        done = self.ask("logs", "night-1", *words)
        self.assertExit(done, 0)
        return done.stdout.splitlines()

    def test_from_the_first_line_to_the_last(self):
        self.assertEqual(self.ask("submit", self.config, "--data=2", "--min-data=2").stdout, "night-1\n")
        followed = self.lines("--follow")  # ends with the job
        self.assertEqual(json.loads(self.ask("jobs", "night-1", "--json").stdout)["state"], "done")
        steps = {f"rank {rank} | step {step}" for rank in range(2) for step in (10, 20, 30, 40)}
        self.assertEqual(set(followed) - steps, {"rank 1 | \ufffd[31mout of memory\ufffd[0m", "--- generation 2"})
        self.assertLessEqual(steps, set(followed))
        self.assertEqual(self.lines(), followed)  # the same again, and of a job that has ended
        self.assertEqual(self.lines("--tail=2"), followed[-2:])
        self.assertEqual(self.lines("--rank=1", "--generation=1"), ["step 10", "\ufffd[31mout of memory\ufffd[0m"])
        self.assertEqual(self.lines("--rank=0", "--generation=2", "--tail-bytes=8"), ["step 40"])
        told = [json.loads(line) for line in self.lines("--json", "--generation=1", "--rank=1")]
        self.assertEqual(told, [{"generation": 1, "rank": 1, "text": "step 10"},
                                {"generation": 1, "rank": 1, "text": "\u001b[31mout of memory\u001b[0m"}])

    def test_following_ends_with_a_job_that_never_ran(self):
        self.assertEqual(self.ask("submit", self.config, "--data=5", "--min-data=5", "--train.shards=5").stdout, "night-1\n")  # never runs
        follow = subprocess.Popen([program.PROGRAM, "logs", "night-1", "--follow", "--coordinator", self.address],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.2)
        self.assertIsNone(follow.poll())
        self.assertExit(self.ask("cancel", "night-1"), 0)
        out, err = follow.communicate(timeout=60)
        self.assertEqual((follow.returncode, out), (0, ""))
        self.assertIn("nothing that job night-1 printed", err)


if __name__ == "__main__":
    program.main()
