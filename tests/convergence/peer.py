"""The peer's time of a step: the fastest fp32 variant of tests/peer/pytorch_step.py, measured by tests/peer/compare_step.py."""
import json
import os
import statistics
import sys

COMPARE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "peer", "compare_step.py")


def read_lines(path):
    """JSON lines of compare_step.py's output; others are passed over."""
    found = []
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("{"):
                    found.append(json.loads(line))
    except FileNotFoundError:
        pass
    return found


def fastest_ms(lines, width):
    """Median over rounds of the variant with the lowest one, or None where the peer was not measured at this width."""
    times = {}
    for line in lines:
        if line.get("d_model") == width and line.get("dtype") == "fp32" and "torch" in line:
            times.setdefault(line["variant"], []).append(line["ms_per_step"])
    return min((statistics.median(each) for each in times.values()), default=None)


def measure(children, program, python, point, threads, rounds, path, say):
    """Appends compare_step.py's lines at the point's width to `path`."""
    command = [sys.executable, COMPARE, program, "--python", python, "--widths", str(point.width), "--rounds", str(rounds),
               "--threads", str(threads), "--densities", point.density, "--embedding-density", point.embedding_density]
    said = []
    status, _ = children.run(command, said.append)
    children.check()
    if status != 0:
        sys.exit(f"{' '.join(command)} failed ({status}):\n" + "\n".join(said[-20:]))
    with open(path, "a", encoding="utf-8") as out:
        out.writelines(line + "\n" for line in said if line.startswith("{"))
    say(f"peer at D {point.width}: {fastest_ms(read_lines(path), point.width):.0f} ms a step")
