"""What a convergence study is made of: runs, each with its settings and its reason, and points where two runs are compared.

A table of them is a Python file that defines RUNS (a list of Run, in the order in which they are made) and POINTS (a list of
Point); table.py is the one of the project.
"""
import dataclasses
from fractions import Fraction


@dataclasses.dataclass(frozen=True)
class Run:
    name: str  # also the name of its folder
    group: str  # what --groups picks by
    why: str
    settings: dict  # "section.key" -> value, over those that every run has
    # A run that trains as long as `as_long_as` did: its run.steps are what that one's training took over the time of a step of
    # `pace_of`, a run of the same settings but for its length.
    as_long_as: str = ""
    pace_of: str = ""


@dataclasses.dataclass(frozen=True)
class Point:
    """One line of the comparison: the active regime beside exact training of the same model, corpus and tokens."""

    name: str
    width: int
    density: str
    embedding_density: str
    # One triple of names a seed: exact, active at the same tokens, active in the same time.
    seeds: list
    others: list = dataclasses.field(default_factory=list)  # runs a reader wants beside them


# What a run is allowed to differ in without being another run: it changes no bit of the weights.
FREE = {"run.dir", "run.name", "run.threads", "data.dir"}
FREE_SECTIONS = {"eval", "sample", "checkpoint"}


def is_free(key):
    return key in FREE or key.split(".")[0] in FREE_SECTIONS


def same_value(a, b):
    """Whether two values of a setting mean the same: "1/16" is 0.0625."""
    try:
        return abs(Fraction(str(a)) - Fraction(str(b))) <= Fraction(1, 10**12) * abs(Fraction(str(a)))
    except (ValueError, ZeroDivisionError):
        return str(a).lower() == str(b).lower()


def differences(settings, stored):
    """Lines "key: stored value, wanted value" where the sections `stored` of a config.toml mean another run."""
    lines = []
    for key, value in settings.items():
        section, name = key.split(".")
        has = stored.get(section, {}).get(name)
        if not is_free(key) and not same_value(value, has):
            lines.append(f"{key}: {has} there, {value} in the table")
    return lines
