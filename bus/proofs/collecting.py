"""Collecting: everything that the store holds about one message, as the files of its evidence.

The rows go in as the octets that they are hashed by, so that each file's SHA-256 is the digest by which another row, or a checkpoint,
vouches for it; bodies go by their digest, and are there once however many rows name them. Nothing is about any other message: of the
journal there are this message's rows, and of the others no more than hashes. Nothing is secret: rows, octets that partners sent or were
sent, certificates; no key, no password, no configuration but the route's own block.

Reads an unchanging snapshot of the store, or an archive of it. Raises Deferred 4.3.1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

import orjson
from cryptography.hazmat.primitives.serialization import Encoding

from bus import lexical
from bus.errors import LANGUAGES, text
from bus.message import CONTENT_TYPE
from bus.octets import Body
from bus.proofs import used
from bus.proofs.manifest import CHAIN, MESSAGE, NAME, README, SITE, TSA, Held, Inclusion, Manifest, Party, RowFile, Stated, Used
from bus.site import Site
from bus.store import Store
from bus.store.snapshot import About, Snapshot
from bus.store.tables import FIXED, Row, columns, messages, octets, plain, stamp

#: Checkpoints between a row's own and the next with a time-stamp: more than these are not taken along, and the row goes without.
MOST_LINKS = 300


@dataclass(frozen=True, slots=True)
class Sources:
    """What an evidence is made from beside the message's rows.

    ``store``   where the proofs and the checkpoints are
    ``routes``  the site's routes by name, as they are declared now
    ``chain``   certificates (DER) of the authorities over the site's own
    ``tsa``     certificates (DER) that the site's time-stamps are checked by
    ``calls``   the partner that each endpoint calls
    """

    site: Site
    store: Store
    routes: Mapping[str, bytes]
    chain: tuple[bytes, ...] = ()
    tsa: tuple[bytes, ...] = ()
    calls: Mapping[str, str] = field(default_factory=dict)


def collect(snapshot: Snapshot, about: About, sources: Sources, now: datetime) -> dict[str, Body]:
    """The files of the evidence of the message that the rows are about, by their names."""
    return _Collection(snapshot, about, sources).collected(now)


@dataclass(slots=True)
class _Collection:
    snapshot: Snapshot
    about: About
    sources: Sources
    files: dict[str, Body] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)

    def collected(self, now: datetime) -> dict[str, Body]:
        """All files; those that say what the others are come first."""
        self._message()
        rows = self._journal()
        self._deliveries()
        self._receipts()
        checkpoints = self._checkpoints({row.proof.checkpoint for row in rows if row.proof})
        told = self._used()
        certificates, revocation = self._certificates()
        organisation, message = self.sources.site.organisation, self.about.message.id
        manifest = Manifest(
            message=message,
            organisation=organisation,
            written=stamp(now),
            rows=rows,
            checkpoints=checkpoints,
            certificates=certificates,
            revocation=revocation,
            used=told,
            parties=tuple(self._party(named, partner) for named, partner in self._parties().items()),
            lost=tuple(self.lost),
        )
        said = "\n".join(text("evidence-readme", each, message=message, organisation=organisation, at=stamp(now)) for each in LANGUAGES)
        return {README: said.encode(), NAME: manifest.octets(), **self.files}

    # --- rows and what they name ------------------------------------------------------------------------------------------

    def _message(self) -> None:
        row = self.about.message
        self.files[MESSAGE] = octets(plain(messages, columns(row)))
        kind = orjson.loads(row.headers).get(CONTENT_TYPE, "")
        self._body(f"message/content{_ending(kind)}", row.digest)
        self._body(f"message/request{_ending(row.request_type)}", row.request)

    def _journal(self) -> tuple[RowFile, ...]:
        rows = []
        for number, row in enumerate(self.about.journal, start=1):
            name = f"journal/{number:04}-{row.event}.json"
            self.files[name] = octets({column: value for column, value in columns(row).items() if column != "hash"})
            rows.append(RowFile(name, self._inclusion(row)))
        return tuple(rows)

    def _inclusion(self, row: Row) -> Inclusion | None:
        proof = self.sources.store.proof(row.chain, row.seq)
        return Inclusion(proof.number, proof.first, proof.last, proof.index, tuple(step.hex() for step in proof.path)) if proof else None

    def _deliveries(self) -> None:
        for number, row in enumerate(self.about.deliveries, start=1):
            self.files[f"deliveries/{number:02}.json"] = octets({name: columns(row)[name] for name in FIXED})
            if not row.receipt_id:
                kind = orjson.loads(row.headers).get(CONTENT_TYPE, "")
                self._body(f"deliveries/{number:02}-content{_ending(kind)}", row.digest)

    def _receipts(self) -> None:
        for number, row in enumerate(self.about.receipts, start=1):
            name = f"receipts/{number:02}-{row.status}"
            self.files[f"{name}.xml"] = bytes(row.xml)
            self._body(f"{name}-reply.bin", row.reply)

    def _body(self, name: str, digest: str) -> None:
        """Octets by their digest, unless there is none, or they are here already."""
        if not digest or digest in self.kept:
            return
        self.kept.add(digest)
        body = self.snapshot.body(digest)
        if body is None:
            self.lost.append(digest)
        else:
            self.files[name] = body

    # --- what vouches for the journal -----------------------------------------------------------------------------------------

    def _checkpoints(self, numbers: Iterable[int]) -> tuple[Stated, ...]:
        """These, and from each on to the next that has a time-stamp: each names the digest of the one before."""
        found: dict[int, Stated] = {}
        for number in sorted(numbers):
            following = self.sources.store.checkpoints_since(number, MOST_LINKS)
            before = list(takewhile(lambda each: not each.token, following))
            linked = following[: len(before) + 1] if len(before) < len(following) else following[:1]
            for each in linked:
                if each.number not in found:
                    name = f"checkpoints/{each.number:08}"
                    self.files[f"{name}.xml"] = each.xml
                    if each.token:
                        self.files[f"{name}.tst"] = each.token
                    found[each.number] = Stated(each.number, f"{name}.xml", f"{name}.tst" if each.token else "")
        return tuple(found[number] for number in sorted(found))

    # --- the site's own files ---------------------------------------------------------------------------------------------------

    def _used(self) -> tuple[Used, ...]:
        told = []
        details: Iterable[Mapping[str, Any]] = (orjson.loads(row.detail) for row in self.about.journal)
        for number, one in enumerate(used.named(details), start=1):
            found = used.octets(one, self.sources.routes, self.sources.site.library)
            name = f"used/{number:02}-{one.kind}{PurePosixPath(one.name).suffix if one.kind != 'route' else '.json'}"
            if found is not None:
                self.files[name] = found
            told.append(Used(one.note, name if found is not None else ""))
        return tuple(told)

    def _certificates(self) -> tuple[tuple[Held, ...], tuple[Held, ...]]:
        site = self.sources.site
        held = {
            of: [(".cer", one) for one in each] for of, each in ((SITE, site.signing), (CHAIN, self.sources.chain), (TSA, self.sources.tsa))
        }
        said: dict[str, list[tuple[str, bytes]]] = {}
        for named, partner in self._parties().items():
            if partner not in site.keyring.trusts:
                continue
            trust = site.keyring.trusts[partner]
            held[named] = [(".cer", one.public_bytes(Encoding.DER)) for one in (*trust.authorities, *trust.pinned)]
            data = site.keyring.revocation_data(partner)
            said[named] = [(".crl", one) for one in data.crls] + [(".ocsp", one) for one in data.ocsps]
        return self._held("certificates", held), self._held("revocation", said)

    def _held(self, directory: str, listed: Mapping[str, Iterable[tuple[str, bytes]]]) -> tuple[Held, ...]:
        held = list[Held]()
        for of, each in listed.items():
            for ending, one in each:
                name = f"{directory}/{len(held) + 1:02}{ending}"
                self.files[name] = one
                held.append(Held(name, of))
        return tuple(held)

    def _party(self, named: str, partner: str) -> Party:
        """``named``: as the rows name it; ``partner``: as it is called now."""
        site, targets = self.sources.site, [endpoint for endpoint, called in self.sources.calls.items() if called == partner]
        codes = [code for own in site.partners[partner].codes for code in (own, *site.organisations.aliases(own))]
        return Party(named, tuple(dict.fromkeys(codes)), tuple(targets))

    def _parties(self) -> Mapping[str, str]:
        """Those whom the evidence is about, who sent it and to whom it went: as its rows name them, and as they are called now."""
        site = self.sources.site
        owners = [row.owner for row in self.about.deliveries]
        receivers = [site.partner_of(code) for row in self.about.deliveries if not row.receipt_id for code in lexical.words(row.receivers)]
        called = [self.sources.calls.get(row.target, "") for row in self.about.deliveries]
        named = [self.about.message.sender, *owners, *called, *(partner.name for partner in receivers if partner)]
        today = {name: self.sources.store.names_of(name)[0] for name in dict.fromkeys(named) if name}
        return {name: now for name, now in today.items() if now in site.partners}


def _ending(media_type: str) -> str:
    """How a file of this media type is called at its end."""
    kind = media_type.partition(";")[0].strip().lower()
    return ".xml" if kind.endswith("xml") else ".bin"
