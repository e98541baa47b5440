"""Processes that the runner starts, one at a time, and how a signal to the runner reaches them."""
import os
import resource
import signal
import subprocess
import time

STOPPED = 75  # exit status of a run that was stopped and can go on; the program's and ours


class Stopped(Exception):
    """Somebody asked us to stop, or the time is up."""


class Children:
    """Starts processes; SIGTERM and SIGINT, and the deadline, end the one that runs with SIGTERM and raise Stopped."""

    def __init__(self, deadline=None):
        self.deadline = deadline  # of time.monotonic(), or None
        self.asked_to_stop = False
        self.child = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, self._stop)
        if deadline is not None:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, deadline - time.monotonic()))

    def _stop(self, number, frame):
        del number, frame
        if not self.asked_to_stop and self.child is not None:
            self.child.terminate()
        self.asked_to_stop = True

    def check(self):
        if self.asked_to_stop:
            raise Stopped

    def run(self, command, on_line):
        """Runs to the end, calls on_line with every line of output and errors; returns (status, what it cost).

        The session of its own keeps a terminal's SIGINT from reaching the child twice.
        """
        self.check()
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        load = os.getloadavg()[0]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                      start_new_session=True)
        if self.asked_to_stop:  # between the check and the start
            self.child.terminate()
        with self.child.stdout as lines:
            for line in lines:
                on_line(line.rstrip("\n"))
        status, self.child = self.child.wait(), None
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cost = {"status": status, "started": round(started, 1), "wall_seconds": round(time.time() - started, 3),
                "cpu_seconds": round(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 3),
                "load_average": [round(load, 2), round(os.getloadavg()[0], 2)]}
        return status, cost
