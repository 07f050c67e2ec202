"""Figures, times and statuses as pages tell them, in Python and in the module that scripts use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_api.pages import visible_text, wording
from spantree_exporter.statuses import FAILED_EXECUTION, FAILED_NODE, OPEN

SCRIPT = resources.files("spantree_api.pages") / "static" / "text.js"
DURATIONS = {
    None: "–", 0: "0 ms", 0.0004: "0 µs", 0.4: "400 µs", 1: "1.0 ms", 9.96: "10.0 ms", 38.4: "38 ms", 999.4: "999 ms",
    999.5: "1.00 s", 1_254: "1.25 s", 9_994: "9.99 s", 9_995: "10.0 s", 59_949: "59.9 s", 60_000: "1 min",
    192_000: "3 min 12 s", 3_599_499: "59 min 59 s", 3_600_000: "1 h", 7_500_000: "2 h 5 min", 86_400_000: "1 d",
    273_600_000: "3 d 4 h",
}  # fmt: skip
HIDDEN = "\x00\x1b\x7f\x9f\xad\u061c\u200b\u200e\u202e\u2066\ufeff\U000e0041 plain é 你 👩\u200d💻"
SHOWN = "␀␛␡⟨U+009F⟩⟨U+00AD⟩⟨U+061C⟩⟨U+200B⟩⟨U+200E⟩⟨U+202E⟩⟨U+2066⟩⟨U+FEFF⟩⟨U+E0041⟩ plain é 你 👩\u200d💻"


@pytest.mark.parametrize(("ms", "told"), DURATIONS.items())
def test_durations_have_two_or_three_digits_and_a_unit(ms: float | None, told: str) -> None:
    assert wording.duration(ms) == told


@given(st.floats(0, 1e12))
def test_a_longer_duration_is_never_told_as_a_sum_that_is_none(ms: float) -> None:
    told = wording.duration(ms)
    assert re.fullmatch(r"[\d.]+ (µs|ms|s|min|h|d)( \d+ (s|min|h))?", told)
    for unit, most in (("s", 60), ("min", 60), ("h", 24)):
        found = re.search(rf" (\d+) {unit}$", told)
        assert found is None or int(found[1]) < most, told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "just now"), (4.9, "just now"), (5, "5 s ago"), (59.9, "59 s ago"), (60, "1 min ago"),
        (3_599, "59 min ago"), (3_600, "1 h ago"), (90_000, "1 d ago"), (-180, "in 3 min"),
    ],
)  # fmt: skip
def test_ago_is_coarse(seconds: float, told: str) -> None:
    now_ns = 1_700_000_000_000_000_000
    assert wording.ago(now_ns - int(seconds * 1e9), now_ns) == told


def test_moments_say_their_zone() -> None:
    at_ns = 1_795_860_000_123_456_789
    assert wording.utc(at_ns) == "2026-11-28 10:00:00.123 UTC"
    assert wording.utc_seconds(at_ns) == "2026-11-28 10:00:00 UTC"
    assert wording.iso(at_ns) == "2026-11-28T10:00:00.123Z"
    assert wording.moment_ns("2026-11-28T10:00:00.123456789Z") == 1_795_860_000_123_456_000


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (None, "–"), (0, "0 %"), (1, "100 %"), (0.5, "50 %"), (0.99999, "99.9 %"), (0.00001, "0.1 %"), (0.004, "0.4 %"),
        (0.991, "99.1 %"), (0.126, "13 %"),
    ],
)  # fmt: skip
def test_a_share_is_whole_or_nothing_only_where_it_is(part: float | None, told: str) -> None:
    assert wording.share(part) == told


def test_counts_costs_sizes_and_types_are_short() -> None:
    assert [wording.count(one) for one in (None, 0, 999, 1_234_567)] == ["–", "0", "999", "1\u202f234\u202f567"]
    assert [wording.cost(one) for one in (None, 0, 0.00312, 12.345)] == ["–", "$0", "$0.0031", "$12.35"]
    assert [wording.size(one) for one in (None, 12, 1_500, 2.5e6, 7e12)] == [
        "–",
        "12 B",
        "1.5 kB",
        "2.5 MB",
        "7000.0 GB",
    ]
    assert [wording.short_type(one) for one in ("a.b.Declined", "Declined", "odd.")] == ["Declined", "Declined", "odd."]


def test_every_status_has_a_sign_and_a_word() -> None:
    assert set(wording.STATUSES) == FAILED_NODE | FAILED_EXECUTION | OPEN | {
        "completed",
        "retried",
        "skipped",
        "cancelled",
        "lost",
    }
    assert len({(one.sign, one.word) for one in wording.STATUSES.values()}) == len(wording.STATUSES)
    assert wording.status_word("half_way") == wording.StatusWord("·", "half way", "calm")


def test_what_hides_is_shown() -> None:
    assert visible_text.visible(HIDDEN) == SHOWN
    assert visible_text.visible("tab\tand\r\nlines") == "tab\tand\r\nlines"


@given(st.text())
def test_what_is_shown_hides_nothing_and_stays_as_it_is(text: str) -> None:
    shown = visible_text.visible(text)
    assert visible_text.visible(shown) == shown


# (microseconds, between two marks) -> what an axis says
MARKS = {
    (0, 2_000_000): "0 s",
    (0, 500_000): "0 ms",
    (500_000, 500_000): "500 ms",
    (1_500_000, 500_000): "1.5 s",
    (250, 50): "0.25 ms",
    (45_000_000, 15_000_000): "45 s",
    (60_000_000, 15_000_000): "1:00",
    (69_000_500, 500): "1:09.0005",
    (120_000_000, 60_000_000): "2 min",
    (3_665_500_000, 500_000): "1:01:05.5",
    (7_200_000_000, 3_600_000_000): "2 h",
}


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here to run text.js")
def test_scripts_tell_the_same(tmp_path: Path) -> None:
    module = tmp_path / "text.mjs"
    module.write_text(SCRIPT.read_text())
    program = """
    const { axisTime, cost, count, duration, visible, ago, SIGNS } = await import(process.argv[1]);
    const given = JSON.parse(process.argv[2]);
    console.log(JSON.stringify({
      durations: given.durations.map(duration), shown: visible(given.hidden), signs: SIGNS,
      counts: given.counts.map(count), costs: given.costs.map(cost),
      marks: given.marks.map(([us, step]) => axisTime(us, step)),
      agos: given.agos.map((seconds) => ago(1e12 - seconds * 1000, 1e12)),
    }));
    """
    agos = [0, 4.9, 5, 60, 3_599, 90_000, -180]
    counts, costs = [0, 812, 1_530, 1_234_567], [0, 0.0123, 1, 12.345]
    sent = {
        "counts": counts,
        "costs": costs,
        "marks": [list(one) for one in MARKS],
        "durations": list(DURATIONS),
        "hidden": HIDDEN,
        "agos": agos,
    }
    ran = subprocess.run(
        ["node", "--input-type=module", "-e", program, module.as_uri(), json.dumps(sent)],
        capture_output=True, check=True, text=True, timeout=60,
    )  # fmt: skip
    told = json.loads(ran.stdout)
    assert told["durations"] == list(DURATIONS.values())
    assert told["shown"] == SHOWN
    assert told["counts"] == [wording.count(number) for number in counts]
    assert told["costs"] == [wording.cost(usd) for usd in costs]
    assert told["marks"] == list(MARKS.values())
    assert told["agos"] == [wording.ago(10**21 - int(seconds * 1e9), 10**21) for seconds in agos]
    assert told["signs"] == {name: [one.sign, one.tone, one.word] for name, one in wording.STATUSES.items()}
