#!/usr/bin/env python3
"""Runs a program as ranks on hosts of their own, joined by a link of a given rate, and prints what it prints:

    over_link.py [--hosts N] [--slots RANKS_A_HOST] [--rate 1gbit] PROGRAM ARGUMENTS...
    over_link.py --rate 1gbit build/release/filigree bench exchange --json --density 1/256

Hosts are network namespaces of this machine (tests/support/hosts.py), mpirun reaches them over sshd, shared memory is off, and
what each sends is held to the rate by the kernel. Needs root. For measurements: the tests have their own cases.
"""
import argparse
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hosts  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--slots", type=int, default=1, help="ranks on each host")
    parser.add_argument("--rate", help="of each host's link, as tc writes it; without it as fast as it goes")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    obstacle = hosts.obstacle()
    if obstacle is not None or not options.command:
        sys.exit(obstacle or "which program is to run?")
    program = [os.path.abspath(options.command[0]), *options.command[1:]]
    with tempfile.TemporaryDirectory(prefix="filigree-link-") as folder:
        cluster = hosts.Hosts(options.hosts, folder)
        try:
            for host in cluster:
                if options.rate is not None:
                    host.limit(options.rate)
            done = cluster[0].run(["mpirun", *cluster.mpirun_options(options.slots), *program])
        finally:
            cluster.close()
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
