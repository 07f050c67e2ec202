"""What is printed: whole lines in a pipe, folded ones in a terminal, and an outage once."""

from __future__ import annotations

import io
import json
import logging

import pytest

from spantree_collector.write.messages import LogLine
from spantree_collector.write.writer_process import _ToCollector
from spantree_deploy.console import ForTerminal, Line, OncePerOutage, Stream, cells, safe_json


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


LONG: Line = [("├── ", ""), ("word " * 20, ""), ("x" * 50, "")]


class TestLines:
    def test_in_a_pipe_a_line_is_one_line_without_colours(self) -> None:
        pipe = io.StringIO()
        Stream(lambda: pipe).lines([([("a" * 500, "bold red"), (" b", "")], "  ")])
        assert pipe.getvalue() == "a" * 500 + " b\n"

    def test_a_terminal_folds_them_below_each_other(self, terminal: Terminal) -> None:
        Stream(lambda: terminal).lines([(LONG, "│   ")])
        lines = terminal.getvalue().splitlines()
        plain = [line.replace("\x1b[90m", "").replace("\x1b[0m", "") for line in lines]
        assert max(map(len, plain)) <= 40
        assert [line[:4] for line in plain] == ["├── "] + ["│   "] * (len(plain) - 1)
        assert "".join(line[4:] for line in plain).replace(" ", "") == "word" * 20 + "x" * 50

    def test_colours_are_for_terminals_that_want_them(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Stream(lambda: terminal).print("no", "bold red")
        assert terminal.getvalue() == "\x1b[1;31mno\x1b[0m\n"
        monkeypatch.setenv("NO_COLOR", "1")
        Stream(lambda: terminal).print("no", "bold red")
        assert terminal.getvalue().endswith("\nno\n")

    def test_what_a_terminal_would_obey_is_shown_instead(self) -> None:
        pipe = io.StringIO()
        Stream(lambda: pipe).lines([([("evil\x1b]0;title\x07\x9b31m", "")], "")])
        assert pipe.getvalue() == "evil\u241b]0;title\u2407\ufffd31m\n"

    def test_columns_are_those_of_a_terminal(self) -> None:
        assert [cells(text) for text in ("abc", "注文", "e\u0301")] == [3, 4, 1]


class TestOutages:
    def lines(self, messages: list[tuple[float, str]]) -> list[str]:
        clock = iter([at_s for at_s, message in messages if "waits for" in message])
        once = OncePerOutage(lambda: next(clock))
        return [
            message
            for _, message in messages
            if once.filter(logging.LogRecord("x", logging.WARNING, "", 0, message, None, None))
        ]

    def test_one_line_when_postgresql_goes_and_one_when_it_is_back(self) -> None:
        away = "the {} thread waits for PostgreSQL; what was acknowledged is safe: gone"
        back = "PostgreSQL takes the work of the {} thread again"
        writing, projecting = away.format("writing"), away.format("projecting")
        told = self.lines(
            [
                (0, writing),
                (0.1, projecting),
                (0.2, writing),
                (5, "something else"),
                (61, projecting),
                (70, back.format("writing")),
                (70, back.format("projecting")),
                (80, writing),
            ]
        )
        assert told == [writing, "something else", projecting, back.format("writing"), writing]


def test_a_writers_line_comes_without_a_level_of_its_own() -> None:
    sent: list[LogLine] = []

    class Channel:
        def send(self, message: LogLine) -> None:
            sent.append(message)

    logger = logging.Logger("spantree.test")
    logger.addHandler(_ToCollector(Channel()))  # type: ignore[arg-type]
    logger.warning("the %s thread waits", "writing")
    assert [(one.level, one.text) for one in sent] == [(logging.WARNING, "the writing thread waits")]


EVIL = "a\x1b[2J\x9b31m\u202eb\x7f\r\nc\u2066ü"


def test_json_says_the_same_without_what_a_terminal_acts_on() -> None:
    told = json.dumps({"name": EVIL}, ensure_ascii=False)
    assert safe_json(told) == '{"name": "a\\u001b[2J\\u009b31m\\u202eb\\u007f\\r\\nc\\u2066ü"}'
    assert json.loads(safe_json(told)) == {"name": EVIL}


def test_an_export_is_shown_by_a_terminal_which_does_nothing_of_it(terminal: Terminal) -> None:
    shown = ForTerminal(terminal)
    parts = EVIL.encode()
    # Pieces end within characters.
    assert sum(shown.write(parts[at : at + 1]) for at in range(len(parts))) == len(parts)
    assert terminal.getvalue() == "a␛[2J\ufffd31m\ufffdb␡\nc\ufffdü"
