"""Metrics of a real run of 2 x 2 ranks: every page passes promtool, and pages and a real Prometheus say what the log says."""
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import program
from program import ProgramTest, main

LAUNCHER = ["mpirun", "--mca", "plm", "isolated", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "-n", "4"]
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
GRID = {"parallel__data": 2, "parallel__tensor": 2, "model__tensor_groups": 2, "run__threads": 1}
STEPS = program.SMALL["run.steps"]
# After the last step comes a sample that takes longer than the test: nothing changes any more while it is looked at. The
# likeliest token again and again, since a drawn one may be the end of the text.
AT_THE_END = {"sample__every": STEPS, "sample__tokens": 1000000, "sample__temperature": 0}
PHASES = ("data", "forward", "backward", "compress", "exchange", "optimizer", "topk", "checkpoint")


next_port = 20000 + os.getpid() % 8000


def free_ports(count):
    """The first of so many free ports in a row; none is handed out twice."""
    global next_port
    while next_port < 32000:  # above, the kernel takes ports for connections
        begin, next_port = next_port, next_port + count
        sockets = []
        try:
            for port in range(begin, begin + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
            return begin
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise RuntimeError("no free ports")


def get(url, timeout=10):
    """The text of a page; None: nobody listens."""
    try:
        # No proxy: what is asked is this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=timeout) as reply:
            return reply.read().decode("utf-8")
    except (urllib.error.URLError, ConnectionError):
        return None


def parse(text):
    """{(name, ((label, value), ...)): number}"""
    series = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line).groups()
            key = (name, tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels or ""))))
            assert key not in series, f"twice: {key}"
            series[key] = float(value)
    return series


def value(series, name, **labels):
    """The one series of that name with these labels, among others."""
    found = [number for (one, own), number in series.items() if one == "filigree_" + name and set(labels.items()) <= set(own)]
    assert len(found) == 1, f"{name} {labels}: {len(found)} series"
    return found[0]


