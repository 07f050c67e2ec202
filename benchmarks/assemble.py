"""How the cost of facts and assembly grows with the size of a trace, for shapes that tempt code to be quadratic.

    python -m benchmarks.assemble [--spans 20000]

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


def span(
    number: int,
    parent: int | None,
    at: tuple[int, int],
    name: str,
    failed: bool,
    facts: Facts,
    fingerprint: int | None = None,
) -> SpanFacts:
    """One span of a made-up trace."""
    return SpanFacts(number, parent, fingerprint or number, name, 1, 2 if failed else 0, "", *at, 1, "shop", [], facts)


def after(number: int) -> tuple[int, int]:
    """Times such that the steps run one after another."""
    return number * 10, number * 10 + 5


def band(number: int, size: int) -> tuple[int, int]:
    """Times such that one half of the steps runs at once, and after it the other half."""
    return (10, 20) if number < size // 2 else (30, 40)


Shape = Callable[[int, int], SpanFacts]

# (number of the span, how many there are) -> the span
SHAPES: dict[str, Shape] = {
    "one after another": lambda n, _: span(n, 1, after(n), "t", False, {}),
    "failing one after another": lambda n, _: span(n, 1, after(n), "t", True, {}),
    "failing items of a loop": lambda n, _: span(n, 1, after(n), "t", True, {"input": f"{n}"}),
    "attempts of one task": lambda n, _: span(n, 1, after(n), "t", True, {"task_key": "k", "step": True}),
    "attempts nested in attempts": lambda n, _: span(n, n - 1, after(n), "t", True, {"task_key": "k", "kind": "task"}),
    "attempts told by events": lambda n, _: span(
        n, 1, after(n), f"t{n}", False, {"attempts": [{"attempt": 1, "at_ns": n * 10 + 2}]}
    ),
    "one below the other": lambda n, _: span(n, n - 1, (n, 10**9 - n), f"t{n % 9}", True, {}),
    "spans of one id": lambda n, _: span(7, 1, after(n), "t", False, {}, fingerprint=n),
    "children of spans of one id": lambda n, size: span(
        7 if n < size // 2 else n, 1 if n < size // 2 else 7, after(n % (size // 2)), "t", False, {}, fingerprint=n
    ),
    "versions of one span": lambda n, _: span(7, 1, (10, 10 + n), "t", False, {}, fingerprint=n),
    "parents that never came": lambda n, _: span(n, n + 10**7, after(n), "t", False, {}),
    "parallel bands by clock": lambda n, _: span(n, 1, (n // 100 * 1000, n // 100 * 1000 + 500), f"t{n}", False, {}),
    "parallel bands by number": lambda n, _: span(
        n, 1, (n // 100 * 1000, n // 100 * 1000 + 500), f"t{n}", False, {"step": True, "order": n // 100}
    ),
    "two bands by clock": lambda n, size: span(n, 1, band(n, size), f"t{n}", False, {"step": True}),
    "two bands of choices": lambda n, size: span(
        n, 1, band(n, size), "t", False, {"step": True, "order": 2 * n // size, "group": "g", "routes": ["t"]}
    ),
    "two bands of labels": lambda n, size: span(
        n, 1, band(n, size), "t", False, {"step": True, "order": 2 * n // size, "group": "g", "routes": [f"r{n}"]}
    ),
    "dependencies by name": lambda n, _: span(n, 1, after(n), f"t{n % 7}", False, {"step": True, "depends_on": ["t1"]}),
    "handoffs to nobody": lambda n, _: span(n, n - 1, after(n), "t", False, {"kind": "handoff", "handoff_to": "t"}),
    "steps that wait": lambda n, _: span(
        n, 1, after(n), "t", False, {"status": "waiting", "task_key": f"{n % 7}", "step": True}
    ),
    "chains of a plan": lambda n, _: span(
        n, 1 if n % 2 else n - 1, after(n), "t", False, {"planned_by": "p", "sent_by": f"{n % 2}", "task_key": f"{n}"}
    ),
    "calls beside their runs": lambda n, _: span(
        n,
        (1, n - 1, 1)[n % 3],
        (n // 3 * 10 + n % 3, n // 3 * 10 + 9 - n % 3),
        "t",
        False,
        ({"detached": True}, {"step": True}, {"kind": "db"})[n % 3],  # type: ignore[arg-type]
    ),
    "noise folded in depth": lambda n, _: span(n, n - 1, after(n), "x", False, {"fold": "parent"}),
    "messages passed on": lambda n, _: span(n, n - 1, after(n), "x", False, {"fold": "producer"}),
    "graphs in steps": lambda n, _: span(n, n - n % 2 or 1, after(n), "x", False, {"fold": "container", "group": "g"}),
    "routers": lambda n, _: span(n, 1, after(n), "x", False, {"fold": "router", "routes": ["x"]}),
}


def microseconds_a_span(shape: Shape, size: int) -> float:
    """The best of three runs."""
    spans = [span(1, None, (0, 10**9), "root", False, {}), *(shape(n, size) for n in range(2, size))]
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        assemble(spans, TRACE)
        best = min(best, time.process_time() - began)
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
