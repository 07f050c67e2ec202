"""What of the integration tests does not hold on a Citus cluster, and why: the one place that says so.

Parts of a test's id -> the reason. They are skipped where SPANTREE_TEST_DATABASE_URL is a coordinator's.
"""

from __future__ import annotations

from typing import Final

_PLANS: Final = "looks at plans of PostgreSQL itself, which on Citus are those of the shards"
_SET_ROLE: Final = "Citus connects to the workers as the role that asks: SET ROLE to one that may not log in is refused"
_OUTER_JOINS: Final = (
    "Citus on PostgreSQL 15 and 16 refuses outer joins under a policy (pseudoconstant quals): tenants' roles read such "
    "views from 17 on"
)

NOT_ON_CITUS: Final = {
    "test_plans.py": _PLANS,
    "test_a_piece_of_an_export_reads_no_span_that_came_before": _PLANS,
    "test_a_policy_is_asked_once_a_statement_and_meets_the_index": _PLANS,
    "test_an_owner_who_is_no_superuser_reads_and_writes_as_without_policies": _PLANS,
    "test_a_day_reads_the_partitions_of_that_day": _PLANS,
    "test_a_dropped_tenants_role_sees_nothing_and_a_role_of_two_must_choose": _SET_ROLE,
    "test_a_role_admitted_to_all_tenants_sees_them_through_the_tables_and_not_the_partitions": _SET_ROLE,
    "test_search_and_leaky_operators_meet_own_rows_only": "a function of pg_temp is not on the workers",
    "test_an_adversary_sees_no_others_queries_and_keeps_no_others_rows_over_a_change_of_role": _SET_ROLE,
    "test_what_is_open_is_told_and_shut_by_migrating_and_old_rights_stay": _SET_ROLE,
    "test_each_tenant_sees_its_own_rows_of_every_table_and_view": _OUTER_JOINS,
    "test_an_adversary_sees_no_foreign_row_by_any_plan_copy_operator_or_function": _OUTER_JOINS,
    "test_a_start_long_ago_or_impossible_finds_its_partition": "asks for the names of partitions, on Citus of shards",
    "test_writers_of_the_same_spans_at_once_store_them_once": "rows go to shards in no common order: of two that write "
    "the same spans at the same moment Citus may end one by 40P01, which collectors try again",
    "test_nothing_in_the_schema_stands_in_the_way_of_distribution": "about what is not distributed yet: Citus adds "
    "triggers of its own",
    "test_what_is_outside_of_the_window_is_written_by_one_transaction": "tells transactions by xmin, of which each "
    "shard has its own",
    "test_other_traces_are_projected_beside_one_that_is_too_much_for_postgresql": "has a shard cancel a statement, "
    "which Citus tells without its SQLSTATE in COPY; the time limit that is meant is the coordinator's",
    "test_rows_are_made_once_and_of_no_part_that_comes_late": "known traces are not asked for before: each shard "
    "would have to be",
    "test_embedded_": "about the embedded PostgreSQL, which is none",
}


def reason_of(test_id: str) -> str | None:
    """Why a test is left out on Citus; None where it holds."""
    return next((reason for part, reason in NOT_ON_CITUS.items() if part in test_id), None)
