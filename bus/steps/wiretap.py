"""Wiretap: write into the journal what the message is at this point (EIP *Wire Tap*).

The entry is the body's SHA-256, and the value of ``note`` if one is given. The message passes unchanged, and its content is not copied:
the digest proves later what it was. Two taps of one name in a route leave the later one.
"""

from dataclasses import replace

from pydantic import Field

from bus import views
from bus.exchange import Exchange, Step
from bus.options import Expression, Model
from bus.site import Site

#: The journal is for evidence, not for texts.
LONGEST_NOTE = 200


class Options(Model):
    """What to call it, and what to add."""

    name: str = Field(min_length=1, max_length=60, description="the entry's name in the journal")
    note: Expression | None = Field(None, description="its value is written beside the digest, such as DocumentId")


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""

    def wiretap(exchange: Exchange) -> Exchange:
        entry = f"sha256:{exchange.message.digest}"
        if options.note:
            entry += f" {options.note.string(views.of(exchange.message, site))[:LONGEST_NOTE]}"
        return replace(exchange, taps={**exchange.taps, options.name: entry.strip()}).with_note(f"wiretap {options.name}")

    return wiretap
