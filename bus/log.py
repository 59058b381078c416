"""Logs: one JSON line an event on stderr, every line with its fields in the same order; and the names of the events.

A line never holds a body, a key, a password or a certificate: ids, names, codes, counts and reasons only. A stranger's words in it
command no terminal (``bus.plain``).
"""

import json
import logging
from typing import TextIO, cast

import orjson
import structlog

from bus.outlet import Outlet
from bus.plain import plain_json

# The life of a message, in order. Operators search by these names; docs and tests use them too.
ACCEPTED = "message.accepted"
DUPLICATE = "message.duplicate"
REFUSED = "message.refused"
REFUSED_MORE = "message.refused-more"
ROUTED = "delivery.routed"
DELIVERED = "delivery.delivered"
DEFERRED = "delivery.deferred"
BURIED = "delivery.buried"
LOST_CLAIM = "delivery.claim-lost"
LEGACY_SIGNATURE = "signature.legacy"
FETCHED = "mailbox.fetched"
CONFIRMED = "mailbox.confirmed"
READY = "bus.ready"
STOPPING = "bus.stopping"
STOPPED = "bus.stopped"
RELOADED = "bus.reloaded"
RELOAD_FAILED = "bus.reload-failed"
UNEXPECTED = "bus.unexpected-error"
RELEASED = "store.released"
PARTNER_DOWN = "alarm.partner-down"
PARTNER_BACK = "lane.partner-back"
PARTNER_TROUBLE = "alarm.partner-trouble"
PARTNER_WELL = "alarm.partner-trouble.over"
FETCHING_FAILS = "alarm.fetching-trouble"
FETCHING_WORKS = "alarm.fetching-trouble.over"
ROUTE_FAILS = "alarm.route-fails"
ROUTE_WORKS = "alarm.route-fails.over"
MAILBOX_FILLING = "alarm.mailbox-filling"
MAILBOX_FILLING_OVER = "alarm.mailbox-filling.over"
MAILBOX_FULL = "alarm.mailbox-full"
MAILBOX_FULL_OVER = "alarm.mailbox-full.over"
BURIALS = "alarm.buried"
BURIALS_OVER = "alarm.buried.over"
HELD = "delivery.held"
UNCONFIRMED = "alarm.unconfirmed"
CHECKPOINT = "checkpoint.written"
TIMESTAMPED = "checkpoint.time-stamped"
TIMESTAMP_FAILED = "checkpoint.time-stamp-failed"
TIMESTAMPS_STALE = "alarm.timestamps-stale"
TIMESTAMPS_BACK = "checkpoint.time-stamps-back"
REVOCATION_DOWN = "alarm.revocation-unavailable"
REVOCATION_BACK = "revocation.available"
REVOCATION_ACCEPTED = "revocation.accepted-unknown"
TOKEN_DOWN = "alarm.token-unavailable"  # noqa: S105 - an event
TOKEN_BACK = "token.available"  # noqa: S105 - an event
CERTIFICATE_EXPIRING = "alarm.certificate-expiring"
STORE_UNAVAILABLE = "alarm.store-unavailable"
STORE_BACK = "alarm.store-unavailable.over"
PUT_OFF = "engine.put-off"
OPERATORS_ELSEWHERE = "operators.another-port"
OPERATORS_EXPOSED = "operators.exposed"
BROKER_CONNECTED = "broker.connected"
BROKER_LOST = "broker.lost"
WORKER_DIED = "worker.died"
WORKER_REFUSED = "worker.refused"

_ORDER = ("timestamp", "level", "event", "reference", "message", "delivery", "route", "target", "attempt", "code")


def _in_order(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The same fields first, in the same order, on every line, so that eyes and `cut` find them."""
    first = {name: event.pop(name) for name in _ORDER if name in event}
    return {**first, **event}


def _dumps(event: structlog.typing.EventDict, **_: object) -> str:
    return line(event)


def line(event: object) -> str:
    """``event`` as one line of JSON, whatever is in it: what a line is about must not fail because the line cannot be written.

    orjson takes neither whole numbers of more than 64 bits, as serial numbers have, nor text with halves of characters.
    """
    try:
        return plain_json(orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode())
    except TypeError:
        return json.dumps(event, default=str, skipkeys=True)


def configure(level: str = "INFO") -> None:
    """Send structlog's and the standard library's logs (uvicorn, aiohttp, alembic) to stderr as JSON lines. See ``bus.outlet``."""
    outlet = cast("TextIO", Outlet())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _in_order,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(outlet),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(outlet)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer(serializer=_dumps)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
