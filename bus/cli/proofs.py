"""Commands for those who must be convinced: evidence writes what proves one message, verify checks it without the store and without us."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterable, Iterator
from hashlib import file_digest
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bus import asic, daemon, durable, keyfiles, proofs
from bus.checkpoint import Summary
from bus.cli import meaning
from bus.cli.meaning import PartnerOption, Unclear
from bus.cli.opening import opened, signing
from bus.cli.screen import JsonOption, SiteOption, console, emit, language, say
from bus.config import Loaded
from bus.errors import LANGUAGES, Deferred
from bus.octets import Chunk
from bus.plain import plain
from bus.proofs import Sources, Verdict, given
from bus.proofs import manifest as told
from bus.proofs.given import Given
from bus.proofs.lines import Line
from bus.store import Store, archive
from bus.store.snapshot import Snapshot
from bus.trust import der, is_authority

#: How a verdict looks before its line.
_MARKS = {Verdict.ESTABLISHED: ("+", "green"), Verdict.OPEN: ("?", "yellow"), Verdict.BROKEN: ("!", "red")}


def evidence(
    message: Annotated[str, typer.Argument(metavar="ID", help="The bus's id, the sender's, or the DocumentId.")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="The container to write, FILE.asice.")],
    from_archive: Annotated[
        Path | None, typer.Option("--archive", exists=True, dir_okay=False, help="An archive that holds the message, if it was pruned.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    partner: PartnerOption = "",
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Write one message's evidence: an ASiC-E container that proves who sent it, when it was accepted, and what was delivered."""
    if output.exists() and not force:
        _fail(say("cli-evidence-exists", file=output))
    now = daemon.utc_now()
    with opened(site) as (loaded, store), _snapshot(store, from_archive) as snapshot:
        signer = signing(loaded)
        found = meaning.find(snapshot, message, meaning.senders(store, partner), partner)
        about = snapshot.about(found) if isinstance(found, str) else None
        if about is None:
            meaning.refuse([found] if isinstance(found, Unclear) else [], json=json)
        if any(store.proof(row.chain, row.seq) is None for row in about.journal):
            asyncio.run(_checkpoint(loaded, store))
        files = proofs.collect(snapshot, about, _sources(loaded, store), now)
        _write(output, asic.write(files, signer, now))
    with output.open("rb") as written:
        digest = file_digest(written, "sha256").hexdigest()
    manifest = told.read(bytes(files[told.NAME]))  # type: ignore[arg-type]  # it was made just now, of bytes
    unproved = sum(row.proof is None for row in manifest.rows)
    if json:
        summary = {"rows": len(manifest.rows), "unproved": unproved, "checkpoints": len(manifest.checkpoints), "lost": manifest.lost}
        emit({"file": str(output), "sha256": digest, "message": manifest.message, "parts": len(files), **summary})
        return
    console.print(say("cli-evidence", message=manifest.message, file=output, parts=len(files), digest=digest))
    if unproved:
        console.print(say("cli-evidence-unproved", count=unproved), style="yellow")


def verify(
    file: Annotated[Path, typer.Argument(help="A container that `govbus evidence` wrote.", exists=True, dir_okay=False)],
    trust: Annotated[
        Path | None,
        typer.Option(help="Whom you trust, by role: DIR/site/, DIR/partners/<OrganId>/, DIR/tsa/.", exists=True, file_okay=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check an evidence container offline: what it establishes, line by line.

    Exit 1 where it does not hold, and where nobody vouches for a signature in its role.
    """
    trusted = _given(trust) if trust else None
    with file.open("rb") as opened:
        report = proofs.verify(opened, trusted)
    if json:
        conclusion = {each: report.conclusion.say(each) for each in LANGUAGES}
        lines = [_told(line) for line in report.lines]
        emit({"ok": report.ok, "signers_established": report.ok and report.judged, "conclusion": conclusion, "lines": lines})
    else:
        for line in report.lines:
            mark, style = _MARKS[line.verdict]
            console.print(plain(f"{mark} {line.say(language())}"), style=style)
        console.print(plain(report.conclusion.say(language())), style="bold")
    raise typer.Exit(0 if report.ok else 1)


def _given(directory: Path) -> Given:
    """The verifier's own trust. One that does not say who is who is wrong usage: nothing of it is believed."""
    try:
        return given.read(directory)
    except given.Misplaced as error:
        for fault in error.faults:
            print(fault.said(language()), file=sys.stderr)
        raise typer.Exit(2) from None


def _told(line: Line) -> dict[str, object]:
    words = {each: line.say(each) for each in LANGUAGES}
    return {"verdict": line.verdict, "vouched": line.vouched, "says": line.key, "part": line.part, "text": words}


@contextlib.contextmanager
def _snapshot(store: Store, path: Path | None) -> Iterator[Snapshot]:
    """One unchanging view of the store, or of an archive."""
    if path is None:
        with store.snapshot() as snapshot:
            yield snapshot
        return
    with tempfile.TemporaryDirectory(prefix="govbus-evidence-") as directory:
        engine, files, _ = archive.load(path, Path(directory))
        with engine.connect() as connection:
            yield Snapshot(connection, files)
        engine.dispose()


async def _checkpoint(loaded: Loaded, store: Store) -> None:
    """State now what the next round of the daemon would: what was journalled up to here."""
    grown, now = store.growth(), daemon.utc_now()
    if grown.spans:
        summary = Summary(grown.number, now, loaded.site.organisation, grown.previous, grown.spans)
        await store.keep_checkpoint(grown, now, daemon.open_evidence(loaded.site).seal_checkpoint(summary))


def _sources(loaded: Loaded, store: Store) -> Sources:
    stamped = loaded.site.timestamps
    routes = {route.name: route.block for route in loaded.routes.values()}
    found = [one for path in sorted((loaded.site.root / "certs" / "own").glob("*.crt")) for one in keyfiles.certificates(path, [])]
    chain = tuple(dict.fromkeys(der(one) for one in found if is_authority(one)))
    calls = {name: adapter.features.calls for name, adapter in loaded.endpoints.items() if adapter.features.calls}
    return Sources(loaded.site, store, routes, chain, tuple(der(one) for one in stamped.anchors) if stamped else (), calls)


def _write(path: Path, octets: Iterable[Chunk]) -> None:
    """Complete or absent: beside its place, down to the disk, and renamed. Documents are in it: for its owner's eyes only."""
    try:
        with durable.writing(path) as file:
            file.writelines(octets)
    except OSError as error:
        raise Deferred("file-unwritable", file=path, detail=error.strerror or error) from error


def _fail(sentence: str) -> NoReturn:
    console.print(sentence, style="red")
    raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Put these commands into the program."""
    for command in (evidence, verify):
        app.command()(command)
