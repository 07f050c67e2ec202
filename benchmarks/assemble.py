"""How the cost of facts and assembly grows with the size of a trace, for shapes that tempt code to be quadratic.

    python benchmarks/assemble.py [--spans 20000]

Prints microseconds a span at a tenth of the size and at the whole size, and their ratio: near 1 is linear.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import SpanFacts

TRACE = "0af7651916cd43dd8448eb211c80319c"


def span(number: int, parent: int | None, at: tuple[int, int], name: str, failed: bool, facts: Facts) -> SpanFacts:
    """One span of a made-up trace."""
    return SpanFacts(number, parent, number, name, 1, 2 if failed else 0, "", *at, 1, "shop", [], facts)


def after(number: int) -> tuple[int, int]:
    """Times such that the steps run one after another."""
    return number * 10, number * 10 + 5


SHAPES: dict[str, Callable[[int], SpanFacts]] = {
    "one after another": lambda n: span(n, 1, after(n), "t", False, {}),
    "failing one after another": lambda n: span(n, 1, after(n), "t", True, {}),
    "attempts of one task": lambda n: span(n, 1, after(n), "t", True, {"task_key": "k", "step": True}),
    "attempts nested in attempts": lambda n: span(n, n - 1, after(n), "t", True, {"task_key": "k", "kind": "task"}),
    "one below the other": lambda n: span(n, n - 1, (n, 10**9 - n), f"t{n % 9}", True, {}),
    "parallel bands by clock": lambda n: span(n, 1, (n // 100 * 1000, n // 100 * 1000 + 500), f"t{n}", False, {}),
    "parallel bands by number": lambda n: span(
        n, 1, (n // 100 * 1000, n // 100 * 1000 + 500), f"t{n}", False, {"step": True, "order": n // 100}
    ),
    "dependencies by name": lambda n: span(n, 1, after(n), f"t{n % 7}", False, {"step": True, "depends_on": ["t1"]}),
    "noise folded in depth": lambda n: span(n, n - 1, after(n), "x", False, {"fold": "parent"}),
    "messages passed on": lambda n: span(n, n - 1, after(n), "x", False, {"fold": "producer"}),
}


def microseconds_a_span(shape: Callable[[int], SpanFacts], size: int) -> float:
    """The best of three runs."""
    spans = [span(1, None, (0, 10**9), "root", False, {}), *(shape(n) for n in range(2, size))]
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        assemble(spans, TRACE)
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / size


def main() -> None:
    """Print one line a shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=20_000)
    size = parser.parse_args().spans
    print(f"{'shape':30} {size // 10:>8} {size:>8}  ratio   (microseconds a span)")
    for name, shape in SHAPES.items():
        small, large = microseconds_a_span(shape, size // 10), microseconds_a_span(shape, size)
        print(f"{name:30} {small:8.1f} {large:8.1f} {large / small:6.2f}")


if __name__ == "__main__":
    main()
