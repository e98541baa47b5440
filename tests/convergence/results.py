"""From runs to rows and verdicts: what results.jsonl and the table hold, and whether the figures (a) and (b) are met.

(a) same tokens: the active regime's validation loss is within 1 % of exact training's and within a tenth of the distance from
    exact training to the bigram baseline; the whole run takes at most half the time of exact training, and at most a fifth of
    what the PyTorch peer's steps would take.
(b) the same time as exact training: a lower loss.
"""
import statistics

LOSS_SHARE = 0.01  # of exact's loss
DISTANCE_SHARE = 0.1  # of exact to bigram
EXACT_RATIO = 2.0
PEER_RATIO = 5.0


def row_of(run, settings, log, validation, attempts):
    """Everything that is kept of a finished run. `attempts`: one record a process, as attempts.jsonl has them."""
    seconds = log.training_seconds()
    cpu = sum(attempt["cpu_seconds"] for attempt in attempts)
    return {
        "name": run.name, "group": run.group, "why": run.why, "settings": settings,
        "validation_loss": validation["loss"], "validation_tokens": validation["tokens"],
        "baselines": validation["baselines"], "curve": log.curve(),
        "steps": len(log.steps), "tokens": log.tokens(), "training_seconds": round(seconds, 3),
        "phase_seconds": log.phase_seconds(), "tokens_per_second": round(log.tokens() / seconds, 1),
        # Processor time of whole processes, over threads: what a machine that does nothing else needs at least. Their starts and
        # evaluations are in it: to take them off by their share of wall time would let a process that stood still bend it.
        "cpu_seconds": round(cpu / settings["run.threads"], 3) if attempts else None,
        "load_average": [attempt["load_average"] for attempt in attempts],
        "starts": len(log.starts), "min_alive": log.min_alive_note(), "facts": log.starts[-1]["facts"],
    }


def seconds_of(row, clock):
    return row["cpu_seconds" if clock == "cpu" else "training_seconds"]


def mean(values):
    return statistics.fmean(values) if values else None


def compare(point, rows, peer_ms, clock):
    """The figures of one point, means over the seeds that are finished; None where runs are missing.

    peer_ms: a step of the fastest variant of the peer at this width, or None.
    """
    done = [seed for seed in point.seeds if seed[0] in rows and seed[1] in rows]
    if not done:
        return None
    exact = mean([rows[seed[0]]["validation_loss"] for seed in done])
    active = mean([rows[seed[1]]["validation_loss"] for seed in done])
    bigram = rows[done[0][0]]["baselines"]["bigram"]
    exact_seconds = mean([seconds_of(rows[seed[0]], clock) for seed in done])
    active_seconds = mean([seconds_of(rows[seed[1]], clock) for seed in done])
    out = {
        "point": point.name, "seeds": len(done), "of_seeds": len(point.seeds), "clock": clock, "bigram": bigram, "exact": exact,
        "active": active, "difference": active - exact, "percent": 100 * (active - exact) / exact,
        "of_distance_to_bigram": (active - exact) / (bigram - exact) if bigram > exact else None,
        "exact_seconds": exact_seconds, "active_seconds": active_seconds, "time_ratio": exact_seconds / active_seconds,
    }
    if peer_ms is not None:
        out["peer_ms_per_step"] = peer_ms
        out["peer_seconds"] = peer_ms / 1e3 * rows[done[0][1]]["steps"]
        out["peer_ratio"] = out["peer_seconds"] / active_seconds
    timed = [seed for seed in done if seed[2] in rows]
    if timed:
        out["equal_time_seeds"] = len(timed)
        out["equal_time_loss"] = mean([rows[seed[2]]["validation_loss"] for seed in timed])
        out["equal_time_exact"] = mean([rows[seed[0]]["validation_loss"] for seed in timed])
        out["equal_time_seconds"] = mean([seconds_of(rows[seed[2]], clock) for seed in timed])
        out["equal_time_steps"] = mean([rows[seed[2]]["steps"] for seed in timed])
    return {**out, "figures": figures(out)}


def figures(c):
    """Name of each figure -> True (met), False (missed) or None (not measured)."""
    distance = c["of_distance_to_bigram"]
    return {
        "a: within 1 % of exact": c["percent"] <= 100 * LOSS_SHARE,
        "a: within a tenth of the way to bigram": distance is not None and distance <= DISTANCE_SHARE,
        "a: 2x less time than exact": c["time_ratio"] >= EXACT_RATIO,
        "a: 5x less time than PyTorch": c["peer_ratio"] >= PEER_RATIO if "peer_ratio" in c else None,
        "b: lower loss in exact's time": c["equal_time_loss"] < c["equal_time_exact"] if "equal_time_loss" in c else None,
    }
