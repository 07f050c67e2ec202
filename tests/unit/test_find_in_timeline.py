"""What is searched for in one execution: a text, and terms."""

from __future__ import annotations

import pytest

from spantree_api.timeline.find import MalformedFind, attribute_find, find_of

NOTHING: dict[str, object] = {
    "text": None, "status_in": [], "kind_in": [], "service_in": [], "status_out": [], "kind_out": [], "service_out": [],
    "attribute": None, "attribute_forms": None, "without_attribute": False, "anywhere": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("q", "found"),
    [
        (None, {}),
        ("Charge  card", {"text": "charge card"}),
        ("status:failed", {"status_in": ["failed"]}),
        ("kind:llm kind:tool busy", {"kind_in": ["llm", "tool"], "text": "busy"}),
        ("-service:shop -status:failed", {"service_out": ["shop"], "status_out": ["failed"]}),
        ('text:"Not Charged"', {"anywhere": "not charged"}),
        ("http.route:/Pay", {"attribute": "http.route:/pay", "attribute_forms": ['{"http.route":"/Pay"}']}),
        ("-row:7", {"attribute": "row:7", "attribute_forms": ['{"row":"7"}', '{"row":7}'], "without_attribute": True}),
        ('db:"a b" c', {"attribute": "db:a b", "attribute_forms": ['{"db":"a b"}'], "text": "c"}),
        ("https://example.org/a", {"text": "https://example.org/a"}),
        ("Error: no stock", {"text": "error: no stock"}),
        ("x-kind:db", {"attribute": "x-kind:db", "attribute_forms": ['{"x-kind":"db"}']}),
        ('a:"open', {"text": 'a:"open'}),
    ],
)  # fmt: skip
def test_terms_are_taken_out_of_the_text(q: str | None, found: dict[str, object]) -> None:
    assert find_of(q).parameters() == NOTHING | found


def test_two_attributes_are_refused() -> None:
    with pytest.raises(MalformedFind, match="q asks for a:1 and b:2: wanted one key:value of an attribute"):
        find_of("a:1 b:2")


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("http.route", "/pay", ("http.route:/pay", "http.route:/pay")),
        ("why", "no stock", ('why:"no stock"', "why:no stock")),
        ("row", 7, ("row:7", "row:7")),
        ("cached", True, ("cached:true", "cached:true")),
        ("status", "failed", None),
        ("a key", "b", None),
        ("said", 'a "b"', None),
        ("long", "x" * 201, None),
        ("empty", "", None),
        ("list", ["a"], None),
        ("ratio", 0.5, None),
    ],
)
def test_an_attribute_leads_to_those_of_the_same_value(key: str, value: object, found: object) -> None:
    assert attribute_find(key, value) == found
