"""A table for run.py --table: policies of the active regime on a model that trains in minutes, to rank them before the study.

The sizes are those of the shared study (L 2, D 192, f_w 1/64, 2,048 tokens a step; numbers there are of other corpora): 2.0 M tokens a run.
"""
from runs import Point, Run

COMMON = {
    "run.steps": 1000, "run.seed": 1, "model.d_model": 192, "model.n_layer": 2, "model.n_ctx": 256, "train.batch": 8, "train.shards": 4,
    "sparsity.density": "1/64", "sparsity.embedding_density": "1/16", "sparsity.min_alive": 2, "optim.lr": 0.1024,
    "eval.every": 50, "eval.sequences": 64, "sample.every": 0, "checkpoint.every": 500, "checkpoint.keep": 1,
}
EXACT = {"sparsity.regime": "exact", "sparsity.density_start": 1, "sparsity.embedding_density_start": 1}
ACTIVE = {"sparsity.regime": "active", "sparsity.density_start": "1/16", "sparsity.embedding_density_start": "1/4",
          "sparsity.anneal_end": 0.6, "sparsity.candidates": 4, "sparsity.refresh_every": 10, "sparsity.drop": 0.5,
          "sparsity.newcomers": "norms"}


def changed(name, group="figures", **changes):
    why = ", ".join(f"{key} {value}" for key, value in changes.items()) or "start at 4 f, f at 60 %, c 4, R 10, norms"
    return Run(f"active{name}", group, why, {**ACTIVE, **{f"sparsity.{key}": value for key, value in changes.items()}})


RUNS = [
    Run("exact", "figures", "dense anneal over half the run", {**EXACT, "sparsity.anneal_end": 0.5}),
    changed(""), changed("-random", newcomers="random"), changed("-c2", candidates=2),
    changed("-votes", newcomers="votes"), changed("-gradient", newcomers="gradient"),
    changed("-static", refresh_every=0, dense_phase="false"),
    changed("-r20", refresh_every=20), changed("-c2-random", candidates=2, newcomers="random"),
    changed("-embeddings-whole", embedding_density_start=1), changed("-anneal80", anneal_end=0.8),
    Run("exact-anneal20", "figures", "dense anneal over a fifth of the run", {**EXACT, "sparsity.anneal_end": 0.2}),
    changed("-drop25", drop=0.25), changed("-line-reserve", line_reserve=4), changed("-r50", refresh_every=50),
    Run("exact-global", "scope", "one threshold over all matrices", {**EXACT, "sparsity.anneal_end": 0.5, "sparsity.scope": "global"}),
    changed("-global", "scope", scope="global"), changed("-proposals", "scope", newcomers="proposals"),
    changed("-c8", candidates=8), changed("-dense-anneal20", density_start=1, embedding_density_start=1, anneal_end=0.2),
]
RUNS += [Run(f"{run.name}-s2", "seed2", run.why, {**run.settings, "run.seed": 2}) for run in RUNS[:6]]
# The first two, both seeds, with activations kept as bf16: does the loss notice?
RUNS += [Run(f"{run.name}-bf16", "storage", f"{run.why}; activations as bf16", {**run.settings, "model.activation_storage": "bf16"})
         for run in RUNS if run.name in ("exact", "active", "exact-s2", "active-s2")]
POINTS = [Point("D 192, L 2, 1/64", 192, "1/64", "1/16", [("exact", "active", ""), ("exact-s2", "active-s2", "")])]