class ScrapeTest(ProgramTest):
    def start(self, **changes):
        self.port = free_ports(4)
        config = self.config(telemetry__listen=f"127.0.0.1:{self.port}", **GRID, **AT_THE_END, **changes)
        self.run_process = subprocess.Popen([*LAUNCHER, program.PROGRAM, "train", config, "--quiet"], env=ENVIRONMENT,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(self.run_process.kill)

    def pages(self):
        """The pages of all four ranks when the last step and its evaluation are over."""
        end = time.monotonic() + 120
        while time.monotonic() < end and self.run_process.poll() is None:
            texts = [get(f"http://127.0.0.1:{self.port + rank}/metrics") for rank in range(4)]
            if all(texts) and "filigree_val_loss_nats" in texts[0]:
                parsed = [parse(text) for text in texts]
                # The evaluation of this very step, and the snapshot after it.
                done = all(value(one, "step_duration_seconds_count") == STEPS for one in parsed)
                if done and self.log("snapshot") and self.log("snapshot")[-1]["step"] == STEPS:
                    return [get(f"http://127.0.0.1:{self.port + rank}/metrics") for rank in range(4)]
            time.sleep(0.05)
        self.fail(f"no pages: {self.run_process.communicate()[0] if self.run_process.poll() is not None else 'time is over'}")

    def stop(self):
        self.run_process.send_signal(signal.SIGUSR1)  # which mpirun passes on; SIGTERM makes its own exit code 1
        said = self.run_process.communicate(timeout=60)[0]
        self.assertEqual(self.run_process.returncode, 0, said)

    def prometheus(self):
        """A real one that scrapes the four ranks; its address."""
        port = free_ports(1)
        config = os.path.join(self.folder, "prometheus.yml")
        targets = [f"127.0.0.1:{self.port + rank}" for rank in range(4)]
        with open(config, "w", encoding="utf-8") as out:
            json.dump({"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
                       "scrape_configs": [{"job_name": "ranks", "honor_labels": True,
                                           "static_configs": [{"targets": targets}]}]}, out)  # JSON is YAML
        with open(os.path.join(self.folder, "prometheus.log"), "w", encoding="utf-8") as log:
            server = subprocess.Popen(["prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
                                       f"--storage.tsdb.path={self.folder}/tsdb", "--log.level=warn"], stdout=log, stderr=log)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        return f"http://127.0.0.1:{port}"

    def ask(self, prometheus, query, count):
        """What Prometheus knows of a query, as soon as it knows so many series."""
        end = time.monotonic() + 60
        found = []
        while time.monotonic() < end:
            text = get(f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query}))
            found = json.loads(text)["data"]["result"] if text else []
            if len(found) == count:
                return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in found}
            time.sleep(0.2)
        self.fail(f"{query}: {len(found)} series, expected {count}")

    def check_rank_0(self, page):
        steps = self.log("step")
        self.assertEqual(len(steps), STEPS)
        for phase in PHASES:
            said = value(page, "step_phase_seconds_total", rank="0", phase=phase)
            logged = sum(record["phase_seconds"][phase] for record in steps)
            self.assertAlmostEqual(said, logged, delta=1e-6, msg=phase)
        self.assertGreater(value(page, "step_phase_seconds_total", phase="forward"), 0)
        for direction in ("sent", "received"):
            parts = [value(page, "comm_bytes_total", op=op, direction=direction) for op in ("gradients", "activations")]
            self.assertEqual(sum(parts), sum(record["wire_bytes"][direction] for record in steps))
            self.assertGreater(min(parts), 0)
            dense = value(page, "comm_dense_equivalent_bytes_total", op="gradients", direction=direction)
            self.assertEqual(dense, sum(record["wire_bytes"]["dense_equivalent"] for record in steps))
        self.assertAlmostEqual(value(page, "step_duration_seconds_sum"), sum(r["ms"] for r in steps) / 1e3, delta=1e-6)
        self.assertEqual(value(page, "step_duration_seconds_bucket", le="+Inf"), STEPS)

    def check_run(self, page):
        last = self.log("step")[-1]
        for name, key in (("train_loss_nats", "loss"), ("learning_rate", "lr"), ("gradient_norm", "gradient_norm"),
                          ("weight_density_ratio", "density")):
            self.assertAlmostEqual(value(page, name), last[key], delta=1e-8 * abs(last[key]), msg=name)
        self.assertAlmostEqual(value(page, "val_loss_nats"), self.log("eval")[-1]["loss"], delta=1e-8)
        self.assertEqual(value(page, "step"), STEPS)
        self.assertEqual(value(page, "target_steps"), STEPS)
        self.assertEqual(value(page, "target_weight_density_ratio"), 0.25)
        self.assertEqual(value(page, "tokens_total"), STEPS * program.SMALL["train.batch"] * program.SMALL["model.n_ctx"])
        for name in ("skipped_steps_total", "mask_mismatch_total", "checkpoint_failures_total"):
            self.assertEqual(value(page, name), 0)
        self.assertLess(abs(time.time() - value(page, "last_checkpoint_timestamp_seconds")), 300)
        matrices = self.log("snapshot")[-1]["matrices"]
        for matrix in matrices:
            layer = "" if matrix.get("layer", -1) < 0 else str(matrix["layer"])
            said = value(page, "layer_weight_density_ratio", layer=layer, matrix=matrix["kind"])
            self.assertAlmostEqual(said, matrix["nnz"] / matrix["numel"], delta=1e-8)
        digest = subprocess.run(["sha256sum", os.path.join(self.run_dir, "config.toml")], capture_output=True, text=True,
                                check=True).stdout.split()[0]
        self.assertEqual(value(page, "run_info", run_name="run", config_sha256=digest, dp="2", tp="2"), 1)

    def test_pages_and_prometheus_say_what_the_log_says(self):
        self.start()
        prometheus = self.prometheus()
        texts = self.pages()
        pages = [parse(text) for text in texts]
        for rank, text in enumerate(texts):
            lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
            self.assertEqual((lint.returncode, lint.stdout + lint.stderr), (0, ""), f"rank {rank}")
            owners = {dict(labels)["rank"] for _, labels in pages[rank] if "rank" in dict(labels)}
            self.assertEqual(owners, {str(rank)})
            self.assertEqual({dict(own)["run_id"] for name, own in pages[rank] if name != "filigree_build_info"}, {"run"})
        self.check_rank_0(pages[0])
        self.check_run(pages[0])
        for page in pages[1:]:
            self.assertNotIn("filigree_train_loss_nats", {name for name, _ in page})
        counted = self.ask(prometheus, f"filigree_step_duration_seconds_count == {STEPS}", 4)
        self.assertEqual({dict(labels)["rank"] for labels in counted}, set("0123"))
        for rank in range(4):
            known = self.ask(prometheus, f'filigree_comm_bytes_total{{rank="{rank}", direction="sent"}}', 2)
            self.assertEqual(sum(known.values()), sum(
                value(pages[rank], "comm_bytes_total", op=op, direction="sent") for op in ("gradients", "activations")))
        loss = self.ask(prometheus, "filigree_train_loss_nats", 1)
        self.assertAlmostEqual(list(loss.values())[0], self.log("step")[-1]["loss"], delta=1e-8)
        self.stop()

    def test_under_a_coordinator_ranks_show_their_own_alone(self):
        self.start(telemetry__job="job-7")
        end = time.monotonic() + 60
        text = None
        while text is None and time.monotonic() < end:
            text = get(f"http://127.0.0.1:{self.port}/metrics")
        names = {name for name, _ in parse(text)}
        self.assertIn("filigree_step_phase_seconds_total", names)
        self.assertFalse(names & {"filigree_train_loss_nats", "filigree_step", "filigree_run_info"})
        self.assertEqual({dict(own)["run_id"] for name, own in parse(text) if name != "filigree_build_info"}, {"job-7"})
        self.run_process.kill()
        self.run_process.communicate(timeout=60)

    def test_a_port_that_is_taken_ends_the_run_before_its_first_step(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = self.train(self.config(telemetry__listen=f"127.0.0.1:{port}"))
        self.assertExit(done, 1)
        self.assertSays(done, f"telemetry.listen: cannot listen on 127.0.0.1:{port}: the port is taken")
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "steps.jsonl")))

    def test_addresses_that_others_reach_are_refused_unless_opened(self):
        done = self.train(self.config(telemetry__listen="0.0.0.0:0"))
        self.assertExit(done, 2)
        self.assertSays(done, "telemetry.listen", "can be reached by others", "telemetry.open = true")
        self.assertExit(self.train(self.config(telemetry__listen="0.0.0.0:0", telemetry__open="true", run__steps=2)), 0)
        done = self.train(self.config(telemetry__open="true", run__steps=2, run__dir=os.path.join(self.folder, "other")))
        self.assertExit(done, 0)
        self.assertSays(done, "telemetry.open opens nothing", "telemetry.listen")

    def test_the_coordinator_shows_jobs_and_says_that_it_is_there(self):
        port = free_ports(2)
        metrics, address = f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"
        process = subprocess.Popen([program.PROGRAM, "coordinator", "--listen", address, "--metrics-listen", metrics,
                                    "--journal", os.path.join(self.folder, "journal.db")], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.kill)
        end = time.monotonic() + 60
        while get(f"http://{metrics}/healthz") != "ok\n":
            self.assertTrue(process.poll() is None and time.monotonic() < end, "the coordinator did not come up")
            time.sleep(0.05)
        submitted = program.run("submit", "--coordinator", address, self.config(), "--name", "small")
        self.assertExit(submitted, 0)
        text = get(f"http://{metrics}/metrics")
        lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        self.assertEqual((lint.returncode, lint.stdout + lint.stderr), (0, ""))
        self.assertEqual(value(parse(text), "run_info", run_id="small-1", run_name="small"), 1)
        self.assertEqual(value(parse(text), "restarts_total", run_id="small-1", reason="fault"), 0)
        self.assertEqual(get(f"http://{metrics}/sd"), "[]")
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 0, said)


if __name__ == "__main__":
    main()
