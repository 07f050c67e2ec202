"""Paths of jsonpath that tell the attributes of some fields, wherever these are."""

from __future__ import annotations

from spantree_api.picked import Picked
from spantree_api.span_search.traceql_fields import field_of

SHORT = (
    '@.value.type() != "object" && @.value.type() != "array" && '
    '(@.value.type() != "string" || !(@.value like_regex "^(?:.{255}){16}." flag "s"))'
)


def test_attributes_are_picked_where_their_fields_are() -> None:
    fields = [field_of(text) for text in ("name", "span.a", 'resource."b \\"c"', "event.$e", ".f")]
    assert Picked.of(fields) == Picked(
        f'$.keyvalue() ? ((@.key == "a" || @.key == "b \\"c" || @.key == "f") && {SHORT})',
        f'$[*].attributes.keyvalue() ? ((@.key == "$$e" || @.key == "f") && {SHORT})',
    )
    assert Picked.of([]) == Picked.of([field_of("status")]) == Picked("$.nothing.keyvalue()", "$.nothing.keyvalue()")
