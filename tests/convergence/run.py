#!/usr/bin/env python3
"""The convergence study: what the active regime's loss is beside exact training's, and what each costs.

  run.py --program build/release/filigree --out DIR [--data CORPUS] [--groups figures,reader | --only PATTERN]
         [--budget-minutes N] [--torch-python PYTHON_WITH_TORCH] [--clock wall|cpu]

Makes the runs of table.py one after another. It may be stopped at any time (SIGTERM, SIGINT, the end of the budget: exit status
75) and called again: finished runs stay, a stopped one goes on from its checkpoint. After every run it writes DIR/results.jsonl
and DIR/convergence.md (study.py says what else lies there). Exit status 0: all runs that were asked for are done and no
figure is missed; 1: a figure is missed.

--data    a prepared corpus; without it the standard library is prepared into DIR/corpus
--clock   what "time" means in the comparisons: wall, the sum of the log's step times; cpu, processor time of the training
          processes (start and evaluations included) over threads, for a machine that others use meanwhile, or where a run is
          stopped for a while (the peer, whose times are wall times, is left out then)
--peer    lines of tests/peer/compare_step.py measured before; with --torch-python they are measured where they are missing
Groups: figures (3 widths, 5 seeds: exact, active at the same tokens, active in the same time), reader (dense training, 1/1000),
policy (other policies of the active regime), sweep (learning rates).
"""
import argparse
import os
import re
import runpy
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from child import STOPPED, Children, Stopped  # noqa: E402
from markdown import WORDS  # noqa: E402
from study import Study, say  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def pattern(text):
    try:
        return re.compile(text)
    except re.error as problem:
        raise argparse.ArgumentTypeError(f"'{text}' is no regular expression: {problem}") from problem


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--data")
    parser.add_argument("--groups", default="figures,reader", type=lambda text: text.split(","))
    parser.add_argument("--only", type=pattern, help="regular expression of names, instead of groups")
    parser.add_argument("--budget-minutes", type=float)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--torch-python")
    parser.add_argument("--peer")
    parser.add_argument("--peer-rounds", type=int, default=1)
    parser.add_argument("--table", default=os.path.join(HERE, "table.py"), help="another table of runs")
    parser.add_argument("--list", action="store_true", help="name the runs and how far each is, run nothing")
    parser.add_argument("--verbose", action="store_true", help="every line of every run")
    return parser.parse_args()


def prepare_corpus(options, children):
    """Where the user named no corpus: the standard library of this machine's Python, once."""
    if options.data is None:
        options.data = os.path.join(options.out, "corpus")
        if not os.path.exists(os.path.join(options.data, "manifest.json")):
            said = []
            status, _ = children.run([options.program, "prepare", "--out", options.data], said.append)
            children.check()
            if status != 0:
                sys.exit("filigree prepare failed:\n" + "\n".join(said[-10:]))
    if not os.path.exists(os.path.join(options.data, "manifest.json")):
        sys.exit(f"{options.data} is no prepared corpus: it has no manifest.json. Make one with: "
                 f"filigree prepare --out {options.data}")


def main():
    options = arguments()
    os.makedirs(options.out, exist_ok=True)
    deadline = time.monotonic() + 60 * options.budget_minutes if options.budget_minutes is not None else None
    children = Children(deadline)
    try:
        prepare_corpus(options, children)
        study = Study(options, runpy.run_path(options.table), children)
        runs = study.selected()
        if not runs:
            sys.exit("no run of the table is asked for; --list names those of the groups, --only takes a regular expression")
        if options.list:
            for run in runs:
                say(f"{'done' if study.is_done(run) else f'{len(study.log(run).steps)} steps':>10}  {run.name}: {run.why}")
            return 0
        for run in runs:
            study.refuse_another_run(run)
        for run in runs:
            if not study.is_done(run):
                children.check()
                study.make(run)
                study.write()
        if options.torch_python:
            study.measure_peers()
    except Stopped:
        say("stopped; the same command goes on")
        study.write()
        return STOPPED
    comparisons = study.write()
    for comparison in comparisons:
        for name, met in comparison["figures"].items():
            say(f"{comparison['point']}: {name}: {WORDS[met]}")
    say(f"written: {os.path.join(options.out, 'convergence.md')}, results.jsonl")
    return 1 if any(met is False for comparison in comparisons for met in comparison["figures"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
