"""Which Python runs a command, and what can be lent to it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from spantree_deploy.injection import NEEDED, Injection, injection_for
from spantree_deploy.interpreter import Interpreter, asked, found_program, interpreter_of, python_of
from spantree_deploy.wrappers import behind_which
from spantree_exporter.errors import SpantreeError

HERE = asked(Path(sys.executable), os.environ)


def program(directory: Path, text: str, name: str = "program") -> Path:
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("#!/opt/shop/bin/python3.12\n", "/opt/shop/bin/python3.12"),
        ("#!/opt/shop/bin/python -E\n", "/opt/shop/bin/python"),
        ("#!/usr/bin/env fakepython\n", None),
        ("#!/usr/bin/env python\n", "{path}/python"),
        ("#!/usr/bin/env -S python -u\n", "{path}/python"),
        ("""#!/bin/sh\n'''exec' "/opt/a shop/bin/python3" "$0" "$@"\n' '''\n""", "/opt/a shop/bin/python3"),
        ("#!/bin/sh\npython job.py\n", None),
        ("\x7fELF", None),
    ],
)
def test_the_interpreter_of_a_script_is_found(text: str, python: str | None, tmp_path: Path) -> None:
    program(tmp_path, "#!/bin/sh\n", "python")
    expected = None if python is None else Path(python.format(path=tmp_path))
    assert python_of(program(tmp_path, text), str(tmp_path)) == expected


def test_a_python_by_name_is_its_own_interpreter(tmp_path: Path) -> None:
    assert python_of(tmp_path / "python3.13t", "") == tmp_path / "python3.13t"


@pytest.mark.parametrize(
    ("options", "isolated_by"),
    [
        ("-I", "-I"),
        ("-uE job.py", "-E"),
        ("-X utf8 -S job.py", "-S"),
        ("-W error -Ic pass", "-I"),
        ("-u -sP job.py -I", None),
        ("-c -I", None),
        ("-m job -E", None),
        ("-Im job", "-I"),
        ("-Xutf8 -bS job.py", "-S"),
    ],
)
def test_an_option_that_keeps_a_python_from_being_instrumented_is_told(
    options: str, isolated_by: str | None, tmp_path: Path
) -> None:
    by_command = interpreter_of([sys.executable, *options.split()], os.environ)
    program(tmp_path, f"#!/usr/bin/env -S {sys.executable} {options}\n")
    by_script = interpreter_of(["program", "-I"], {"PATH": str(tmp_path)})
    for python in (by_command, by_script):
        assert python is not None
        assert python.isolated_by == isolated_by
        if isolated_by is not None:
            with pytest.raises(SpantreeError, match=f"reads no PYTHONPATH with {isolated_by}, .*: start it without"):
                injection_for(python, os.environ)


def test_a_launcher_is_not_the_service(tmp_path: Path) -> None:
    program(tmp_path, f"#!{sys.executable}\n", "poetry")
    assert interpreter_of(["poetry", "run", "python"], {"PATH": str(tmp_path)}) is None


def test_what_a_wrapper_comes_to_is_the_service(tmp_path: Path) -> None:
    for name in ("timeout", "env"):
        program(tmp_path, "#!/bin/sh\n", name)
    (tmp_path / "python").symlink_to(sys.executable)
    found = interpreter_of(["env", "TZ=UTC", "timeout", "20", "python", "-E", "job.py"], {"PATH": str(tmp_path)})
    assert found is not None
    assert (found.path, found.isolated_by) == (tmp_path / "python", "-E")
    assert interpreter_of(["env"], {"PATH": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("command", "behind"),
    [
        ("uv run --locked uvicorn shop:app", "uv run -- spantree run -- ..."),
        ("env TZ=UTC poetry run python job.py", "poetry run spantree run -- ..."),
        ("uv pip list", None),
        ("python job.py", None),
    ],
)
def test_what_chooses_an_environment_is_to_stand_before_spantree(command: str, behind: str | None) -> None:
    assert behind_which(command.split()) == behind


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("python job.py", "is taken for one word: write it without the quotes, "),
        ("TZ=UTC", "is no program: set it before spantree run, or write spantree run -- env TZ=UTC ..."),
        ("job.py", "is a file that may not be executed: spantree run -- python job.py, or chmod +x it"),
        ("./nightly.sh", "is a file that may not be executed: spantree run -- sh ./nightly.sh, or chmod +x it"),
        ("here.sh", "is not on PATH, but a file here: spantree run -- ./here.sh"),
        ("missing", "is no program that can be found on PATH; is the environment that has it active?"),
    ],
)
def test_what_is_no_program_is_told_what_it_is(
    word: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "", "python")
    work = tmp_path / "work"
    work.mkdir()
    program(work, "", "here.sh")
    for name in ("job.py", "nightly.sh"):
        (work / name).write_text("")
    monkeypatch.chdir(work)
    with pytest.raises(SpantreeError) as caught:
        found_program(word, str(tmp_path))
    assert str(caught.value).startswith(f'"{word}" {said}')


