#!/usr/bin/env python3
"""One training step, ours beside PyTorch's, in turn on the same machine.

  compare_step.py build/release/filigree [--python PYTHON_WITH_TORCH] [--widths 256,512,1024] [--rounds 3]
                  [--regime exact|active] [--densities 1/64,1/256,1/1000] [--candidates 4] [--dtypes fp32,bf16]

Each round runs `filigree bench step` and then every variant of pytorch_step.py, each in a process of its own; a
machine that drifts drifts under both. The peer's time does not depend on the density, so one round serves all of ours.
--dtypes: ours with activations stored so, the peer in fp32 and, for bf16, under autocast to bf16 as well. Prints every
JSON line as it comes, then a table: the median over rounds of each one's median, and for each of ours the ratio to the
peer's fastest variant of every dtype. Needs torch 2.4 or newer in PYTHON.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

VARIANTS = ("eager", "compiled-topk", "compiled-bisect")


def lines_of(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--widths", default="256,512,1024")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--regime", default="exact")
    parser.add_argument("--densities", default="1/64")
    parser.add_argument("--embedding-density", default="1/16")
    parser.add_argument("--candidates", default="4")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--dtypes", default="fp32")
    a = parser.parse_args()
    dtypes = a.dtypes.split(",")
    peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pytorch_step.py")

    table = []
    for width in map(int, a.widths.split(",")):
        times = {}
        sizes = ["--d", str(width), "--steps", str(a.steps), "--threads", str(a.threads)]
        for _ in range(a.rounds):
            commands = [[a.program, "bench", "step", "--json", *sizes, "--density", density, "--regime", a.regime,
                         "--candidates", a.candidates, "--embedding-density", a.embedding_density,
                         "--activations", dtype]
                        for density in a.densities.split(",") for dtype in dtypes]
            commands += [[a.python, peer, *sizes, "--which", variant, *(["--bf16"] if dtype == "bf16" else [])]
                         for variant in a.variants.split(",") for dtype in dtypes]
            for command in commands:
                for line in lines_of(command):
                    print(json.dumps(line), flush=True)
                    ours = line["variant"].startswith("filigree")
                    key = (line["variant"], line["dtype"], line["density"] if ours else None)
                    times.setdefault(key, []).append(line["ms_per_step"])
        table.append((width, {key: statistics.median(each) for key, each in times.items()}))

    print()
    for width, medians in table:
        peers = {key: ms for key, ms in medians.items() if key[2] is None}
        each = ", ".join(f"{variant} {dtype} {ms:.0f}" for (variant, dtype, _), ms in peers.items())
        print(f"D {width}: {each} ms")
        best = {dtype: min((ms, variant) for (variant, of, _), ms in peers.items() if of == dtype) for dtype in dtypes}
        for (variant, dtype, density), ms in medians.items():
            if density is None:
                continue
            ratios = ", ".join(f"{peer_ms / ms:.2f}x the fastest {of} ({name})" for of, (peer_ms, name) in best.items())
            print(f"  {variant} {dtype} at density {density:.5f}: {ms:.0f} ms, {ratios}")


if __name__ == "__main__":
    main()
