"""``govbus``: what the operator, the integrator and the newcomer type.

Every command that prints takes ``--json``. Exit codes: 0 good, 1 a fault found or refused, 2 wrong usage. No traceback reaches a
user: an unexpected error is logged to ``<site>/data/errors.log`` under a reference, and the reference is printed.
"""

import errno
import secrets
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

import typer

from bus import ownership
from bus.cli import backups, messages, partners, proofs, refusals, screen, site, upkeep
from bus.errors import BusError, ConfigurationError
from bus.plain import plain_lines

app = typer.Typer(
    name="govbus",
    help="Government service bus: routes, signs, delivers and proves official documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
site.register(app)
messages.register(app)
refusals.register(app)
upkeep.register(app)
backups.register(app)
proofs.register(app)
partners.register(app)


#: Failures of a device that name no file: full, over quota, read-only, broken.
_OF_THE_DEVICE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def main() -> None:
    """The console script."""
    screen.settle()
    try:
        with ownership.handed_over(screen.site_of(sys.argv)):
            app()
    except ConfigurationError as error:
        for fault in error.faults:
            print(fault.said(screen.language()), file=sys.stderr)
        sys.exit(1)
    except BusError as error:
        print(f"{error.code} {error.reason(screen.language())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.filename is None and error.errno not in _OF_THE_DEVICE:
            print(screen.say("cli-unexpected", reference=_log_traceback()), file=sys.stderr)
        else:
            print(screen.say("cli-file-failed", file=error.filename or screen.site_of(sys.argv), detail=error.strerror), file=sys.stderr)
        sys.exit(1)
    except Exception:  # noqa: BLE001 - the last line of defence: a reference instead of a traceback
        print(screen.say("cli-unexpected", reference=_log_traceback()), file=sys.stderr)
        sys.exit(1)


def _log_traceback() -> str:
    reference = secrets.token_hex(6)
    directory = screen.site_of(sys.argv) / "data"
    path = directory / "errors.log" if directory.is_dir() else Path("govbus-errors.log")
    told = plain_lines(traceback.format_exc())
    try:
        with path.open("a", encoding="utf-8") as log:
            log.write(f"--- {reference} {datetime.now(UTC).isoformat()}\n{told}\n")
    except OSError as error:
        # A full disk, or another's file: the last line of the traceback is all that can be told.
        return f"{reference} ({path}: {error.strerror}; {told.splitlines()[-1]})"
    return f"{reference} ({path})"
