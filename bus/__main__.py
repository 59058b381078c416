"""The program: ``govbus``, and ``python -m bus``. What may befall a process in its first moment is seen to before anything is imported."""

import sys

from bus import beginning


def main() -> None:
    """The console script."""
    beginning.open_descriptors()
    if sys.argv[1:2] == ["run"]:
        beginning.guard()
    from bus.cli import main as command  # noqa: PLC0415 - takes a second, in which signals come

    command()


if __name__ == "__main__":
    main()
