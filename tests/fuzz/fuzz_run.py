"""``make fuzz MINUTES=n``: every target in turn, each in a process of its own, guided by the coverage of what it reads (atheris).

libFuzzer keeps the inputs that reach something new, this project's mutations change them, and an input that takes longer or more memory
than its bound is a finding as a crash is. A finding lies afterwards in ``corpus/<target>/`` under a name made of its digest: give it a
name that says what it is, and correct the cause; ``test_fuzz_corpus.py`` replays it for ever. The seed is printed first: the same seed
and the same sources give the same run. What was learnt is kept in ``build/fuzz`` and used by the next run; how many of the lines of
its modules a target's inputs reach is told beside the number of runs.

atheris is no dependency of the bus nor of its tests; ``make fuzz`` installs it beside them. Exit status 1 when there was a finding.
"""

import argparse
import hashlib
import importlib
import os
import pkgutil
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
CORPUS = HERE / "corpus"
LEARNT = REPOSITORY / "build" / "fuzz"
#: Bounds of one input, which is small: seconds (instrumented, so several times the real ones), and MB of the whole process.
MOST_SECONDS, MOST_MB = 10, 1024
MOST_OCTETS = 16_384
_RUNS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def one(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris
    import fuzz_mutations  # noqa: F401 - before what is instrumented: its own coverage means nothing

    with atheris.instrument_imports(include=["bus", "adapters"]):
        import fuzz_targets
    target = fuzz_targets.TARGETS[name]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return target.mutate(data, Random(seed))[:most]

    begin = LEARNT / name
    begin.mkdir(parents=True, exist_ok=True)
    for seed in (*target.seeds(), *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))):
        (begin / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    atheris.Setup([sys.argv[0], str(begin), *arguments], lambda data: fuzz_targets.run(name, data) and None, custom_mutator=mutate)
    atheris.Fuzz()


def reach(name: str) -> None:
    """Replay what was learnt, and print how many lines of the functions of the target's modules that reaches."""
    import fuzz_targets

    lines = {path: set(_lines(compile(path.read_text(encoding="utf-8"), str(path), "exec"))) for path in _modules(name)}
    watched, reached = {str(path) for path in lines}, set[tuple[str, int]]()

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if file in watched:
            reached.add((file, frame.f_lineno))
            return trace
        return None

    sys.settrace(trace)
    for path in sorted((LEARNT / name).glob("*")):
        with suppress(Exception):
            fuzz_targets.run(name, path.read_bytes())
    sys.settrace(None)
    met = sum(len(numbers & {line for file, line in reached if file == str(path)}) for path, numbers in lines.items())
    print(f"{met} of {sum(map(len, lines.values()))} lines")


def _modules(name: str) -> Iterator[Path]:
    import fuzz_targets

    for module in map(importlib.import_module, fuzz_targets.TARGETS[name].reads):
        yield Path(str(module.__file__))
        for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
            yield Path(str(importlib.import_module(f"{module.__name__}.{found.name}").__file__))


def _lines(code: CodeType, *, inside: bool = False) -> Iterator[int]:
    """The lines of the functions in ``code``; those of a module or a class run when it is imported."""
    if inside:
        yield from (line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _lines(constant, inside=bool(constant.co_flags & 2))  # 2: CO_NEWLOCALS, a function's


def fuzz(name: str, seconds: int, seed: int) -> bool:
    """One target in a child process; a line about it, and True if nothing was found."""
    findings = LEARNT / "findings" / name
    findings.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={MOST_SECONDS}", f"-rss_limit_mb={MOST_MB}", f"-max_len={MOST_OCTETS}",
        f"-artifact_prefix={findings}/", "-print_final_stats=1",
    ]  # fmt: skip
    done = _child("--one", name, *arguments)
    runs = (_RUNS.findall(done.stdout) or ["0"])[-1]
    print(f"{name:10} {runs:>9} runs, reaching {_child('--reach', name).stdout.strip()}", flush=True)
    if done.returncode == 0:
        return True
    print(done.stdout[-6000:])
    for finding in findings.iterdir():
        kept = CORPUS / name / f"{finding.name.partition('-')[0]}-{finding.name[-12:]}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        finding.replace(kept)
        print(f"FOUND: {kept.relative_to(REPOSITORY)}", flush=True)
    return False


def _child(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["nice", "-n", "10", sys.executable, str(Path(__file__)), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)


def main() -> int:
    """All targets, or those named; the minutes are shared out among them."""
    parser = argparse.ArgumentParser(description="Fuzz what reads what strangers send.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbits(31) or 1)
    parser.add_argument("--only", default="")
    parser.add_argument("--one", default="")
    parser.add_argument("--reach", default="")
    given, rest = parser.parse_known_args()
    if given.one:
        one(given.one, rest)
        return 0
    if given.reach:
        reach(given.reach)
        return 0
    from fuzz_targets import TARGETS

    names = given.only.split(",") if given.only else list(TARGETS)
    print(f"seed {given.seed}; again: make fuzz MINUTES={given.minutes:g} SEED={given.seed}", flush=True)
    seconds = max(1, int(given.minutes * 60 / len(names)))
    clean = [fuzz(name, seconds, given.seed) for name in names]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.path[:0] = [str(REPOSITORY), str(HERE), str(HERE.parent)]
    sys.exit(main())