def test_a_python_says_what_it_has(tmp_path: Path) -> None:
    assert HERE.version == sys.version_info[:3]
    assert (HERE.prefix, HERE.packages["opentelemetry-sdk"]) == (sys.prefix, version("opentelemetry-sdk"))


def test_a_python_that_says_nothing_is_named(tmp_path: Path) -> None:
    broken = program(tmp_path, "#!/bin/sh\necho cannot >&2; exit 1\n", "python")
    with pytest.raises(SpantreeError, match=r"python does not say which packages it has \(cannot\)"):
        interpreter_of(["python"], {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert broken.exists()


def python_with(packages: Mapping[str, str], *, abi: str = HERE.abi, minor: int = HERE.version[1]) -> Interpreter:
    return Interpreter(Path("/opt/shop/bin/python"), (3, minor, 1), abi, "/opt/shop", packages)


def test_a_python_that_has_everything_is_lent_nothing(tmp_path: Path) -> None:
    assert injection_for(HERE, {"XDG_CACHE_HOME": str(tmp_path)}) == Injection()
    assert list(tmp_path.iterdir()) == []


def test_what_is_lent_is_what_is_missing_and_what_that_needs(tmp_path: Path) -> None:
    theirs = {name: found for name, found in HERE.packages.items() if name != "opentelemetry-exporter-otlp-proto-http"}
    injection = injection_for(python_with(theirs), {"XDG_CACHE_HOME": str(tmp_path)})
    assert injection.lent == ["opentelemetry-exporter-otlp-proto-http"]
    (folder,) = injection.append
    dist_info = f"opentelemetry_exporter_otlp_proto_http-{version('opentelemetry-exporter-otlp-proto-http')}.dist-info"
    assert sorted(path.name for path in Path(folder).iterdir()) == [dist_info.partition("_")[0], dist_info]
    assert injection_for(python_with(theirs), {"XDG_CACHE_HOME": str(tmp_path)}).append == (folder,)


def test_packages_that_do_not_fit_theirs_are_not_lent_and_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpantreeError) as caught:
        injection_for(python_with({"protobuf": "3.20.3"}), {"XDG_CACHE_HOME": str(tmp_path)})
    said = str(caught.value)
    assert said.startswith(f"/opt/shop/bin/python (Python 3.{HERE.version[1]}.1) lacks {', '.join(NEEDED)}, and ")
    assert "needs protobuf" in said
    assert "it has 3.20.3: install what it lacks there: /opt/shop/bin/python -m pip install opentelemetry-sdk" in said


def other_release(name: str, *, minor: int = 0, patch: int = 0) -> dict[str, str]:
    numbers = list(Version(version(name)).release)
    return {name: f"{numbers[0]}.{numbers[1] + minor}.{numbers[2] + patch}"}


def test_another_patch_of_opentelemetrys_api_will_do_and_another_minor_will_not(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    lent = injection_for(python_with(other_release("opentelemetry-api", patch=1)), cache).lent
    assert set(NEEDED) <= set(lent)
    assert "opentelemetry-api" not in lent
    with pytest.raises(SpantreeError, match="needs opentelemetry-api=="):
        injection_for(python_with(other_release("opentelemetry-api", minor=1)), cache)


def test_another_python_is_lent_nothing_compiled_for_this_one(tmp_path: Path) -> None:
    with pytest.raises(SpantreeError, match="and this spantree is installed for another Python"):
        injection_for(python_with({}, abi="cpython-399"), {"XDG_CACHE_HOME": str(tmp_path)})
    complete = dict.fromkeys(NEEDED, "1.30")
    assert injection_for(python_with(complete, abi="cpython-399"), {}) == Injection()
    with pytest.raises(SpantreeError, match="is too old"):
        injection_for(python_with(complete, minor=9), {})


def test_a_probe_is_plain_json_for_any_python_3(tmp_path: Path) -> None:
    answer = {"version": [3, 12, 4], "tag": "cpython-312", "abi": "x y", "prefix": "/opt", "packages": {"a": "1"}}
    fake = program(tmp_path, f"#!/bin/sh\necho '{json.dumps(answer)}'\n", "python")
    assert asked(fake, os.environ) == Interpreter(fake, (3, 12, 4), "cpython-312 x y", "/opt", {"a": "1"})
