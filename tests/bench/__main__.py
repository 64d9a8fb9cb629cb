"""
Prints what the engine costs, as one table: `python -m tests.bench [--quick] [--only NAME]`.

It measures; it is not a test. Each figure runs in a process of its own, so that none inherits
memory, threads or an open database from another; the bare floor is measured inside the same
process, in turn with the figure. Progress goes to stderr, the table to stdout.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from tests.bench.table import Row, to_text

NAMES = ("throughput", "latency", "recovery", "fifty", "two-hundred", "memory")


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short version, a few minutes less")
    parser.add_argument("--only", choices=NAMES, action="append", help="may be repeated")
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _print_rows(arguments.child, is_quick=arguments.quick)
        return
    rows: list[Row] = []
    for name in arguments.only or NAMES:
        rows += _measure(name, is_quick=arguments.quick)
    print(to_text(rows))


def _measure(name: str, *, is_quick: bool) -> list[Row]:
    """Have another process measure one figure."""
    print(f"measuring {name} …", file=sys.stderr, flush=True)
    began = perf_counter()
    quick = ["--quick"] if is_quick else []
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--child", name, *quick],
        stdout=subprocess.PIPE,
        check=False,
    )
    print(f"  {perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if done.returncode:
        return [Row(figure=name, measured=f"failed, exit {done.returncode}", is_reached=False)]
    return [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def _print_rows(name: str, *, is_quick: bool) -> None:
    # Heavy imports, DBOS among them, belong to the process that measures.
    import uvloop

    from tests.bench.figures import FULL, IN_PROCESS, QUICK
    from tests.bench.recovery import recovery

    effort = QUICK if is_quick else FULL
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if name == "recovery":
            rows = recovery(Path(folder), effort)
        else:
            rows = uvloop.run(IN_PROCESS[name](Path(folder), effort))
    print(json.dumps([row.to_json() for row in rows]))


if __name__ == "__main__":
    main()
