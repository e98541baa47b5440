"""Starts ranks that meet through a folder, as a user or any launcher would: one process each, told who it is by
FILIGREE_RANK, FILIGREE_RANKS and FILIGREE_STORE.

As a program: ranks.py N PROGRAM ARGUMENTS... ends with the first exit code that is not 0.
"""
import os
import subprocess
import sys
import tempfile
import time


class Ranks:
    """Processes under way. `env` is for all of them, `env_of[rank]` for one."""

    def __init__(self, count, command, env=None, env_of=None, **popen):
        self.store = tempfile.TemporaryDirectory(prefix="filigree-store-")
        self.processes = []
        for rank in range(count):
            environment = {**os.environ, "FILIGREE_RANK": str(rank), "FILIGREE_RANKS": str(count),
                           "FILIGREE_STORE": self.store.name, **(env or {}), **((env_of or {}).get(rank, {}))}
            self.processes.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **popen))

    def wait(self, timeout):
        """Exit codes (negative: the signal) and what each said, where pipes were asked for."""
        end = time.monotonic() + timeout
        outputs = []
        try:
            for process in self.processes:
                outputs.append(process.communicate(timeout=max(0.1, end - time.monotonic())))
        finally:
            self.kill()
        return [process.returncode for process in self.processes], outputs

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.store.cleanup()


if __name__ == "__main__":
    codes, _ = Ranks(int(sys.argv[1]), sys.argv[2:]).wait(timeout=280)
    sys.exit(next((code if code > 0 else 128 - code for code in codes if code != 0), 0))
