"""The state machine of a watched job."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spantree_exporter.polling import FINAL, STATES, TRANSITIONS, Job, Rules
from spantree_exporter.polling.error_classes import CLASSES, ErrorClass
from spantree_exporter.polling.states import Moved, has_timed_out, look_failed, seen, state_of, timed_out, tried_again

RULES = Rules(can_retry=True)
JOB = Job(key="q-7", name="nightly", watched_at_s=100.0, state_since_s=100.0, attempt_since_s=100.0)


def test_a_job_goes_through_its_states_and_says_when() -> None:
    running = seen(JOB, "running", 115.0, RULES).job
    assert running == replace(
        JOB, state="RUNNING", state_since_s=115.0, running_since_s=115.0, polls=1, next_poll_s=130.0
    )
    done = seen(running, "SUCCESS", 130.0, RULES)
    assert done.changed
    assert done.job == replace(
        running, state="SUCCESS", state_since_s=130.0, polls=2, next_poll_s=145.0, ended_at_s=130.0
    )
    assert done.job.is_over


def test_a_transition_that_is_none_is_recorded_and_changes_nothing_else() -> None:
    running = seen(JOB, "RUNNING", 115.0, RULES).job
    back = seen(running, "PENDING", 130.0, RULES)
    assert (back.changed, back.rejected) == (False, "RUNNING -> PENDING")
    assert back.job == replace(
        running, polls=2, next_poll_s=145.0, rejected_count=1, last_rejected="RUNNING -> PENDING"
    )
    assert seen(running, "MELTED", 130.0, RULES).rejected == "RUNNING -> MELTED"
    over = seen(running, "SUCCESS", 130.0, RULES).job
    late = seen(over, "FAILED", 145.0, RULES)
    assert late.job == replace(over, rejected_count=1, last_rejected="SUCCESS -> FAILED")
    assert seen(over, "SUCCESS", 145.0, RULES) == Moved(over)


def test_five_looks_in_a_row_that_fail_are_a_failure_with_growing_waits_between() -> None:
    job, waits = JOB, []
    for look in range(1, 6):
        at_s = 100.0 * look
        moved = look_failed(job, f"no route {look}", "NETWORK", at_s, Rules())
        job = moved.job
        waits.append(job.next_poll_s - at_s)
        assert (job.error_count, job.last_error, job.last_error_at_s) == (look, f"no route {look}", at_s)
        assert moved.changed == (look == 5)
    assert waits == [30.0, 60.0, 120.0, 240.0, 300.0]
    assert (job.state, job.error_class, job.error) == (
        "FAILED",
        "NETWORK",
        "it could not be looked at 5 times in a row: no route 5",
    )
    assert job.is_over
    better = seen(look_failed(JOB, "x", "API", 1.0, RULES).job, "RUNNING", 2.0, RULES).job
    assert (better.error_count, better.last_error) == (0, "x")


def test_only_failures_of_the_network_and_of_an_api_are_tried_again_and_three_times_at_most() -> None:
    job, delays = JOB, []
    while True:
        job = seen(job, "FAILED", 1000.0, RULES, error="502", error_class="API").job
        if job.next_retry_at_s is None:
            break
        delays.append(job.next_retry_at_s - 1000.0)
        job = tried_again(job, 1000.0).job
        assert (job.state, job.next_retry_at_s) == ("PENDING", None)
    assert (delays, job.retry_count, job.attempt, job.is_over) == ([60.0, 120.0, 240.0], 3, 4, True)
    assert Rules(max_retries=9).retry_wait_s(5) == 300.0
    for error_class in set(CLASSES) - {"NETWORK", "API"}:
        assert seen(JOB, "FAILED", 1.0, RULES, error_class=error_class).job.is_over
    assert seen(JOB, "FAILED", 1.0, Rules(), error_class="API").job.is_over, "nobody can start another attempt"


def test_an_attempt_that_takes_too_long_is_noticed_when_it_does() -> None:
    job = replace(JOB, timeout_s=20.0)
    looked = seen(job, "RUNNING", 110.0, RULES).job
    assert looked.next_poll_s == 120.0
    assert (has_timed_out(looked, 119.0), has_timed_out(looked, 120.0)) == (False, True)
    over = timed_out(looked, 120.0, RULES).job
    assert (over.state, over.error, over.is_over) == ("TIMEOUT", "it was RUNNING for longer than 20 s", True)


@given(
    st.lists(
        st.tuples(st.sampled_from([*STATES, "success", "?", None]), st.sampled_from(CLASSES), st.integers(0, 400)),
        max_size=40,
    ),
    st.booleans(),
)
def test_whatever_is_seen_in_whatever_order(story: list[tuple[str | None, ErrorClass, int]], can_retry: bool) -> None:
    rules, now_s, job = Rules(can_retry=can_retry), 100.0, replace(JOB, timeout_s=2000.0)
    for said, error_class, later_s in story:
        now_s += later_s
        before = job
        if job.next_retry_at_s is not None and now_s >= job.next_retry_at_s:
            job = tried_again(job, now_s).job
            assert (job.state, job.attempt) == ("PENDING", before.attempt + 1)
            continue
        if has_timed_out(job, now_s):
            moved = timed_out(job, now_s, rules)
        elif said is None:
            moved = look_failed(job, "no", error_class, now_s, rules)
        else:
            moved = seen(job, said, now_s, rules, error_class=error_class)
        job = moved.job
        assert moved.changed == (job.state != before.state)
        if moved.changed:
            assert job.state in TRANSITIONS[before.state]
        if before.state in FINAL:
            assert (job.state, job.ended_at_s, job.next_retry_at_s) == (
                before.state,
                before.ended_at_s,
                before.next_retry_at_s,
            )
        assert job.error_count < rules.strikes or job.state == "FAILED"
        assert (job.ended_at_s is not None) == job.is_over
        assert job.attempt == job.retry_count + 1 <= rules.max_retries + 1
        assert job.next_retry_at_s is None or (
            (can_retry and 60 <= job.next_retry_at_s - now_s <= 300) or before == job or before.state in FINAL
        )
        assert (moved.rejected is None) == (job.rejected_count == before.rejected_count)


@given(st.text(max_size=12))
def test_a_word_is_a_state_or_none(word: str) -> None:
    assert state_of(word) in {None, *STATES}
