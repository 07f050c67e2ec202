"""What is searched for in one execution: `declined status:failed -kind:db http.route:/pay`. Pure.

`status:`, `kind:` and `service:` are told by the node, `text:` is searched for in everything that it has, any other
`key:` is an attribute of its span. A value with spaces is quoted, `-` in front turns a term round, the rest is a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spantree_api.filters import attribute_forms, attribute_of

_TERM = re.compile(r"""(?<!\S)(-?)([A-Za-z_$][\w.$/-]*):(?!//)("[^"]*"|[^\s"]\S*)(?!\S)""")
_OF_NODE = ("status", "kind", "service")
_ANYWHERE = "text"
# Longer values are for reading.
_VALUE_MAX = 200


class MalformedFind(ValueError):
    """More is searched for than one statement looks for."""


@dataclass(frozen=True, slots=True)
class Find:
    """All of it has to be so. `of_node`, `not_of_node`: values of status, kind, service. `attribute`: `key:value`."""

    text: str | None
    of_node: dict[str, list[str]]
    not_of_node: dict[str, list[str]]
    attribute: str | None
    without_attribute: bool
    anywhere: str | None

    def parameters(self) -> dict[str, object]:
        """For the statement `nodes_that_match`. Texts are in lower case."""
        return {
            "text": self.text,
            **{f"{name}_in": self.of_node[name] for name in _OF_NODE},
            **{f"{name}_out": self.not_of_node[name] for name in _OF_NODE},
            "attribute": None if self.attribute is None else self.attribute.lower(),
            "attribute_forms": None if self.attribute is None else attribute_forms(self.attribute),
            "without_attribute": self.without_attribute,
            "anywhere": self.anywhere,
        }


def attribute_find(key: str, value: object) -> tuple[str, str] | None:
    """What finds an attribute of that value: in one execution, and in the list of them; None where nothing does."""
    if not isinstance(value, str | int) or (isinstance(value, str) and len(value) > _VALUE_MAX):
        return None
    told = str(value).lower() if isinstance(value, bool) else str(value)
    listed = f"{key}:{told}"
    if attribute_of(listed) is None or key in (*_OF_NODE, _ANYWHERE) or '"' in told or told != told.strip():
        return None
    return (f'{key}:"{told}"' if any(character.isspace() for character in told) else listed), listed


def find_of(q: str | None) -> Find:
    """What `q` asks for. Raises MalformedFind where it names two attributes, or two texts that may be anywhere."""
    of_node: dict[str, list[str]] = {name: [] for name in _OF_NODE}
    not_of_node: dict[str, list[str]] = {name: [] for name in _OF_NODE}
    attributes: list[tuple[str, bool]] = []
    anywhere: list[str] = []
    for minus, key, quoted in _TERM.findall(q or ""):
        value = quoted[1:-1] if quoted.startswith('"') else quoted
        if key in _OF_NODE:
            (not_of_node if minus else of_node)[key].append(value)
        elif key == _ANYWHERE and not minus:
            anywhere.append(value.lower())
        else:
            attributes.append((f"{key}:{value}", bool(minus)))
    if len(attributes) > 1 or len(anywhere) > 1:
        several = " and ".join(text for text, _ in attributes) or " and ".join(anywhere)
        raise MalformedFind(f"q asks for {several[:200]}: wanted one key:value of an attribute and one text: at most")
    text = " ".join(_TERM.sub(" ", q or "").split()).lower()
    attribute, without = attributes[0] if attributes else (None, False)
    return Find(text or None, of_node, not_of_node, attribute, without, anywhere[0] if anywhere else None)
