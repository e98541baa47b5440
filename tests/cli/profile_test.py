"""Where the time of a step goes: table, JSON lines and Chrome trace, from a configuration and from a run."""
import json
import os

import program
from program import ProgramTest, run


class ProfileTest(ProgramTest):
    def profile(self, *arguments, **options):
        self.out = os.path.join(self.folder, "trace.json")
        return run("profile", *arguments, "--out", self.out, **options)

    def files(self):
        return {os.path.join(folder, name): os.stat(os.path.join(folder, name)).st_mtime_ns
                for folder, _, names in os.walk(self.run_dir) for name in names}

    def spans(self):
        with open(self.out, encoding="utf-8") as file:
            return [event for event in json.load(file)["traceEvents"] if event["ph"] == "X"]

    def test_a_configuration_is_profiled_and_no_run_begun(self):
        process = self.profile(self.config(), "--steps", 2, "--warmup", 1)
        self.assertExit(process, 0)
        self.assertSays(process, "GFLOP/s", "% roofline", "attention.backward", "no kernel", "optimizer", "speed of light",
                        self.out)
        self.assertFalse(os.path.exists(self.run_dir))
        steps = [span["name"] for span in self.spans() if span["cat"] == "step" and span["name"] != "data"]
        self.assertEqual(steps, ["step 1", "step 2"])

    def test_lines_and_trace_agree(self):
        process = self.profile(self.config(), "--json", "--run.threads=2")
        self.assertExit(process, 0)
        lines = [json.loads(line) for line in process.stdout.splitlines()]
        self.assertEqual(lines[0]["kind"], "profile")
        self.assertEqual(lines[0]["steps"], 3)
        self.assertEqual(lines[0]["threads"], 2)
        calls, last = {}, {}
        for span in self.spans():
            if span["cat"] != "kernel":
                continue
            calls[span["name"]] = calls.get(span["name"], 0) + 1
            last[span["tid"]] = max(last.get(span["tid"], 0), span["ts"] + span["dur"])
        kernels = {line["name"]: line for line in lines if line["kind"] == "kernel"}
        self.assertLessEqual(set(kernels), set(calls))
        for name, line in kernels.items():  # four digits; the table leaves out calls from inside of other kernels
            self.assertLessEqual(line["calls_per_step"] * 3, 1.001 * calls[name])
        used = sum(line["thread_ms_per_step"] for line in kernels.values())
        self.assertLessEqual(used, 2 * lines[0]["ms_per_step"] * 1.001)
        self.assertLessEqual(len(last), 2)

    def test_a_run_is_profiled_where_it_stands_and_stays_as_it_is(self):
        self.assertExit(self.train(), 0)
        before = self.files()
        process = self.profile(self.run_dir, "--steps", 1, "--warmup", 0, "--json")
        self.assertExit(process, 0)
        self.assertEqual(self.files(), before)
        head = json.loads(process.stdout.splitlines()[0])
        self.assertEqual(head["first_step"], 11)  # the run is complete: its last step once more
        self.assertEqual(head["density"], 0.25)
        self.assertSays(process, f"resumed from {self.run_dir}/checkpoints/")

    def test_what_cannot_be_profiled(self):
        process = self.profile(self.config(), "--steps", 0)
        self.assertExit(process, 2)
        self.assertSays(process, "--steps is 0")
        process = self.profile(self.config(), "--steps", 12)
        self.assertExit(process, 2)
        self.assertSays(process, "14 steps", "the run has 12")
        process = self.profile(os.path.join(self.folder, "none.toml"))
        self.assertExit(process, 3)
        process = self.profile(self.config(), "--modell.d_model=3")
        self.assertExit(process, 2)
        self.assertSays(process, "--modell.d_model")
        process = run("profile", self.config(), "--out", os.path.join(self.folder, "none", "trace.json"))
        self.assertExit(process, 3)
        self.assertSays(process, "none/trace.json")
        self.assertEqual(process.stdout, "")  # before any step
        process = run("profile", self.config(), "--out", self.folder)
        self.assertExit(process, 3)
        self.assertSays(process, "directory")
        self.assertEqual(process.stdout, "")


if __name__ == "__main__":
    program.main()
