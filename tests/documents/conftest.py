"""A document's signers and a site to hand documents in at."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from encrypted_rig import CALLED, Sealer, add_encryption_keys
from signed_pdfs import People, people
from soap_rig import Rig, build, now

from bus import pki
from bus.http import tls_context
from bus.pdf import Inspector


@pytest.fixture(scope="session")
def officials(tmp_path_factory: pytest.TempPathFactory) -> People:
    """Two officials and a time-stamping authority, under one authority."""
    return people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> People:
    """The same, under an authority that nobody here trusts."""
    return people(tmp_path_factory.mktemp("strangers"), "Ai đó")


@pytest.fixture(scope="module")
def inspector() -> Iterator[Inspector]:
    """The process that reads PDFs; there is one for all tests of a file."""
    made = Inspector()
    yield made
    made.close()


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory, officials: People) -> Path:
    """A development PKI, in which the officials' authority is trusted as ``trust/signers``."""
    directory = tmp_path_factory.mktemp("documents-pki") / "certs"
    pki.development(directory, organisation_name="Bộ Thông tin và Truyền thông", partners={"unit": "Đơn vị", "other": "Bộ khác"}, now=now())
    (directory / "trust" / "signers").mkdir()
    (directory / "trust" / "signers" / "ca.crt").write_bytes((officials.home / "ca.crt").read_bytes())
    return directory


@pytest.fixture
async def make_rig(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> AsyncIterator[Callable[..., Awaitable[Rig]]]:
    """Builds a bus from a routes.yaml and starts it."""
    made: list[Rig] = []

    async def make(routes: str, environment: dict[str, str] | None = None, keys: Path = certs) -> Rig:
        rig = build(tmp_path_factory.mktemp("site"), keys, routes, environment)
        made.append(rig)
        await rig.engine.start()
        return rig

    yield make
    for rig in made:
        await rig.engine.stop(grace=1)
        rig.store.close()


@pytest.fixture
async def serve(certs: Path) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Puts a handler on a loopback TLS socket, as the partner ``other``; returns its address."""
    runners: list[web.AppRunner] = []

    async def start(handler: Callable[..., Awaitable[web.StreamResponse]]) -> str:
        application = web.Application(client_max_size=1 << 27)
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        runners.append(runner)
        keys = certs / "development" / "other"
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls_context(keys / "tls.crt", keys / "tls.key")).start()
        return f"https://127.0.0.1:{runner.addresses[0][1]}/soap"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture(scope="session")
def sealed_certs(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> Path:
    """The PKI with two keys of ours for encryption."""
    directory = tmp_path_factory.mktemp("sealed") / "certs"
    shutil.copytree(certs, directory)
    add_encryption_keys(directory)
    return directory


@pytest.fixture
async def rig(make_rig: Callable[..., Awaitable[Rig]], sealed_certs: Path) -> Rig:
    """The bus that takes encrypted requests."""
    return await make_rig(CALLED, keys=sealed_certs)


@pytest.fixture
def sealer(sealed_certs: Path) -> Sealer:
    return Sealer(sealed_certs / "own" / "sealed.crt")
