"""What a run folder says of itself: its settings, its log, how far it came. The format: docs/formats/run-folder.md."""
import json
import os
import tomllib


def records(run_dir):
    """Every record of the log, in order; lines that are no record are left out."""
    try:
        with open(os.path.join(run_dir, "steps.jsonl"), encoding="utf-8") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # a crash may tear a line
                if isinstance(record, dict) and "kind" in record:
                    yield record
    except FileNotFoundError:
        return


def stored_settings(run_dir):
    """Sections of config.toml, or None where there is none."""
    try:
        with open(os.path.join(run_dir, "config.toml"), "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return None


class RunLog:
    """The log of one run, read once."""

    def __init__(self, run_dir):
        of_kind = {}
        for record in records(run_dir):
            of_kind.setdefault(record["kind"], []).append(record)
        self.steps = of_kind.get("step", [])
        self.evals = of_kind.get("eval", [])
        self.starts = of_kind.get("run", [])
        self.ends = of_kind.get("end", [])
        self.notes = [record["text"] for record in of_kind.get("note", [])]

    def is_done(self, steps):
        """Whether the run has made all its steps and said so."""
        return bool(self.ends) and self.ends[-1]["reason"] == "done" and len(self.steps) == steps

    def training_seconds(self):
        """Sum over the steps; evaluations and checkpoints are not in it."""
        return sum(record["ms"] for record in self.steps) / 1e3

    def phase_seconds(self):
        sums = {}
        for record in self.steps:
            for phase, seconds in record["phase_seconds"].items():
                sums[phase] = sums.get(phase, 0.0) + seconds
        return {phase: round(seconds, 2) for phase, seconds in sums.items() if seconds > 0}

    def tokens(self):
        return len(self.steps) * self.starts[-1]["tokens_per_step"]

    def curve(self):
        """[steps done, validation loss of the log's sample] in order."""
        return [[record["step"], record["loss"]] for record in self.evals]

    def min_alive_note(self):
        return next((note for note in self.notes if note.startswith("min alive")), "")
