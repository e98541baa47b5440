"""The runs of the project's convergence study: standard-library corpus, 4 M tokens a run, in the order of their weight.

A step has 4,096 tokens; 976 of them are 4.0 M. Learning rates are those that shared sweeps found best at 1/16 (0.0512) and at
1/64 (0.1024); group `sweep` looks again with a quarter of the tokens.
"""
from fractions import Fraction

from runs import Point, Run

STEPS = 976

# For every run. No samples: they cost time and no figure needs them.
COMMON = {
    "run.steps": STEPS, "model.n_layer": 4, "model.n_ctx": 256, "train.batch": 16, "train.shards": 4,
    "eval.every": 50, "eval.sequences": 64, "sample.every": 0, "checkpoint.every": 100, "checkpoint.keep": 1,
}


def model(width, density, embedding_density, lr, min_alive):
    return {"model.d_model": width, "sparsity.density": density, "sparsity.embedding_density": embedding_density,
            "optim.lr": lr, "sparsity.min_alive": min_alive}


def times_four(fraction):
    """ "1/16" -> "1/4", at most 1."""
    divisor = int(fraction.split("/")[1])
    return f"1/{divisor // 4}" if divisor > 4 else 1


def exact(settings):
    """The paper's way: dense at first, annealed over half the run."""
    return {**settings, "sparsity.regime": "exact", "sparsity.density_start": 1, "sparsity.embedding_density_start": 1,
            "sparsity.anneal_end": 0.5}


def active(settings, **changes):
    """The best known policy: start at 4 f, reach f late, a reserve of 3 k that changes every 10 steps."""
    policy = {"sparsity.regime": "active", "sparsity.density_start": times_four(settings["sparsity.density"]),
              "sparsity.embedding_density_start": times_four(settings["sparsity.embedding_density"]),
              "sparsity.anneal_end": 0.6, "sparsity.candidates": 4, "sparsity.refresh_every": 10, "sparsity.drop": 0.5,
              "sparsity.newcomers": "norms"}
    return {**settings, **policy, **{f"sparsity.{key}": value for key, value in changes.items()}}


def dense(width, lr, steps=STEPS):
    """A transformer without any sparsity, of weights or of activations."""
    return {**model(width, 1, 1, lr, 0), "sparsity.regime": "exact", "sparsity.anneal_shape": "constant", "model.afrac": 1,
            "run.steps": steps}


D256 = model(256, "1/16", "1/4", 0.0512, 4)
D512 = model(512, "1/64", "1/16", 0.1024, 4)
D1024 = model(1024, "1/256", "1/16", 0.1024, 1)
D2048 = model(2048, "1/1000", "1/32", 0.1024, 1)


def triple(name, settings, seed):
    """Exact, active at the same tokens, active in the same time."""
    of_seed = {**settings, "run.seed": seed}
    names = tuple(f"{name}-{what}-s{seed}" for what in ("exact", "active", "equal-time"))
    return names, [
        Run(names[0], "figures", "the measure: exact training", exact(of_seed)),
        Run(names[1], "figures", "figure (a): the same tokens", active(of_seed)),
        Run(names[2], "figures", "figure (b): the same time", active(of_seed), as_long_as=names[0], pace_of=names[1]),
    ]


RUNS, triples = [], {}
for point, settings, seeds in (("d256", D256, [1]), ("d512", D512, [1]), ("d1024", D1024, [1]), ("d256", D256, [2, 3])):
    for seed in seeds:
        names, runs = triple(point, settings, seed)
        triples.setdefault(point, []).append(names)
        RUNS += runs

# Dense training for the reader. 64 wide has the nonzeros of both 256 wide (1/16, 1/4) and 1024 wide (1/256, 1/16): 459 k; 48
# wide has 307 k, where 512 wide (1/64, 1/16) has 328 k.
RUNS += [Run(f"dense-d{width}-lr{lr}", "reader", why, dense(width, lr)) for width, lr, why in (
    (64, 0.0128, "as many nonzeros as 256 and 1024 wide"), (64, 0.0256, "the same, learning rate swept"),
    (64, 0.0512, "the same, learning rate swept"), (64, 0.0064, "the same, learning rate swept"),
    (64, 0.0032, "the same, learning rate swept"), (48, 0.0256, "as many nonzeros as 512 wide"),
    (48, 0.0064, "the same, learning rate swept"),
    (256, 0.0256, "the same width and tokens"))]
RUNS.append(Run("dense-d256-lr0.0128", "sweep", "the same, learning rate swept", dense(256, 0.0128)))
RUNS.append(Run("d2048-thousandth", "reader", "the best policy at 1/1000", active(D2048)))

