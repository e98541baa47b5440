"""A small cluster on this machine: a coordinator and its workers, each a process of its own, as an operator starts them."""
import os
import re
import signal
import subprocess
import threading

import program


class Coordinator:
    """`filigree coordinator` on a free port; what it printed is in .lines."""

    def __init__(self, journal, *flags, listen="127.0.0.1:0", **env):
        self.process = subprocess.Popen([program.PROGRAM, "coordinator", "--journal", journal, "--listen", listen, *flags],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env={**os.environ, **env})
        self.lines = []
        self.address = None
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"listens on (\S+):", line)
            if found:
                self.address = found.group(1)
                break
        # A full pipe would stop it.
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(timeout=program.patience(30))
        self.reader.join(timeout=10)
        self.process.stdout.close()
        return code


class Worker:
    """`filigree worker` in a process of its own; what it printed is in .lines."""

    def __init__(self, folder, name, address, *flags, **env):
        self.name = name
        self.process = subprocess.Popen(
            [program.PROGRAM, "worker", "--name", name, "--host", "host-" + name, "--coordinator", address, "--workdir",
             folder, *flags],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env})
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(sig)
        code = self.process.wait(timeout=program.patience(60))
        self.reader.join(timeout=10)
        self.process.stdout.close()
        return code

    @property
    def said(self):
        return "".join(self.lines)


def lives(pid):
    """Whether there is such a process, and it is more than a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
