"""The reference of views and tables as docs/sql.md has it: made of the comments that the database keeps.

.venv/bin/python -m tests.view_reference --write    # puts it into docs/sql.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import psycopg
from tests.postgres import throw_away_server

DOCUMENT = Path(__file__).parents[1] / "docs" / "sql.md"
_COLUMNS = """
    SELECT
        view.relname, obj_description(view.oid, 'pg_class'), attname, format_type(atttypid, atttypmod),
        col_description(view.oid, attnum)
    FROM pg_class AS view
    JOIN pg_attribute ON attrelid = view.oid AND attnum > 0 AND NOT attisdropped
    WHERE view.relnamespace = 'spantree'::regnamespace AND view.relkind = 'v'
    ORDER BY view.relname, attnum
"""
_TABLES = """
    SELECT
        made.relname, obj_description(made.oid, 'pg_class'),
        (
            SELECT string_agg(attname, ', ' ORDER BY place)
            FROM pg_constraint
            CROSS JOIN LATERAL unnest(conkey) WITH ORDINALITY AS key (number, place)
            JOIN pg_attribute ON attrelid = made.oid AND attnum = key.number
            WHERE conrelid = made.oid AND contype = 'p'
        )
    FROM pg_class AS made
    WHERE made.relnamespace = 'spantree'::regnamespace AND made.relkind IN ('r', 'p') AND NOT made.relispartition
    ORDER BY made.relname
"""
_TYPES = {"timestamp with time zone": "timestamptz", "double precision": "double"}


def tables(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """The table of columns of each view, by the view's name."""
    found: dict[str, list[str]] = {}
    for view, said, column, kind, comment in connection.execute(_COLUMNS).fetchall():
        if view not in found:
            sentence = f"{said[:1].upper()}{said[1:]}."
            found[view] = [sentence, "", "| column | type | what it is |", "|---|---|---|"]
        text = (comment or "").replace("|", "\\|")
        found[view].append(f"| `{column}` | {_TYPES.get(kind, kind)} | {text} |")
    return {view: "\n".join(lines) for view, lines in found.items()}


def table_rows(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """A row for each table, by its name; the document may say more of one."""
    return {
        table: f"| `{table}` | {key or ''} | {(said or '').replace('|', chr(92) + '|')} |"
        for table, said, key in connection.execute(_TABLES).fetchall()
    }


def documented(text: str) -> dict[str, str]:
    """The same as the document has it."""
    reference = text.partition("\n## Views\n")[2].partition("\n## ")[0]
    parts = re.split(r"^### ", reference, flags=re.MULTILINE)[1:]
    return {name.strip(): body.strip() for name, _, body in (part.partition("\n") for part in parts)}


def _write(reference: dict[str, str], rows: dict[str, str]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    order = list(documented(text))
    views = [view for view in order if view in reference] + sorted(set(reference) - set(order))
    head, _, rest = text.partition("\n## Views\n")
    sections = "".join(f"\n### {view}\n\n{reference[view]}\n" for view in views)
    after = rest.partition("\n## ")[2]
    before, _, listed = after.partition("## Tables\n")
    missing = [row for table, row in rows.items() if f"| `{table}` |" not in listed]
    end = listed.index("|\n\n") + 2
    after = f"{before}## Tables\n{listed[:end]}{''.join(f'{row}{chr(10)}' for row in missing)}{listed[end:]}"
    DOCUMENT.write_text(f"{head}\n## Views\n{sections}\n## {after}", encoding="utf-8")


if __name__ == "__main__":
    from spantree_exporter.postgres.migrate import migrate

    with throw_away_server() as url:
        migrate(url)
        with psycopg.connect(url) as connected:
            made, listed_tables = tables(connected), table_rows(connected)
    if "--write" in sys.argv:
        _write(made, listed_tables)
    else:
        print("\n\n".join(f"### {view}\n\n{text}" for view, text in made.items()))
