"""A study in a folder: makes the runs of a table, goes on with what was stopped, and writes what came out after each of them.

  OUT/NAME/run             the run folder
  OUT/NAME/settings.toml   what it was started with
  OUT/NAME/attempts.jsonl  one line a process that trained: status, wall and processor seconds, load average before and after
  OUT/NAME/output.txt      what they said
  OUT/NAME/validation.json loss over the whole validation split
  OUT/peer.jsonl           lines of tests/peer/compare_step.py
  OUT/results.jsonl        a row a finished run, then a row a point
  OUT/convergence.md       the same as tables
"""
import json
import os
import re
import sys

import markdown
import peer
import results
from child import STOPPED
from run_log import RunLog, stored_settings
from runs import differences


def say(text):
    print(text, flush=True)


def write_whole(path, text):
    """A reader never sees half a file."""
    with open(f"{path}.{os.getpid()}.tmp", "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(f"{path}.{os.getpid()}.tmp", path)


def toml_of(settings):
    def value(v):
        return json.dumps(v) if isinstance(v, str) and v not in ("true", "false") else str(v)

    return "".join(f"{key} = {value(v)}\n" for key, v in settings.items())


class Study:
    def __init__(self, options, table, children):
        self.options, self.children = options, children
        self.common = {**table["COMMON"], "data.dir": os.path.abspath(options.data), "run.threads": options.threads}
        self.runs, self.points = table["RUNS"], table["POINTS"]
        self.by_name = {run.name: run for run in self.runs}

    def path(self, run, *parts):
        return os.path.join(self.options.out, run.name, *parts)

    def log(self, run):
        return RunLog(self.path(run, "run"))

    def selected(self):
        """The runs that were asked for, and before each those it needs."""
        wanted = {}
        for run in self.runs:
            if self.options.only:
                if not re.search(self.options.only, run.name):
                    continue
            elif run.group not in self.options.groups:
                continue
            for name in (run.as_long_as, run.pace_of, run.name):
                if name:
                    wanted[name] = self.by_name[name]
        return list(wanted.values())

    def settings(self, run):
        """Every setting of the run; None as long as its length is not known."""
        settings = {**self.common, **run.settings, "run.name": run.name, "run.dir": self.path(run, "run")}
        if run.as_long_as:
            stored = stored_settings(self.path(run, "run"))
            steps = stored["run"]["steps"] if stored else self.steps_in_same_time(run)
            if steps is None:
                return None
            settings["run.steps"] = steps
        return settings

    def steps_in_same_time(self, run):
        rows = self.rows()
        if run.as_long_as not in rows or run.pace_of not in rows:
            return None
        time = results.seconds_of(rows[run.as_long_as], self.options.clock)
        pace = rows[run.pace_of]
        return max(1, int(time / results.seconds_of(pace, self.options.clock) * pace["steps"]))

    def is_done(self, run):
        settings = self.settings(run)
        return settings is not None and self.log(run).is_done(settings["run.steps"]) and self.validation(run) is not None

    def validation(self, run):
        try:
            with open(self.path(run, "validation.json"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def attempts(self, run):
        try:
            with open(self.path(run, "attempts.jsonl"), encoding="utf-8") as lines:
                return [json.loads(line) for line in lines]
        except FileNotFoundError:
            return []

    def refuse_another_run(self, run):
        """Ends the program where the run's folder was made with other settings or of another corpus."""
        stored, settings = stored_settings(self.path(run, "run")), self.settings(run)
        different = differences(settings, stored) if stored else []
        with open(os.path.join(self.common["data.dir"], "manifest.json"), encoding="utf-8") as file:
            bigram = json.load(file)["validation_baselines"]["kneser_ney_bigram"]["nats_per_token"]
        different += [f"bigram baseline of the corpus: {start['baselines']['bigram']} there, {bigram} in the corpus"
                      for start in self.log(run).starts[:1] if start["baselines"]["bigram"] != bigram]
        if different:
            sys.exit(f"{self.path(run)} holds a run with other settings: {'; '.join(different)}. "
                     f"Remove the folder to make it anew, or take another --out.")

    def make(self, run):
        """Trains until the run is done and evaluates it. Raises Stopped; what is in the folder then goes on the next time."""
        settings = self.settings(run)
        if settings is None:
            say(f"{run.name}: waits for {run.as_long_as} and {run.pace_of}")
            return
        os.makedirs(self.path(run), exist_ok=True)
        log = self.log(run)
        if not log.is_done(settings["run.steps"]):
            self.train(run, settings, resumed=stored_settings(self.path(run, "run")) is not None)
            log = self.log(run)
            if not log.is_done(settings["run.steps"]):
                sys.exit(f"{run.name}: the program ended well, but its log has {len(log.steps)} of {settings['run.steps']} steps")
        if self.validation(run) is None:
            self.evaluate(run)

    def train(self, run, settings, resumed):
        write_whole(self.path(run, "settings.toml"), toml_of(settings))
        say(f"{run.name}: {'goes on' if resumed else 'begins'}, {settings['run.steps']} steps; {run.why}")
        # A folder whose first start wrote no checkpoint yet begins anew from its settings.
        has_checkpoint = resumed and os.path.isdir(self.path(run, "run", "checkpoints")) and os.listdir(
            self.path(run, "run", "checkpoints"))
        command = [self.options.program, "train", self.path(run, "run" if has_checkpoint else "settings.toml")]
        with open(self.path(run, "output.txt"), "a", encoding="utf-8") as output:
            def on_line(line):
                output.write(line + "\n")
                if self.options.verbose:
                    say(f"{run.name}: {line}")

            status, cost = self.children.run(command, on_line)
        with open(self.path(run, "attempts.jsonl"), "a", encoding="utf-8") as out:
            out.write(json.dumps(cost) + "\n")
        if status == STOPPED:
            self.children.asked_to_stop = True  # by whom ever: nothing else begins
        self.children.check()
        if status != 0:
            with open(self.path(run, "output.txt"), encoding="utf-8") as output:
                sys.exit(f"{' '.join(command)} failed ({status}):\n" + "".join(output.readlines()[-10:]))

    def evaluate(self, run):
        command = [self.options.program, "eval", self.path(run, "run"), "--data", self.common["data.dir"], "--json", "--threads",
                   str(self.options.threads)]
        said = []
        status, _ = self.children.run(command, said.append)
        self.children.check()
        if status != 0:
            sys.exit(f"{' '.join(command)} failed ({status}):\n" + "\n".join(said[-10:]))
        line = next(line for line in said if line.startswith("{"))
        write_whole(self.path(run, "validation.json"), line + "\n")
        say(f"{run.name}: validation loss {json.loads(line)['loss']:.4f} nats, training {self.log(run).training_seconds():.1f} s")

    def rows(self):
        """Rows of all finished runs of the table, whether asked for now or not, by name."""
        rows = {}
        for run in self.runs:
            # The length of a run with as_long_as is what its folder says, so that this does not call itself.
            stored = stored_settings(self.path(run, "run"))
            validation = self.validation(run) if stored else None
            if validation is None:
                continue
            settings = {"optim.lr": stored["optim"]["lr"], **self.common, **run.settings, "run.steps": stored["run"]["steps"]}
            if differences(settings, stored):
                continue  # of an older table
            kept = {key: value for key, value in settings.items() if key != "data.dir"}
            rows[run.name] = results.row_of(run, kept, self.log(run), validation, self.attempts(run))
        return rows

    def peer_ms(self, width):
        """A step of the peer; None where it was not measured, or where our times are no wall times as its are."""
        if self.options.clock == "cpu":
            return None
        lines = [line for path in (os.path.join(self.options.out, "peer.jsonl"), self.options.peer) if path
                 for line in peer.read_lines(path)]
        return peer.fastest_ms(lines, width)

    def measure_peers(self):
        selected = {run.name for run in self.selected()}
        for point in self.points:
            wanted = any(selected & set(seed) for seed in point.seeds)
            if wanted and self.options.clock == "wall" and self.peer_ms(point.width) is None:
                peer.measure(self.children, self.options.program, self.options.torch_python, point, self.options.threads,
                             self.options.peer_rounds, os.path.join(self.options.out, "peer.jsonl"), say)

    def write(self):
        """results.jsonl and convergence.md of everything there is; returns the comparisons."""
        rows = self.rows()
        comparisons = [results.compare(point, rows, self.peer_ms(point.width), self.options.clock) for point in self.points]
        comparisons = [comparison for comparison in comparisons if comparison]
        lines = [json.dumps({"kind": kind, **row}) for kind, some in (("run", rows.values()), ("point", comparisons))
                 for row in some]
        write_whole(os.path.join(self.options.out, "results.jsonl"), "".join(line + "\n" for line in lines))
        missing = [run.name for run in self.selected() if run.name not in rows]
        page = markdown.page(list(rows.values()), comparisons, missing)
        write_whole(os.path.join(self.options.out, "convergence.md"), page)
        return comparisons
