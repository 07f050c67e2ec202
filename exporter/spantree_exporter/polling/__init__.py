"""Watch jobs of other systems: each is a live execution until it is over (docs/polling.md)."""

from spantree_exporter.polling.error_classes import CLASSES, ErrorClass, class_of
from spantree_exporter.polling.health import PollerHealth
from spantree_exporter.polling.results import Result
from spantree_exporter.polling.simulated import SimulatedJobs
from spantree_exporter.polling.states import FINAL, STATES, TRANSITIONS, Job, JobState, Rules
from spantree_exporter.polling.store import PollingStoreError
from spantree_exporter.polling.watcher import Change, JobWatcher, Seen, health_of_file

__all__ = [
    "CLASSES",
    "FINAL",
    "STATES",
    "TRANSITIONS",
    "Change",
    "ErrorClass",
    "Job",
    "JobState",
    "JobWatcher",
    "PollerHealth",
    "PollingStoreError",
    "Result",
    "Rules",
    "Seen",
    "SimulatedJobs",
    "class_of",
    "health_of_file",
]
