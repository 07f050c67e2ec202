"""Checks of an OTLP receiver, ours or anybody's, against OTLP 1.11: `spantree conform`.

Each check sends a request over a real socket and says what it found and what the specification wants; the section it
names is one of https://opentelemetry.io/docs/specs/otlp/. What is sent is stored by the receiver like any other data,
under the service name `spantree-conform`.
"""

from spantree_deploy.conform.check import Check, Outcome, Result
from spantree_deploy.conform.runner import all_checks, run_checks
from spantree_deploy.conform.targets import Targets

__all__ = ["Check", "Outcome", "Result", "Targets", "all_checks", "run_checks"]
