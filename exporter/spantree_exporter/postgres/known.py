"""What a writer knows to be stored, tenant by tenant, so that it is not written again: bounded, and fairly."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_NOTHING: Final[frozenset[object]] = frozenset()
# Of the bound, what is left after something had to be forgotten: looking for whom has most is then rare.
_LEFT: Final = 0.75


class Known(Generic[Key]):
    """Keys of each tenant, `most` of them in all; beyond that those of whoever has most are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: dict[int, set[Key]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of(self, tenant_id: int) -> AbstractSet[Key]:
        """The keys of one tenant that are known."""
        return self._of.get(tenant_id, _NOTHING)  # type: ignore[arg-type]  # an empty set is one of any type

    def add(self, tenant_id: int, keys: Collection[Key]) -> None:
        """Know `keys` too."""
        of_tenant = self._of.setdefault(tenant_id, set())
        before = len(of_tenant)
        of_tenant.update(keys)
        self._count += len(of_tenant) - before
        if self._count > self._most:
            self._forget_largest()

    def forget(self) -> None:
        """Know nothing any more."""
        self._of.clear()
        self._count = 0

    def _forget_largest(self) -> None:
        by_size: Iterable[int] = sorted(self._of, key=lambda tenant_id: len(self._of[tenant_id]), reverse=True)
        for tenant_id in by_size:
            if self._count <= self._most * _LEFT:
                return
            self._count -= len(self._of.pop(tenant_id))
