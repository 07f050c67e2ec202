"""What Python runs at its start where `spantree run` has put this directory first in PYTHONPATH.

It has to run in any Python, also in one that is not to be instrumented: nothing newer than Python 3.4 here, and no
fault of it may keep a program from running. What it is to do stands in the variable SPANTREE_RUN, as JSON:

    package   where spantree_exporter is, for an environment that does not have it
    append    directories that come last in sys.path: packages that this environment lacks
    started   [pid, arguments, sys.prefix] of the process that was instrumented first, put there by that process
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VARIABLE = "SPANTREE_RUN"
# Programs in Python that only start another one: those are meant.
LAUNCHERS = ("poetry", "pipenv", "pdm", "hatch", "tox", "nox", "honcho", "supervisord", "pyenv", "conda", "pip")


def run_the_shadowed_one():
    """Run the sitecustomize that this one hides: Debian, conda and companies have one."""
    for directory in sys.path:
        found = os.path.join(directory or os.curdir, "sitecustomize.py")
        if os.path.abspath(os.path.dirname(found)) != HERE and os.path.isfile(found):
            with open(found, "rb") as file:
                code = compile(file.read(), found, "exec")
            exec(code, {"__name__": "sitecustomize", "__file__": found})  # noqa: S102  what Python itself would run
            return


def kind_of_process(started, arguments):
    """`main` for the program itself, `worker` for a process that it spawned to share its work, None for any other."""
    if any(word == "--multiprocessing-fork" or "from multiprocessing.spawn import" in word for word in arguments):
        return "worker"  # uvicorn --workers and --reload, ProcessPoolExecutor
    if "ipykernel_launcher" in arguments:
        # What Jupyter, nbclient and papermill run a notebook in; one of another environment can be lent nothing.
        return "worker" if started is None or started[2:] == [sys.prefix] else None
    if any("from multiprocessing.forkserver import" in word for word in arguments):
        return "worker"  # has no spans itself; whom it forks inherits what this makes
    if any("from multiprocessing." in word for word in arguments):
        return None  # its resource tracker
    if started is None or started[0] == os.getpid():
        program = next((word for word in arguments[1:] if not word.startswith("-")), "")
        return None if os.path.basename(program) in LAUNCHERS else "main"
    # A reloader (Django, Flask) starts itself again, gunicorn does at an upgrade; other programs are not the service.
    return "main" if arguments[1:] == started[1] else None


def start(text):
    """Instrument this process as SPANTREE_RUN says."""
    import json

    wanted = json.loads(text)
    arguments = list(getattr(sys, "orig_argv", sys.argv))
    kind = kind_of_process(wanted.get("started"), arguments)
    if kind is None:
        return
    if kind == "main":
        wanted["started"] = [os.getpid(), arguments[1:], sys.prefix]
        os.environ[VARIABLE] = json.dumps(wanted)
    sys.path.extend(directory for directory in wanted.get("append", ()) if directory not in sys.path)
    autorun = imported_from(wanted["package"])
    autorun.start(arguments, is_main=kind == "main")


def imported_from(package):
    """spantree_exporter.run.autorun: this environment's own, else the one of `spantree run`."""
    try:
        from spantree_exporter.run import autorun
    except ImportError:
        from importlib.util import module_from_spec, spec_from_file_location

        # Only this package, not what lies beside it: that belongs to another environment.
        spec = spec_from_file_location(
            "spantree_exporter", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
        )
        sys.modules["spantree_exporter"] = module = module_from_spec(spec)
        spec.loader.exec_module(module)
        from spantree_exporter.run import autorun
    return autorun


def say(error):
    """One line for a person; the program runs on without spans."""
    sys.stderr.write(
        "spantree: %s runs without spans, its start-up failed: %s: %s; `spantree doctor -- COMMAND` looks into it\n"
        % (sys.executable, type(error).__name__, error)
    )


try:
    run_the_shadowed_one()
finally:
    if VARIABLE in os.environ:
        try:
            start(os.environ[VARIABLE])
        except Exception as error:
            say(error)
