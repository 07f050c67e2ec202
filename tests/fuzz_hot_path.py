"""Mutated request bodies through both hot paths: no crash, no more memory than allowed, equal outcomes.

    python tests/fuzz_hot_path.py --bodies 300000            some minutes; a test runs it with 3,000
    python tests/fuzz_hot_path.py --compiled-only            ten times as many a second, without the comparison

With AddressSanitizer, which tells of a read beyond the end that happens to hit mapped memory (and cannot live with a
limit of address space):

    python exporter/native/build.py --sanitize --into build/sanitized
    LD_PRELOAD="$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \\
        python tests/fuzz_hot_path.py --module build/sanitized --memory-mb 0
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import random
import resource
import sys
import sysconfig
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.unit.test_hot_path import PLAIN, UNUSUAL
from tests.wire import body_of

from spantree_exporter import hot_path
from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp.decode import PROTOBUF, decode_request, examine
from spantree_exporter.otlp.decode_protobuf import envelopes
from spantree_exporter.postgres.copy_binary import span_rows

RECORDINGS = Path(__file__).parent / "data" / "recordings"
# What tells a scanner most: ends of varints, lengths near and beyond everything, bits that are none of UTF-8.
TELLING = [
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x80" * 10,
    b"\xff" * 9 + b"\x01",
    b"\xed\xa0\x80",
    b"$",
    b"\\",
]
TELLING += [
    b"\xff\xff\xff\xff\x07",
    b"\xff\xff\xff\xff\x0f",
    b"\x0a",
    b"\x12",
    b"\x2a",
    b"\x32",
    b"\x3a",
    b"\x21",
    b"\x4a",
]


def main() -> int:
    """0 where all went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory-mb", type=int, default=2000, help="of address space; 0: no limit")
    parser.add_argument("--module", type=Path, default=None, help="the folder of another build")
    parser.add_argument("--compiled-only", action="store_true")
    arguments = parser.parse_args()
    if arguments.memory_mb:
        resource.setrlimit(resource.RLIMIT_AS, (arguments.memory_mb * 2**20,) * 2)
    native = hot_path.native if arguments.module is None else _loaded(arguments.module)
    if native is None:
        print(f"no compiled hot path: {hot_path.reason}")
        return 2
    chance = random.Random(arguments.seed)
    seeds = _seeds()
    spans = unequal = 0
    for number in range(arguments.bodies):
        # Mostly within a span, since damaged frames are refused before anything of them is read.
        span = chance.choice(seeds)
        body = body_of(mutated(chance, span), span) if chance.random() < 0.8 else mutated(chance, body_of(span))
        hot_path.native = native
        outcome, count = _outcome(body)
        spans += count
        if arguments.compiled_only:
            continue
        hot_path.native = None
        if _outcome(body)[0] != outcome:
            unequal += 1
            print(f"body {number} of seed {arguments.seed} differs: {body.hex()}")
    print(f"{arguments.bodies} bodies, {spans} spans read, {unequal} unequal")
    return 1 if unequal else 0


def _loaded(folder: Path) -> Any:
    path = folder / f"_hot_path{sysconfig.get_config_var('EXT_SUFFIX')}"
    loader = importlib.machinery.ExtensionFileLoader("spantree_exporter._hot_path", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module: Any = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    hot_path.set_up(module)
    return module


def _seeds() -> list[bytes]:
    """Spans of real clients, and those that the tests think of."""
    bodies = [path.read_bytes() for path in sorted(RECORDINGS.glob("*.pb"))]
    sent = [span for body in bodies for envelope in envelopes(body) for span in envelope.spans]
    return sent + [span for span in (*PLAIN.values(), *UNUSUAL.values()) if len(span) < 5000]


def mutated(chance: random.Random, seed: bytes) -> bytes:
    body = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(6):
            case 0:
                body[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                body[at : at + chance.randrange(3)] = chance.choice(TELLING)
            case 2:
                del body[at : at + chance.randrange(1, 9)]
            case 3 if body:
                start = chance.randrange(len(body))
                body[at:at] = body[start : start + chance.randrange(64)]
            case 4:
                del body[at:]
            case _ if at < len(body):
                body[at] ^= 1 << chance.randrange(8)
    return bytes(body)


def _outcome(body: bytes) -> tuple[str, int]:
    try:
        told = examine(body, PROTOBUF)
        decoded = decode_request(body, PROTOBUF, 1)
    except MalformedRequest as error:
        return f"refused: {error}", 0
    spans = decoded.spans
    rows = b"".join(span_rows(1, [1] * len(spans), spans, [{}] * len(spans)))
    return repr((told, decoded, rows)), len(spans)


if __name__ == "__main__":
    sys.exit(main())