# Policies beside the one of the figures, at the same tokens: c, who the newcomers are, R, the anneal, the embeddings.
POLICIES = {
    "c2": {"candidates": 2}, "random": {"newcomers": "random"}, "c2-r20": {"candidates": 2, "refresh_every": 20},
    "votes": {"newcomers": "votes"}, "gradient": {"newcomers": "gradient"}, "anneal80": {"anneal_end": 0.8},
    "embeddings-whole": {"embedding_density_start": 1}, "r20": {"refresh_every": 20}, "drop25": {"drop": 0.25},
    "line-reserve": {"line_reserve": 4}, "anneal30": {"anneal_end": 0.3}, "c8": {"candidates": 8},
    "dense-anneal20": {"density_start": 1, "embedding_density_start": 1, "anneal_end": 0.2},
}
for point, settings in (("d256", D256), ("d512", D512)):
    for name, changes in POLICIES.items():
        if point == "d256" and name == "embeddings-whole":
            continue  # there 4 f_e is 1 anyway
        RUNS.append(Run(f"{point}-active-{name}-s1", "policy", "policy study: " + ", ".join(
            f"{key} {value}" for key, value in changes.items()), active({**settings, "run.seed": 1}, **changes)))
# What smaller reserves and a lower start cost, and save: at the same tokens, then in exact training's time. At 1/16 with c 4 and
# a start at 4 f every position is a candidate at first.
def reserve(settings, candidates, start, seed):
    begins = {f"{key}_start": str(start * Fraction(settings[f"sparsity.{key}"])) for key in ("density", "embedding_density")}
    return active({**settings, "run.seed": seed}, candidates=candidates, **begins)


TRADES = [("d256", D256, 2, 2, (1, 2, 3)), ("d256", D256, 1.5, 2, (1,)), ("d256", D256, 1.5, 1, (1,)), ("d256", D256, 1.25, 1, (1, 2, 3)),
          ("d512", D512, 2, 2, (1, 2)), ("d512", D512, 1.5, 1, (1,)), ("d1024", D1024, 2, 2, (1,)), ("d1024", D1024, 1.5, 1, (1,))]
for point, settings, candidates, start, seeds in TRADES:
    name, why = f"{point}-active-c{candidates}-start{start}", f"c {candidates}, starts at {start} f"
    RUNS += [Run(f"{name}-s{seed}", "policy", f"policy study: {why}", reserve(settings, candidates, start, seed)) for seed in seeds]
    RUNS.append(Run(f"{name}-lr0.0256-s1", "sweep", f"learning rate of {why}, 4 M tokens",
                    {**reserve(settings, candidates, start, 1), "optim.lr": 0.0256}))
    RUNS.append(Run(f"{name}-equal-time-s1", "policy", f"policy study: {why}, exact training's time",
                    reserve(settings, candidates, start, 1), as_long_as=f"{point}-exact-s1", pace_of=f"{name}-s1"))
RUNS += [Run(f"d512-{regime}-s2", "policy", "policy study: a second seed", way({**D512, "run.seed": 2}))
         for regime, way in (("exact", exact), ("active", active))]
RUNS.append(Run("d512-exact-anneal20-s1", "policy", "exact, annealed over a fifth of the run",
                {**exact({**D512, "run.seed": 1}), "sparsity.anneal_end": 0.2}))

# Learning rates, with a quarter of the tokens, then with all of them where a lower one did better.
for point, settings in (("d256", D256), ("d512", D512), ("d1024", D1024)):
    for regime, way in (("exact", exact), ("active", active)):
        RUNS += [Run(f"sweep-{point}-{regime}-lr{lr}", "sweep", "learning rate, 1 M tokens",
                     {**way(settings), "optim.lr": lr, "run.steps": STEPS // 4}) for lr in (0.0128, 0.0256, 0.0512, 0.1024, 0.2048)]
        RUNS += [Run(f"{point}-{regime}-lr{lr}-s1", "sweep", "learning rate, 4 M tokens",
                     {**way(settings), "optim.lr": lr, "run.seed": 1}) for lr in (0.0128, 0.0256, 0.0512) if lr != settings["optim.lr"]]
# Whether the better rate of exact training is better with other seeds, too.
RUNS += [Run(f"d256-exact-lr0.0256-s{seed}", "sweep", "learning rate, 4 M tokens, another seed",
             {**exact({**D256, "run.seed": seed}), "optim.lr": 0.0256}) for seed in (2, 3)]

POINTS = [
    Point("D 256, 1/16", 256, "1/16", "1/4", triples["d256"],
          ["dense-d64-lr0.0128", "dense-d64-lr0.0256", "dense-d64-lr0.0512", "dense-d256-lr0.0256", "dense-d256-lr0.0128"]),
    Point("D 512, 1/64", 512, "1/64", "1/16", triples["d512"], ["dense-d48-lr0.0256"]),
    Point("D 1024, 1/256", 1024, "1/256", "1/16", triples["d1024"], ["dense-d64-lr0.0128", "dense-d64-lr0.0256"]),
]
