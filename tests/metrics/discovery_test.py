"""A real Prometheus finds the ranks of a job through the coordinator alone, with deploy/prometheus/prometheus.yml, and finds
those of the next generation when one is lost."""
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import program
from cluster import Coordinator, Worker
from program import ProgramTest, main, run

ENDLESS = 10 ** 8  # steps
REPOSITORY = ""


def get(url):
    """What a page says as JSON; None: nobody listens."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as reply:
            return json.load(reply)
    except (urllib.error.URLError, ConnectionError):
        return None


class DiscoveryTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.coordinator = Coordinator(os.path.join(self.folder, "journal.db"), "--lease", "3", "--metrics-listen",
                                       "127.0.0.1:0")
        self.addCleanup(self.coordinator.stop)
        self.pages = self.eventually(lambda: re.search(r"http://(\S+)/metrics", "".join(self.coordinator.lines))).group(1)
        self.workers = [Worker(self.folder, name, self.coordinator.address, "--slots", "1", FILIGREE_HOST="127.0.0.1")
                        for name in ("a", "b")]
        for worker in self.workers:
            self.addCleanup(worker.stop)

    def eventually(self, what, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.1)
        return self.fail(f"not within {seconds} s\n{''.join(self.coordinator.lines)}")

    def prometheus(self):
        """Our configuration, with this coordinator's address and less patience; its address."""
        with open(os.path.join(REPOSITORY, "deploy/prometheus/prometheus.yml"), encoding="utf-8") as lines:
            config = lines.read()
        self.assertEqual(config.count("127.0.0.1:7071"), 3)  # with the comment
        config = config.replace("127.0.0.1:7071", self.pages).replace("5s", "1s").replace("15s", "1s")
        config = config.replace("alerts.yml", os.path.join(REPOSITORY, "deploy/prometheus/alerts.yml"))
        path = os.path.join(self.folder, "prometheus.yml")
        with open(path, "w", encoding="utf-8") as out:
            out.write(config)
        log = open(os.path.join(self.folder, "prometheus.log"), "w+", encoding="utf-8")
        self.addCleanup(log.close)
        server = subprocess.Popen(["prometheus", f"--config.file={path}", "--web.listen-address=127.0.0.1:0",
                                   f"--storage.tsdb.path={self.folder}/tsdb", "--log.level=info"], stdout=log, stderr=log)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)

        def listens():
            with open(log.name, encoding="utf-8") as said:
                return re.search(r"[lL]istening on.*?address=(127\.0\.0\.1:[1-9]\d*)", said.read())
        return "http://" + self.eventually(listens).group(1)

    def ask(self, prometheus, query):
        """{labels without the job's: number} of what is known now."""
        reply = get(f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query}))
        found = reply["data"]["result"] if reply else []
        return {one["metric"].get("rank", ""): float(one["value"][1]) for one in found}

    def test_ranks_are_found_and_found_again(self):
        prometheus = self.prometheus()
        config = self.config(run__steps=ENDLESS, run__threads=1, eval__every=0, sample__every=0, checkpoint__every=ENDLESS,
                             parallel__stuck_after=2, telemetry__listen="127.0.0.1:0")
        submitted = run("submit", "--coordinator", self.coordinator.address, config, "--data=2")
        self.assertExit(submitted, 0)
        job = submitted.stdout.strip()
        up = f'up{{job="filigree-ranks", run_id="{job}"}}'
        self.eventually(lambda: self.ask(prometheus, up) == {"0": 1, "1": 1})
        steps = f'filigree_step_duration_seconds_count{{run_id="{job}"}}'
        before = self.eventually(lambda: len(found := self.ask(prometheus, steps)) == 2 and found)
        self.eventually(lambda: all(self.ask(prometheus, steps)[rank] > before[rank] for rank in before))
        self.eventually(lambda: self.ask(prometheus, f'filigree_step{{run_id="{job}"}}').get("", 0) > 0)
        # A lost rank: both are ranks of the next generation, at other addresses or not.
        children = subprocess.run(["pgrep", "-P", str(self.workers[0].process.pid)], capture_output=True, text=True, check=True)
        os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
        self.eventually(lambda: self.ask(prometheus, f'sum(filigree_restarts_total{{run_id="{job}"}})').get("", 0) == 1)
        targets = self.eventually(lambda: len(found := get(f"http://{self.pages}/sd") or []) == 2 and found)
        self.assertEqual(sorted(group["labels"]["rank"] for group in targets), ["0", "1"])
        self.eventually(lambda: self.ask(prometheus, up) == {"0": 1, "1": 1})
        self.assertExit(run("cancel", "--coordinator", self.coordinator.address, job), 0)
        self.eventually(lambda: get(f"http://{self.pages}/sd") == [])
        self.eventually(lambda: self.ask(prometheus, up) == {})


if __name__ == "__main__":
    REPOSITORY = sys.argv.pop(2)
    main()
