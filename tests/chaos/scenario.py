"""Minutes of a shop's night over two API processes: alerts exactly as ruled, streams that miss and repeat nothing.

    python -m tests.chaos.scenario [--minutes 10] [--workflows 50] [--seed N]

Workflows run one after another, some fail, some cost much; the receiver of webhooks refuses now and then; one API is
stopped and started, the other killed and started. At the end what clients of streams were told and what was delivered
is held against what was sent. Exit status 1 where they differ. The seed is printed; the same one sends the same runs.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
from tests.postgres import new_database, throw_away_server
from tests.sse import following
from tests.tables import query
from tests.two_apis import Latest, Run, api_process, faults_of_alerts, faults_of_stream, projecting
from tests.waiting import free_port, wait_until
from tests.webhook_receiver import SECRET, Receiver, receiver

from spantree_exporter.postgres.migrate import migrate

# Four runs a second: enough that something is always under way, little enough for a small machine.
_PAUSE_S = 0.25
_TIMEOUT_S = 300.0
_DEAR_USD = 0.5
_CAUSES = ("card declined by the bank", "stock is empty", "the mail bounced", "no route to the printer")


def runs_of(workflows: int, chance: random.Random) -> Iterator[Run]:
    """Runs without end: one in ten fails, for one of a few causes, one in twenty costs more than is usual."""
    number = 0
    while True:
        for workflow in range(workflows):
            number += 1
            error = chance.choice(_CAUSES) if chance.random() < 0.1 else None
            cost = round(chance.uniform(1.0, 2.0), 3) if chance.random() < 0.05 else 0.01
            yield Run(number, f"workflow {workflow}", error, cost)


def rules(hook: Receiver) -> list[dict[str, object]]:
    """The rules of alerts, each to the same receiver."""
    where = {"webhook_url": hook.url, "secret": SECRET}
    return [
        {"name": "any failure", "kind": "failure", **where},
        {"name": "one workflow", "kind": "failure", "filter": {"workflow": "workflow 3"}, **where},
        {"name": "dear", "kind": "cost", "limit": _DEAR_USD, **where},
        {"name": "new cause", "kind": "new_group", **where},
    ]


def expected_of(runs: list[Run], fingerprints: set[str]) -> dict[str, set[str]]:
    """By rule, what it has to tell of these runs."""
    failed = [run for run in runs if run.error is not None]
    return {
        "any failure": {run.execution_id for run in failed},
        "one workflow": {run.execution_id for run in failed if run.workflow == "workflow 3"},
        "dear": {run.execution_id for run in runs if (run.cost_usd or 0) > _DEAR_USD},
        "new cause": fingerprints,
    }


def play(minutes: float, workflows: int, seed: int, say: Callable[[str], None]) -> list[str]:
    """The whole of it; what went wrong."""
    chance = random.Random(seed)  # no secret
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}/api/v1" for port in ports]
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spantree-scenario-")))
        url = stack.enter_context(new_database(stack.enter_context(throw_away_server())))
        migrate(url)
        hook = stack.enter_context(receiver())
        apis = [stack.enter_context(api_process(url, directory, port)) for port in ports]
        for rule in rules(hook):
            httpx.post(f"{urls[0]}/alerts/rules", json=rule, trust_env=False, timeout=60).raise_for_status()
        turns = iter(range(10**9))
        followers = {
            "of the first API": following(f"{urls[0]}/stream"),
            "of the second API": following(f"{urls[1]}/stream", events="execution"),
            "of one after the other": following(lambda: f"{urls[next(turns) % 2]}/stream"),
        }
        told = {name: Latest(stack.enter_context(follower)) for name, follower in followers.items()}
        store = stack.enter_context(projecting(url))
        # (when, as a part of the whole time; to which API; what)
        plan = [(0.35, 0, "stop"), (0.45, 0, "start"), (0.6, 1, "kill"), (0.7, 1, "start")]
        runs: list[Run] = []
        sending = runs_of(workflows, chance)
        began_s = time.monotonic()
        while (part := (time.monotonic() - began_s) / (minutes * 60)) < 1:
            while plan and plan[0][0] <= part:
                _, at, what = plan.pop(0)
                say(f"{part:.0%}  {what} API {at + 1}, after {len(runs)} runs")
                if what == "start":
                    apis[at] = stack.enter_context(api_process(url, directory, ports[at]))
                else:
                    apis[at].signal(signal.SIGTERM if what == "stop" else signal.SIGKILL)
                    apis[at].status()
            # Now it takes everything, now it refuses each message once or twice.
            hook.failing = chance.choice((0, 0, 1, 2))
            run = next(sending)
            store.write(run.begun())
            store.write(run.ended())
            runs.append(run)
            time.sleep(max(0.0, began_s + len(runs) * _PAUSE_S - time.monotonic()))
        hook.failing = 0
        say(f"100%  {len(runs)} runs of {workflows} workflows were sent")
        ended = "SELECT count(*) FROM spantree.execution WHERE status IN ('completed', 'failed')"
        wait_until(lambda: query(url, ended) == [(len(runs),)], _TIMEOUT_S, "all were projected")
        for name, latest in told.items():
            wait_until(partial(latest.has_ended, runs), _TIMEOUT_S, f"the client {name} was told all")
        causes = query(url, "SELECT DISTINCT error_fingerprint FROM spantree.execution WHERE status = 'failed'")
        expected = expected_of(runs, {fingerprint for (fingerprint,) in causes})
        wanted = sum(map(len, expected.values()))
        with contextlib.suppress(AssertionError):  # what lacks is told below
            wait_until(lambda: len({body["event_id"] for body in hook.bodies()}) >= wanted, _TIMEOUT_S, "all came")
        taken = Counter(body["rule"]["name"] for body in hook.bodies())
        say(f"alerts taken: {dict(taken)}, wanted { {rule: len(about) for rule, about in expected.items()} }")
        say(f"attempts of deliveries: {sum(hook.attempts.values())} for {wanted} messages")
        for name, latest in told.items():
            follower = latest.follower
            say(f"client {name}: {len(follower.events)} events over {len(follower.positions)} connections")
        return faults_of_alerts(hook, expected) + [
            f"client {name}: {fault}" for name, latest in told.items() for fault in faults_of_stream(latest, runs)
        ]


def main() -> int:
    """Play, and print what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workflows", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None)
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    faults = play(chosen.minutes, chosen.workflows, seed, lambda text: print(text, flush=True))
    print("\n".join(faults) or "each alert as ruled and delivered, each change told once and in order", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
