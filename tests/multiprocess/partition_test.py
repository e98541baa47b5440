"""A cluster whose network breaks: a coordinator and workers on hosts of their own (namespaces), with certificates. A worker
that is cut off, wholly or one way, and one that sleeps past its lease lose their ranks; the others go on, never are there two
generations at once, and when the network heals the grid grows again. The bits are those of a run that nothing happened to.

Prints what was noticed and mended, and after how long. Without namespaces the cases are skipped; with FILIGREE_HOSTS_REQUIRED=1
they fail.
"""
import json
import os
import signal
import time

import hosts
import program
from program import ProgramTest, main, run

LEASE = 3  # seconds
STEPS = 4000
CHANGES = {"sparsity__regime": "active", "sparsity__density_start": "1/4", "sparsity__embedding_density_start": "1/2",
           "sparsity__candidates": 1.5, "sparsity__refresh_every": 3, "eval__every": 0, "sample__every": 0,
           "run__threads": 1, "parallel__stuck_after": 2, "checkpoint__every": 100, "run__steps": STEPS}


class PartitionTest(ProgramTest):
    def setUp(self):
        obstacle = hosts.obstacle()
        if obstacle is not None:
            (self.fail if os.environ.get("FILIGREE_HOSTS_REQUIRED") == "1" else self.skipTest)(obstacle)
        super().setUp()
        self.cluster = hosts.Hosts(4, self.folder)  # node0 has the coordinator
        self.addCleanup(self.cluster.close)
        self.said = {}
        self.begin_coordinator()
        self.workers = {}
        for host in list(self.cluster)[1:]:
            self.workers[host.name] = self.start(host, "worker", "--name", host.name, "--host", host.name, "--slots", "1",
                                                 "--workdir", self.folder, *self.as_client(f"worker-{host.name}"))

    def begin_coordinator(self):
        certs = os.path.join(self.folder, "certs")
        names = [word for host in list(self.cluster)[1:] for word in ("--worker", host.name)]
        self.assertExit(run("certs", certs, "--host", "node0", *names, "--admin", "me"), 0)
        self.as_client = lambda who: ["--coordinator", "node0:7070", "--tls-ca", f"{certs}/ca.pem", "--tls-cert",
                                      f"{certs}/{who}.pem", "--tls-key", f"{certs}/{who}.key"]
        self.start(self.cluster[0], "coordinator", "--listen", "0.0.0.0:7070", "--journal",
                   os.path.join(self.folder, "journal.db"), "--lease", LEASE, "--tls-cert", f"{certs}/coordinator.pem",
                   "--tls-key", f"{certs}/coordinator.key", "--tls-client-ca", f"{certs}/ca.pem")

    def start(self, host, *words):
        path = os.path.join(self.folder, f"said-{host.name}-{words[0]}")
        self.said[path] = host
        with open(path, "w", encoding="utf-8") as out:
            process = host.start([program.PROGRAM, *words], stdout=out, stderr=out)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def ask(self, *words):
        return self.cluster[0].run([program.PROGRAM, words[0], *self.as_client("admin-me"), "--timeout", "20", *words[1:]], timeout=60)

    def eventually(self, what, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.1)
        return self.fail(f"did not happen within {seconds} s{self.all_said()}")

    def all_said(self):
        text = ""
        for path in self.said:
            with open(path, encoding="utf-8", errors="replace") as lines:
                text += f"\n--- {path}\n{lines.read()[-3000:]}"
        return text

    def job(self):
        process = self.ask("jobs", self.name, "--json")
        return json.loads(process.stdout) if process.returncode == 0 else {}

    def submit(self, *flags):
        self.eventually(lambda: self.ask("jobs", "--workers", "--json").stdout.count('"live"') == 3)
        process = self.ask("submit", self.config(**CHANGES), "--data=3", "--min-data=1", *flags)
        self.assertEqual(process.returncode, 0, process.stderr + self.all_said())
        self.name = process.stdout.strip()
        self.runs(3, 1)

    def runs(self, data, generation):
        """The job once it runs so wide, in that generation or a later one, and gets on."""
        first = None

        def there():
            nonlocal first
            job = self.job()
            self.assertNotIn(job.get("state"), ("failed", "cancelled", "done"), job.get("reason"))
            if job.get("state") != "running" or job["data"] != data or job["generation"] < generation:
                return None
            step = job.get("progress", {}).get("step", 0)
            first = step if first is None else first
            return job if step > first else None
        return self.eventually(there)

    def ranks(self, host):
        """Processes of ranks on a host: those beside its worker."""
        found = []
        for pid in host.processes("filigree"):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as line:
                    found += [pid] if b"\0train\0" in line.read() else []
            except OSError:
                pass
        return found

    def done(self):
        job = self.eventually(lambda: (j := self.job()).get("state") in ("done", "failed", "cancelled") and j, 200)
        self.assertEqual(job["state"], "done", job["reason"])
        alone = os.path.join(self.folder, "alone")
        self.assertExit(self.train(self.config("alone.toml", **{**CHANGES, "run__dir": alone}), "--quiet"), 0)
        self.assertEqual(self.state(), self.state(alone))
        steps = [record["step"] for record in self.log("step")]
        self.assertEqual(steps, list(range(STEPS)))

    def broken_and_mended(self, what, harm, mend, victim):
        """The others go on without the victim, whose ranks are gone before they do; healed, it is one of them again."""
        before = self.job()
        moment = time.monotonic()
        harm()
        self.eventually(lambda: self.job().get("generation", 0) > before["generation"])
        self.assertEqual(self.ranks(victim), [], "two generations at once")
        job = self.runs(2, before["generation"] + 1)
        without = time.monotonic() - moment
        self.assertNotIn(victim.name, [rank["worker"] for rank in job["ranks"]])
        moment = time.monotonic()
        mend()
        self.runs(3, job["generation"] + 1)
        print(f"{what}: the others on their way after {without:.1f} s; whole again {time.monotonic() - moment:.1f} s after it "
              "was mended", flush=True)

    def test_a_worker_that_is_cut_off_is_left_behind_and_comes_back(self):
        self.submit()
        victim = self.cluster[3]
        self.broken_and_mended("cable pulled", victim.unplug, victim.plug, victim)
        self.done()

    def test_a_worker_that_is_not_heard_is_left_behind_and_comes_back(self):
        self.submit()
        victim, coordinator = self.cluster[3], self.cluster[0]
        self.broken_and_mended("not heard by the coordinator", lambda: victim.lose_messages_to(coordinator),
                               lambda: victim.reach(coordinator), victim)
        self.done()

    def test_a_worker_that_sleeps_past_its_lease_is_left_behind_and_comes_back(self):
        self.submit()
        victim = self.cluster[3]
        asleep = []

        def sleep():
            asleep.extend(victim.processes("filigree"))
            for pid in asleep:
                os.kill(pid, signal.SIGSTOP)

        def wake():
            for pid in asleep:
                os.kill(pid, signal.SIGCONT)
        before = self.job()
        moment = time.monotonic()
        sleep()
        job = self.runs(2, before["generation"] + 1)
        without = time.monotonic() - moment
        self.assertEqual(len(self.ranks(victim)), 1)  # it sleeps, with what it had
        moment = time.monotonic()
        wake()
        self.runs(3, job["generation"] + 1)
        print(f"asleep: the others on their way after {without:.1f} s; whole again {time.monotonic() - moment:.1f} s after it "
              "woke up", flush=True)
        self.done()

    def test_ranks_that_do_not_hear_each_other_get_on_when_they_do_again(self):
        self.submit("--restart-limit=1000")
        before = self.job()
        one, other = self.cluster[2], self.cluster[3]
        one.lose_messages_to(other)
        self.eventually(lambda: self.job().get("generation", 0) > before["generation"])
        time.sleep(5)
        moment = time.monotonic()
        one.reach(other)
        self.runs(3, before["generation"] + 1)
        print(f"ranks not heard: on their way {time.monotonic() - moment:.1f} s after it was mended", flush=True)
        self.done()


if __name__ == "__main__":
    main()
