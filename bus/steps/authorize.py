"""Authorize: the message may come from who sent it, and its receivers exist (EIP *Message Filter*).

A route whose gate says nothing of ``sender`` has the step ``of_format`` first: nobody speaks for another unless the route says so
(``authorize: none`` with its reason in ``because:``).

``sender``: every code the XPath finds must be one of the partner's that was authenticated at the door, in any form of the code.
``receivers``: every code the XPath finds must be a partner's, or stand in the code book today.

Belongs into ``gate``. Raises Rejected ``sender-not-authorised`` (5.7.1), ``receiver-unknown`` (5.1.1), ``receiver-missing``
(5.1.3), ``receiver-closed`` (5.1.6).
"""

from datetime import date
from typing import Self

from pydantic import Field, model_validator

from bus import views
from bus.edxml.model import VIETNAM
from bus.errors import Rejected
from bus.exchange import Exchange, Step
from bus.message import KIND, KIND_OTHER, SENDER
from bus.options import Expression, Model
from bus.site import Site
from bus.xpath import XPath

#: What it rejects is what the sender sent, as long as no step of ours has changed it.
CHECKS = True


#: Where the format names its sender, in the view.
_NAMED = XPath("From/OrganId")


class Options(Model):
    """At least one of the two."""

    sender: Expression | None = Field(None, description="finds the sender's codes, such as From/OrganId")
    receivers: Expression | None = Field(None, description="finds the receivers' codes, such as To/OrganId")

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if self.sender is None and self.receivers is None:
            raise ValueError("'authorize' needs 'sender', 'receivers' or both")
        return self


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""

    def authorize(exchange: Exchange) -> Exchange:
        view = views.of(exchange.message, site)
        if options.sender:
            _check_sender(options.sender.strings(view), exchange.message.header(SENDER), site)
        if options.receivers:
            _check_receivers(options.receivers.strings(view), exchange.now.astimezone(VIETNAM).date(), site)
        return exchange.with_note("authorize")

    return authorize


def of_format(site: Site) -> Step:
    """The step that is there by default: the sender that the message's format names is the partner. Without a format nothing is claimed."""

    def authorize(exchange: Exchange) -> Exchange:
        message = exchange.message
        if message.header(KIND) in {"", KIND_OTHER}:
            return exchange
        _check_sender(_NAMED.strings(views.of(message, site)), message.header(SENDER), site)
        return exchange.with_note("authorize")

    return authorize


def none(because: str) -> Step:
    """The step of a route that lets its partner relay what others wrote: the reason goes into the message's history."""
    note = f"authorize none: {because}"

    def authorize(exchange: Exchange) -> Exchange:
        return exchange.with_note(note)

    return authorize


def _check_sender(codes: tuple[str, ...], partner: str, site: Site) -> None:
    for code in codes or ("",):
        speaker = site.partner_of(code) if code else None
        if speaker is None or speaker.name != partner:
            raise Rejected("sender-not-authorised", partner=partner, organ=code)


def _check_receivers(codes: tuple[str, ...], today: date, site: Site) -> None:
    if not codes:
        raise Rejected("receiver-missing")
    for code in codes:
        if site.partner_of(code) is None and not site.organisations.known(code, today):
            raise _unknown(code, today, site)


def _unknown(code: str, today: date, site: Site) -> Rejected:
    """A code that was closed says who took over, so that the sender need not search."""
    successor = site.organisations.current(code, today)
    if successor != code:
        return Rejected("receiver-closed", receiver=code, successor=successor)
    return Rejected("receiver-unknown", receiver=code)
