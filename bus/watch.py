"""Watch: what operators must be told about the site's keys and certificates before a partner tells them.

Once a day: an alarm for every certificate in use that ends within ``EXPIRY_WARNING``, or has ended. Every few seconds: whether the keys in
PKCS#11 tokens still sign; an alarm when one does not, and word when it does again. Texts in Vietnamese and in English, from the catalogue.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import date, datetime, timedelta

import structlog

from bus import conditions, log, metrics
from bus.errors import LANGUAGES, Deferred, Phrase, text
from bus.keys import KeyEntry, Keyring
from bus.offload import Look
from bus.pkcs11 import TokenKey
from bus.site import Clock

#: A certificate that ends within this time is a warning.
EXPIRY_WARNING = timedelta(days=30)
#: What is in use: neither lists and answers, which have an end of their own, nor what is kept for old receipts.
IN_USE = frozenset({"own", "anchor", "intermediate", "pinned"})
_ROUND = 5.0

_log = structlog.get_logger()


class Watch:
    """The watch of one process. ``keyring`` is the present generation's; ``down``: by name, the keys in tokens that did not sign last."""

    def __init__(self, keyring: Keyring, clock: Clock) -> None:
        self.keyring = keyring
        self._clock = clock
        self._day = date.min
        self.down: Mapping[str, Deferred] = {}
        self._tokens = Look("tokens", self._prove)

    async def run(self) -> None:
        """Round after round, for ever."""
        while True:
            try:
                await self._round()
            except Exception:  # noqa: BLE001 - the rounds never end: what nobody foresaw costs one of them
                _log.exception(log.UNEXPECTED)
            await asyncio.sleep(_ROUND)

    async def _round(self) -> None:
        now = self._clock()
        if now.date() != self._day:
            self._day = now.date()
            self._tell_of_ends(now)
        await self.look_at_tokens()

    async def look_at_tokens(self) -> None:
        """See which keys in tokens sign now. Where a library does not come back, they stay what they were."""
        with contextlib.suppress(TimeoutError):
            await self._tokens()

    def _prove(self) -> None:
        for token in self.keyring.tokens:
            try:
                token.prove()
            except (Deferred, ValueError) as error:
                self._fell(token, error if isinstance(error, Deferred) else token.unavailable(str(error)))
            else:
                self._rose(token)

    def _tell_of_ends(self, now: datetime) -> None:
        for entry in ending(self.keyring, now):
            said = said_of_end(entry, now)
            _log.error(log.CERTIFICATE_EXPIRING, name=entry.name, kind=entry.kind, en=said["en"], vi=said["vi"])

    def _fell(self, token: TokenKey, failure: Deferred) -> None:
        metrics.TOKEN_UP.labels(token.name).set(0)
        # Another mapping each time: who walks the one of before is in another thread.
        self.down = {**self.down, token.name: failure}
        conditions.open(conditions.TOKEN, token.name, failure.reasons, name=token.name, code=failure.code)

    def _rose(self, token: TokenKey) -> None:
        metrics.TOKEN_UP.labels(token.name).set(1)
        self.down = {name: failure for name, failure in self.down.items() if name != token.name}
        conditions.close(conditions.TOKEN, token.name)


def ending(keyring: Keyring, now: datetime) -> Iterator[KeyEntry]:
    """Certificates in use that have ended, or will soon."""
    return (entry for entry in keyring.entries() if entry.kind in IN_USE and entry.not_after - now < EXPIRY_WARNING)


def said_of_end(entry: KeyEntry, now: datetime) -> Mapping[str, str]:
    """The sentence about a certificate's end, by language."""
    key = "certificate-ended" if entry.not_after <= now else "certificate-ends"
    what = Phrase("certificate-of-partner" if entry.partner else "certificate-of-ours", asdict(entry))
    values = {"what": what, "day": f"{entry.not_after:%Y-%m-%d}", "days": (entry.not_after - now).days}
    return {language: text(key, language, **values) for language in LANGUAGES}
