"""The coordinator and the commands that ask it, as a user calls them."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import tempfile
import time
import unittest

import program
from cluster import Coordinator
from program import run

CONFIG = '[run]\nname = "night"\nsteps = 40\ndir = "run"\n[data]\ndir = "data"\n'


class ClusterTest(unittest.TestCase):
    assertExit = program.ProgramTest.assertExit
    assertSays = program.ProgramTest.assertSays

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="filigree-cluster-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config = self.write("config.toml", CONFIG)
        self.journal = os.path.join(self.folder, "journal.db")

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, mode)
        return path

    @contextlib.contextmanager
    def coordinator(self, *flags, **options):
        started = Coordinator(self.journal, *flags, **options)
        try:
            self.assertIsNotNone(started.address, "".join(started.lines))
            yield started
        finally:
            started.stop()

    @staticmethod
    def ask(coordinator, *words, **options):
        return run(words[0], "--coordinator", coordinator.address, *words[1:], **options)


class Commands(ClusterTest):
    def test_from_submission_to_cancellation(self):
        with self.coordinator() as coordinator:
            process = self.ask(coordinator, "submit", self.config, "--priority=3", "--run.steps=50")
            self.assertExit(process, 0)
            self.assertEqual(process.stdout, "night-1\n")  # the name alone, for scripts
            table = self.ask(coordinator, "jobs").stdout
            self.assertRegex(table, r"night-1 +submitted +1x1 +0 ")
            job = json.loads(self.ask(coordinator, "jobs", "night-1", "--json").stdout)
            self.assertEqual((job["state"], job["priority"], job["target_steps"]), ("submitted", 3, 50))
            self.assertIn("night-1  submitted", self.ask(coordinator, "jobs", "night-1").stdout)
            self.assertExit(self.ask(coordinator, "cancel", "night-1"), 0)
            for again in ("cancel", "drain"):  # nothing more comes of it, and that is what is said
                process = self.ask(coordinator, again, "night-1")
                self.assertExit(process, 0)
                self.assertEqual(process.stdout, "night-1: cancelled: cancelled on request\n")
            self.assertIn("no jobs", self.ask(coordinator, "jobs").stdout)
            self.assertIn("cancelled", self.ask(coordinator, "jobs", "--all").stdout)
            self.assertExit(self.ask(coordinator, "watch", "night-1"), 75)
            process = self.ask(coordinator, "logs", "night-1", "--follow")
            self.assertExit(process, 0)
            self.assertEqual(process.stdout, "")
            self.assertIn("nothing that job night-1 printed is kept", process.stderr)
            self.assertIn("no workers", self.ask(coordinator, "jobs", "--workers").stdout)
            self.assertEqual(coordinator.stop(), 0)
            self.assertIn("cancelled on request", "".join(coordinator.lines))

    def test_one_key_is_one_job(self):
        with self.coordinator() as coordinator:
            first = self.ask(coordinator, "submit", self.config, "--key=k", "--json")
            again = self.ask(coordinator, "submit", self.config, "--key=k", "--json")
            self.assertEqual(json.loads(first.stdout), {"job": "night-1", "repeated": False})
            self.assertEqual(json.loads(again.stdout), {"job": "night-1", "repeated": True})
            other = self.ask(coordinator, "submit", self.config, "--key=k", "--data=2")
            self.assertExit(other, 1)
            self.assertSays(other, "night-1", "data")

    def test_mistakes_have_codes_and_words(self):
        with self.coordinator() as coordinator:
            for words, code, part in [(("cancel", "none-1"), 3, "none-1"), (("drain", "none-1"), 3, "none-1"),
                                      (("drain", "--worker", "w"), 3, "worker w"), (("drain",), 2, "--worker"),
                                      (("jobs", "none-1"), 3, "none-1"), (("watch", "none-1"), 3, "none-1"),
                                      (("logs", "none-1"), 3, "none-1"), (("logs", "a/b"), 2, "a/b"),
                                      (("logs",), 2, "job"), (("logs", "x-1", "--rank=-1"), 2, "--rank"),
                                      (("logs", "x-1", "--tail=3", "--tail-bytes=3"), 2, "--tail"),
                                      (("jobs", "a/b"), 2, "a/b"), (("cancel",), 2, "jobs"),
                                      (("submit", "none.toml"), 3, "none.toml"),
                                      (("submit", self.config, "--run.stepz=3"), 2, "run.steps"),
                                      (("submit", self.config, "--run.dir="), 2, "run.dir"),
                                      (("submit", self.config, "--data.dir="), 2, "data.dir"),
                                      (("submit", self.config, "--backend=local", "--data=2"), 2, "--backend"),
                                      (("submit", self.config, "--min-data=9"), 2, "min_data")]:
                process = self.ask(coordinator, *words)
                self.assertExit(process, code)
                self.assertSays(process, part)

    def test_nobody_there(self):
        process = run("jobs", "--coordinator", "127.0.0.1:9", "--timeout", "0.5")
        self.assertExit(process, 1)
        self.assertSays(process, "no coordinator answers at 127.0.0.1:9", "filigree coordinator")
        self.assertEqual(process.stderr.count("\n"), 1)  # gRPC's own words are not shown
        process = run("jobs", "--coordinator", "nonsense")
        self.assertExit(process, 2)
        process = run("jobs", env={"FILIGREE_COORDINATOR": "10.0.0.1:7070"})
        self.assertExit(process, 2)
        self.assertSays(process, "plain text", "--tls-ca")

    def test_a_command_that_comes_too_early_is_answered_when_there_is_somebody(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        early = subprocess.Popen([program.PROGRAM, "jobs", "--coordinator", address, "--timeout", "4"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.7)  # it has been refused by now
        with self.coordinator(listen=address):
            _, err = early.communicate(timeout=60)
        self.assertEqual(early.returncode, 0, err)

    def test_watch_outlives_the_coordinator(self):
        with self.coordinator() as coordinator:
            self.assertExit(self.ask(coordinator, "submit", self.config), 0)
            address = coordinator.address
            watch = subprocess.Popen([program.PROGRAM, "watch", "night-1", "--json", "--coordinator", address],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(json.loads(watch.stdout.readline())["snapshot"]["state"], "submitted")
            coordinator.stop(signal.SIGKILL)
        with self.coordinator(listen=address) as coordinator:
            self.assertEqual(json.loads(watch.stdout.readline())["snapshot"]["id"], "night-1")
            self.assertExit(self.ask(coordinator, "cancel", "night-1"), 0)
            out, err = watch.communicate(timeout=60)
        self.assertEqual(watch.returncode, 75, err)
        event = json.loads(out.splitlines()[-1])
        self.assertEqual((event["event"], event["to"]), ("job_moved", "cancelled"))


class Starting(ClusterTest):
    def refused(self, code, *parts, listen="127.0.0.1:0"):
        process = run("coordinator", "--journal", self.journal, "--listen", listen)
        self.assertExit(process, code)
        self.assertSays(process, *parts)

    def test_a_journal_that_is_in_use(self):
        with self.coordinator() as coordinator:
            self.refused(3, self.journal, str(coordinator.process.pid))

    def test_a_journal_of_a_newer_version(self):
        with self.coordinator():
            pass
        with contextlib.closing(sqlite3.connect(self.journal)) as database:
            database.execute("PRAGMA user_version = 999")
            database.commit()
        self.refused(3, self.journal, "newer")

    def test_a_journal_in_a_folder_that_is_not_there(self):
        self.journal = os.path.join(self.folder, "none", "journal.db")
        self.refused(3, "none")

    def test_an_address_that_others_reach(self):
        self.refused(2, "0.0.0.0", "--tls-cert", "filigree certs", listen="0.0.0.0:0")

    def test_mistakes_are_found_before_there_is_a_journal(self):
        none = self.write("none.pem", "no certificate\n")
        tls = ["--tls-cert", none, "--tls-key", none, "--tls-client-ca", none]
        for flags, part in [(["--listen", "nowhere"], "nowhere"), (["--listen", "127.0.0.1:0", *tls], "none.pem"),
                            (["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1"], "--metrics-listen"),
                            (["--listen", "127.0.0.1:0", "--metrics-listen", "0.0.0.0:0"], "--metrics-open"),
                            (["--listen", "127.0.0.1:0", "--console-listen", "x:y"], "--console-listen"),
                            (["--listen", "127.0.0.1:0", "--console-listen", "0.0.0.0:0"], "0.0.0.0"),
                            (["--listen", "127.0.0.1:0", "--metrics-open"], "--metrics-listen")]:
            process = run("coordinator", "--journal", self.journal, *flags)
            self.assertExit(process, 2)
            self.assertSays(process, part)
        self.assertEqual(sorted(os.listdir(self.folder)), ["config.toml", "none.pem"])

    def test_a_port_that_is_taken(self):
        with self.coordinator() as coordinator:
            self.journal = os.path.join(self.folder, "other.db")
            self.refused(1, coordinator.address, "taken", listen=coordinator.address)

    def test_a_section_of_a_file(self):
        path = self.write("c.toml", f'[run]\nsteps = 3\n[coordinator]\nlisten = "127.0.0.1:0"\njournal = "{self.journal}"\n')
        process = subprocess.Popen([program.PROGRAM, "coordinator", "--config", path], stdout=subprocess.PIPE, text=True)
        self.assertIn(self.journal, process.stdout.readline())
        self.assertIn("plain text", process.stdout.readline())
        process.terminate()
        self.assertEqual(process.wait(timeout=30), 0)
        process.stdout.close()

    def test_mistakes_in_a_file_are_placed(self):
        for text, part in [('[coordinator]\nlisen = "x"\n', "listen"), ("[coordinator]\nlisten = 3\n", ":2:"),
                           ("[coordinator\n", ":1:"), ("[run]\n", "[coordinator]"),
                           ("[coordinator]\nlease = 0.1\n", "lease")]:
            path = self.write("c.toml", text)
            process = run("coordinator", "--config", path, "--journal", self.journal)
            self.assertExit(process, 2)
            self.assertSays(process, part)


class Secured(ClusterTest):
    def test_certificates_from_making_them_to_using_them(self):
        certs = os.path.join(self.folder, "certs")
        process = run("certs", certs, "--host", "127.0.0.1", "--host", "node.cluster", "--admin", "alice", "--reader", "bob")
        self.assertExit(process, 0)
        for name in os.listdir(certs):
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(certs, name)).st_mode), 0o600, name)
        with open(os.path.join(certs, "ca.key"), encoding="utf-8") as file:
            key = file.read()
        self.assertExit(run("certs", certs, "--worker", "node-1"), 0)  # more, later
        process = run("certs", certs, "--admin", "alice")
        self.assertExit(process, 1)
        self.assertSays(process, "admin-alice.key", "never overwritten")
        longest = "w" * 64
        process = run("certs", certs, "--host", "other.cluster", "--worker", longest, "--admin", "alice")
        self.assertExit(process, 1)  # the first that is there; the others are made
        self.assertSays(process, "coordinator.key", "never overwritten", f"worker-{longest}.pem")
        self.assertTrue(os.path.exists(os.path.join(certs, f"worker-{longest}.key")))
        with open(os.path.join(certs, "ca.key"), encoding="utf-8") as file:
            self.assertEqual(file.read(), key)

        def path(name):
            return os.path.join(certs, name)

        with self.coordinator("--tls-cert", path("coordinator.pem"), "--tls-key", path("coordinator.key"),
                              "--tls-client-ca", path("ca.pem")) as coordinator:
            self.assertIn("by certificate", coordinator.lines[-1])

            def as_who(name, *words):
                return self.ask(coordinator, *words, "--tls-ca", path("ca.pem"), "--tls-cert", path(name + ".pem"),
                                "--tls-key", path(name + ".key"))

            self.assertEqual(as_who("admin-alice", "submit", self.config).stdout, "night-1\n")
            self.assertIn("night-1", as_who("reader-bob", "jobs").stdout)
            process = as_who("reader-bob", "cancel", "night-1")
            self.assertExit(process, 1)
            self.assertSays(process, "reader", "admin")
            self.assertExit(as_who("worker-node-1", "jobs"), 1)
            self.assertExit(self.ask(coordinator, "jobs", "--timeout", "1"), 1)  # plain text
            os.chmod(path("admin-alice.key"), 0o644)
            process = as_who("admin-alice", "jobs")
            self.assertExit(process, 1)
            self.assertSays(process, "chmod 600")

    def test_tokens(self):
        certs = os.path.join(self.folder, "certs")
        self.assertExit(run("certs", certs, "--host", "127.0.0.1"), 0)
        tokens = self.write("tokens", "admin 0123456789abcdef0123\nreader fedcba98765432100123\n")
        mine = self.write("mine", "0123456789abcdef0123\n")
        with self.coordinator("--tls-cert", os.path.join(certs, "coordinator.pem"), "--tls-key",
                              os.path.join(certs, "coordinator.key"), "--token-file", tokens) as coordinator:
            ca = os.path.join(certs, "ca.pem")
            process = self.ask(coordinator, "submit", self.config, "--tls-ca", ca, "--token-file", mine)
            self.assertEqual(process.stdout, "night-1\n", process.stderr)
            process = self.ask(coordinator, "jobs", "--tls-ca", ca)
            self.assertExit(process, 1)
            self.assertSays(process, "token")


class Completion(unittest.TestCase):
    assertExit = program.ProgramTest.assertExit

    def bash(self, *words):
        """What bash offers after these words."""
        script = ('source <("$0" completion bash); COMP_WORDS=(filigree "$@"); COMP_CWORD=$#; _filigree; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, program.PROGRAM, *words], text=True, capture_output=True, timeout=60,
                              check=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_bash_knows_commands_and_flags(self):
        self.assertEqual(self.bash("tra"), ["train"])
        self.assertIn("--coordinator", self.bash("submit", "--c"))
        self.assertEqual(self.bash("bench", "st"), ["step"])
        self.assertNotIn("--coordinator", self.bash("train", "--"))
        self.assertEqual(self.bash("submit", "conf"), [])  # files are bash's own business

    def test_every_command_of_the_help_is_there(self):
        listed = set(self.bash(""))
        for name in re.findall(r"^  ([a-z]+) {2,}", run("--help").stdout.split("Subcommands:")[1], re.M):
            self.assertIn(name, listed)

    def test_scripts_are_read_by_their_shells(self):
        for shell in ("bash", "zsh", "fish"):
            process = run("completion", shell)
            self.assertExit(process, 0)
            if shutil.which(shell):
                checked = subprocess.run([shell, "-n"], input=process.stdout, text=True, capture_output=True, timeout=60,
                                         check=False)
                self.assertEqual((checked.returncode, checked.stderr), (0, ""), shell)
        self.assertExit(run("completion", "tcsh"), 2)

    @unittest.skipUnless(shutil.which("fish"), "needs fish")
    def test_fish_knows_flags_of_the_command(self):
        script = f"{program.PROGRAM} completion fish | source; complete -C 'filigree submit --tls-c'"
        done = subprocess.run(["fish", "-c", script], text=True, capture_output=True, timeout=60, check=True)
        self.assertEqual({line.split("\t")[0] for line in done.stdout.splitlines()}, {"--tls-ca", "--tls-cert"})


if __name__ == "__main__":
    program.main()
