"""Azure's SDKs: a method that asks whether something is there is not failed by the answer that it is not.

Java's and, until 2023, .NET's mark it as an error (azure-sdk-for-java#42452, azure-sdk-for-net#18592, #45298). The
request itself is one of HTTP's (`http.py`).
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, Span

# Java's `exists` is a call of `AzureBlobStorageBlob.getPropertiesNoCustomHeaders`, a request HEAD.
_ANSWERS: Final[dict[str, str]] = {
    "exists": "404",
    "deleteifexists": "404",
    "createifnotexists": "409",
    "getproperties": "404",
    "getpropertiesnocustomheaders": "404",
}
# .NET's exception, Java's.
_ANSWERED: Final = re.compile(r"\bStatus(?:: | code )(\d{3})\b")
_MESSAGE_CHARS: Final = 1000


def _read(span: Span, facts: Facts) -> None:
    if span.status_code != STATUS_ERROR:
        return
    code = _ANSWERS.get(span.name.rpartition(".")[2].removesuffix("Async").lower())
    if code is None:
        return
    told = [span.status_message]
    told += [text_of(e.attributes.get("exception.message")) or "" for e in span.events if e.name == "exception"]
    for text in told:
        if (answered := _ANSWERED.search(text[:_MESSAGE_CHARS])) is not None and answered[1] == code:
            facts.setdefault("status", "completed")
            facts.setdefault("status_reason", f"HTTP {code}")
            return


CONVENTION = Convention("azure_sdk", _read, keys=("az.namespace",))
