"""The whole names of workflows that figures know by their beginning: a figure's name is cut."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spantree_api.filters import ExecutionFilter
from spantree_api.reader import Reader
from spantree_api.stored_rows import records
from spantree_exporter.rollup import KEY_LENGTH

# Names that are looked at in some days: of those after the beginning all that have it are the next ones, but for signs
# that a collation passes over.
_NAMES = 20


@dataclass(frozen=True, slots=True)
class _NameRow:
    name: str


async def by_whole_names(reader: Reader, wanted: ExecutionFilter) -> ExecutionFilter:
    """`wanted`, with all workflows that figures have under its name where that is as long as a cut one."""
    cut = wanted.workflow
    if cut is None or len(cut) != KEY_LENGTH:
        return wanted
    found: set[str] = set()
    async for days in reader.all_days():
        after = cut
        for _ in range(_NAMES):
            parameters = {"tenant_id": reader.config.tenant_id, "after": after, **days}
            following = await reader.snapshot.first("workflow_after", parameters, records(_NameRow))
            if following is None:
                break
            after = following.name
            if after.startswith(cut):
                found.add(after)
    return replace(wanted, workflow=None, workflows=(cut, *sorted(found))) if found else wanted
