"""All that README quotes, in one run: tables as they come, at last one line of JSON.

    python -m benchmarks.bench                             some ten minutes
    python -m benchmarks.bench --rounds 31                 growth up to 3.1 million spans
    python -m benchmarks.bench --executions 1000000        reads on a million executions of 25 nodes
    python -m benchmarks.bench --only growth hot_path      some: hot_path redaction ingest growth reads service

Leave the machine alone meanwhile: rates are of this run, and only ratios and CPU can be compared with another's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run each benchmark as a command of its own and gather what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of 100,000 spans on top of each other")
    parser.add_argument("--partitions", type=int, default=400, help="days with partitions in the last round")
    parser.add_argument("--big", type=int, default=100_000, help="spans of one big trace")
    parser.add_argument("--executions", type=int, default=100_000, help="executions of the database that is read")
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME")
    arguments = parser.parse_args()
    growth = [f"--{name}={getattr(arguments, name)}" for name in ("rounds", "partitions", "big")]
    commands = {
        "hot_path": [],
        "redaction": [],
        "ingest": [],
        "growth": growth,
        "growth in Python": [*growth[:1], "--partitions=0", "--pure-python"],
        "reads": [f"--executions={arguments.executions}"],
        "service": [],
    }
    figures = {}
    for title, options in commands.items():
        name = title.partition(" ")[0]
        if arguments.only is None or name in arguments.only:
            print(f"\n=== {title}", flush=True)
            figures[title] = _run(name, options)
    print(json.dumps(figures))


def _run(name: str, options: list[str]) -> object:
    """What the benchmark says in its last line; all others are shown as they come."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    last = ""
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if last:
                print(last, end="", flush=True)
            last = line
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}")
    return json.loads(last)


if __name__ == "__main__":
    main()
