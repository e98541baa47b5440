"""The results as tables for people."""

WORDS = {True: "PASS", False: "MISS", None: "not measured"}


def line(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head, rows):
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def run_cells(row):
    phases = (row["phase_seconds"].get(phase, 0) for phase in ("forward", "backward", "optimizer", "topk"))
    loads = row["load_average"]
    return [row["name"], row["why"], row["settings"]["optim.lr"], row["steps"], f"{row['validation_loss']:.4f}",
            f"{row['training_seconds']:.0f}", f"{row['cpu_seconds']:.0f}" if row["cpu_seconds"] else "-",
            f"{row['tokens_per_second']:,.0f}", " / ".join(f"{seconds:.0f}" for seconds in phases),
            f"{loads[0][0]:.1f} to {loads[-1][1]:.1f}" if loads else "-"]


def runs_table(rows):
    """One line a finished run, in the order of the table of runs."""
    head = ["run", "why", "lr", "steps", "validation loss", "training, s", "processor, s", "tokens/s",
            "forward / backward / optimizer / mask, s", "load average"]
    return table(head, map(run_cells, rows))


def curves_table(rows, columns=8):
    """Validation losses on the log's sample of windows, at shares of each run."""
    shares = [(i + 1) / columns for i in range(columns)]

    def at(row, share):
        points = [point for point in row["curve"] if point[0] <= share * row["steps"]]
        return f"{points[-1][1]:.3f}" if points else "-"

    return table(["run", *(f"{100 * share:.0f} %" for share in shares)],
                 [[row["name"], *(at(row, share) for share in shares)] for row in rows])


def comparison(c):
    """A point as lines of text."""
    of_distance = "bigram is not beaten" if c["of_distance_to_bigram"] is None else f"{100 * c['of_distance_to_bigram']:+.1f} %"
    text = [f"### {c['point']} ({c['seeds']} of {c['of_seeds']} seeds; times: {c['clock']})", "",
            f"- exact {c['exact']:.4f}, active {c['active']:.4f} nats: {c['difference']:+.4f}, {c['percent']:+.2f} %, "
            f"{of_distance} of the distance from exact to bigram ({c['bigram']:.4f})",
            f"- time: exact {c['exact_seconds']:.0f} s, active {c['active_seconds']:.0f} s: {c['time_ratio']:.2f}x less"]
    if "peer_ratio" in c:
        text.append(f"- PyTorch at {c['peer_ms_per_step']:.0f} ms a step would take {c['peer_seconds']:.0f} s: "
                    f"{c['peer_ratio']:.1f}x")
    if "equal_time_loss" in c:
        text.append(f"- in exact's time ({c['equal_time_seconds']:.0f} s, {c['equal_time_steps']:.0f} steps): "
                    f"{c['equal_time_loss']:.4f} against {c['equal_time_exact']:.4f} nats")
    return "\n".join([*text, *(f"- {name}: **{WORDS[met]}**" for name, met in c["figures"].items())])


def page(rows, comparisons, missing):
    parts = ["# Convergence", *(comparison(c) for c in comparisons), "## Runs", runs_table(rows),
             "## Curves", "Validation loss on the windows the log samples, at shares of each run.", curves_table(rows)]
    notes = [f"- {row['name']}: {row['min_alive']}" for row in rows if row["min_alive"]]
    if notes:
        parts += ["## Min alive", "\n".join(notes)]
    if missing:
        parts += ["## Not run yet", ", ".join(missing)]
    return "\n\n".join(parts) + "\n"
