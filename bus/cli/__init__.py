"""``govbus``: what the operator, the integrator and the newcomer type.

Every command that prints takes ``--json``. Exit codes: 0 good, 1 a fault found or refused, 2 wrong usage. No traceback reaches a
user: an unexpected error is logged to ``<site>/data/errors.log`` under a reference, and the reference is printed.
"""

import secrets
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

import typer

from bus.cli import messages, partners, proofs, screen, site, upkeep
from bus.errors import BusError, ConfigurationError

app = typer.Typer(
    name="govbus",
    help="Government service bus: routes, signs, delivers and proves official documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
site.register(app)
messages.register(app)
upkeep.register(app)
proofs.register(app)
partners.register(app)


def main() -> None:
    """The console script."""
    try:
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
    except Exception:  # noqa: BLE001 - the last line of defence: a reference instead of a traceback
        print(screen.say("cli-unexpected", reference=_log_traceback()), file=sys.stderr)
        sys.exit(1)


def _log_traceback() -> str:
    reference = secrets.token_hex(6)
    directory = screen.site_of(sys.argv) / "data"
    path = directory / "errors.log" if directory.is_dir() else Path("govbus-errors.log")
    with path.open("a", encoding="utf-8") as log:
        log.write(f"--- {reference} {datetime.now(UTC).isoformat()}\n{traceback.format_exc()}\n")
    return f"{reference} ({path})"
