"""Jobs of no system at all, for tests and for trying things out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from spantree_exporter.polling.states import Job
from spantree_exporter.polling.watcher import Seen

Script = Sequence[Seen | str | BaseException]


class SimulatedJobs:
    """What `JobWatcher` takes for `poll` (and `start_again`): jobs that do as their script says.

        jobs = SimulatedJobs({"a": ["PENDING", "RUNNING", ConnectionError("no route"), "SUCCESS"]})
        JobWatcher(jobs.poll, start_again=jobs.start_again, ...)

    Each look takes the next word of the script, the last one again and again; an exception is raised. A job without a
    script goes through PENDING and RUNNING to its end at random, by `seed` the same each time.
    """

    def __init__(self, scripts: Mapping[str, Script] | None = None, *, seed: int = 0, failing: float = 0.1) -> None:
        self._scripts = {key: list(script) for key, script in (scripts or {}).items()}
        self._seed = seed
        self._failing = failing
        self.looks: dict[str, int] = {}
        self.started_again: list[str] = []

    async def poll(self, job: Job) -> Seen | str:
        """The next word of the job's script."""
        look = self.looks.get(job.key, 0)
        self.looks[job.key] = look + 1
        script = self._scripts.get(job.key) or self._random_script(job)
        said = script[min(look, len(script) - 1)]
        if isinstance(said, BaseException):
            raise said
        return said

    async def start_again(self, job: Job) -> None:
        """Begin the job's script again."""
        self.started_again.append(job.key)

    def _random_script(self, job: Job) -> list[Seen | str | BaseException]:
        chance = random.Random(f"{self._seed}/{job.key}/{job.attempt}")  # noqa: S311 - no secret
        script: list[Seen | str | BaseException] = ["PENDING"] * chance.randint(0, 2)
        script += ["RUNNING"] * chance.randint(1, 3)
        if chance.random() < self._failing:
            script.append(Seen("FAILED", error="simulated failure"))
        else:
            script.append(Seen("SUCCESS", result=[{"row": 1}, {"row": 2}]))
        self._scripts[job.key] = script
        return script
