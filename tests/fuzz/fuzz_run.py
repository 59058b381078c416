"""``make fuzz MINUTES=n``: every target in turn, each in a process of its own, guided by the coverage of what it reads (atheris).

libFuzzer keeps the inputs that reach something new, this project's mutations change them, and an input that takes longer or more memory
than its bound is a finding as a crash is. A finding lies afterwards in ``corpus/<target>/`` under a name made of its digest: give it a
name that says what it is, and correct the cause; ``test_fuzz_corpus.py`` replays it for ever. The seed is printed first: the same seed
and the same sources give the same run. What was learnt is kept in ``build/fuzz`` and used by the next run.

atheris is no dependency of the bus nor of its tests; ``make fuzz`` installs it beside them. Exit status 1 when there was a finding.
"""

import argparse
import hashlib
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
CORPUS = HERE / "corpus"
LEARNT = REPOSITORY / "build" / "fuzz"
#: Bounds of one input, which is small: seconds (instrumented, so several times the real ones), and MB of the whole process.
MOST_SECONDS, MOST_MB = 10, 1024
MOST_OCTETS = 16_384
_COUNTERS = re.compile(r"Loaded 1 modules\s+\((\d+) inline 8-bit counters\)")
_COVERED = re.compile(r"cov: (\d+)")
_RUNS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def one(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris

    sys.path[:0] = [str(REPOSITORY), str(HERE)]
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


def fuzz(name: str, seconds: int, seed: int) -> bool:
    """One target in a child process; a line about it, and True if nothing was found."""
    findings = LEARNT / "findings" / name
    findings.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={MOST_SECONDS}", f"-rss_limit_mb={MOST_MB}", f"-max_len={MOST_OCTETS}",
        f"-artifact_prefix={findings}/", "-print_final_stats=1",
    ]  # fmt: skip
    command = ["nice", "-n", "10", sys.executable, str(Path(__file__)), "--one", name, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    counters, covered, runs = (pattern.findall(done.stdout) or ["0"] for pattern in (_COUNTERS, _COVERED, _RUNS))
    print(f"{name:10} {runs[-1]:>9} runs, {covered[-1]} of {counters[-1]} places reached", flush=True)
    if done.returncode == 0:
        return True
    print(done.stdout[-6000:])
    for finding in findings.iterdir():
        kept = CORPUS / name / f"{finding.name.partition('-')[0]}-{finding.name[-12:]}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        finding.replace(kept)
        print(f"FOUND: {kept.relative_to(REPOSITORY)}", flush=True)
    return False


def main() -> int:
    """All targets, or those named; the minutes are shared out among them."""
    parser = argparse.ArgumentParser(description="Fuzz what reads what strangers send.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbits(31) or 1)
    parser.add_argument("--only", default="")
    parser.add_argument("--one", default="")
    given, rest = parser.parse_known_args()
    if given.one:
        one(given.one, rest)
        return 0
    sys.path[:0] = [str(REPOSITORY), str(HERE)]
    from fuzz_targets import TARGETS

    names = given.only.split(",") if given.only else list(TARGETS)
    print(f"seed {given.seed}; again: make fuzz MINUTES={given.minutes:g} SEED={given.seed}", flush=True)
    seconds = max(1, int(given.minutes * 60 / len(names)))
    clean = [fuzz(name, seconds, given.seed) for name in names]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main())
