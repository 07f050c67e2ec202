"""Runs the checks, one after the other, so that what is found belongs to one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spantree_deploy.conform import grpc_checks, http_accepted, http_json, http_refused
from spantree_deploy.conform.check import MUST, Check, Deviation, NotServed, Outcome, Result
from spantree_deploy.conform.targets import NoAnswer, Targets


def all_checks(targets: Targets) -> list[Check]:
    """The checks of the transports that `targets` has, in the order in which they are run."""
    of_http = [*http_accepted.checks(), *http_json.checks(), *http_refused.checks()] if targets.http else []
    return of_http + (list(grpc_checks.checks()) if targets.grpc else [])


def run_checks(checks: Sequence[Check], targets: Targets) -> Iterator[Result]:
    """The result of each check, as soon as it is there. A check that fails does not keep the others from running."""
    for check in checks:
        yield _result(check, targets)


def _result(check: Check, targets: Targets) -> Result:
    try:
        check.run(targets)
    except NotServed as reason:
        return Result(check, Outcome.SKIPPED, str(reason))
    except Deviation as found:
        return Result(check, Outcome.FAILED if check.level == MUST else Outcome.NOTE, str(found))
    except NoAnswer as found:
        # Whatever the specification says of the rest: it says that there is an answer.
        return Result(check, Outcome.FAILED, str(found))
    except Exception as error:
        return Result(check, Outcome.FAILED, f"its answer cannot be read: {type(error).__name__}: {error}")
    return Result(check, Outcome.PASSED, "")
