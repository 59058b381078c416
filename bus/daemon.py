"""The daemon: loads a site, opens its store, starts the engine, opens the doors; and takes all of it down again in order.

Signals: SIGTERM and SIGINT drain and exit 0; SIGHUP reloads the site's files (a broken file leaves the old generation running).
With ``workers`` > 1 the process forks that many copies over one listening socket and replaces those that die. Several daemons, on one
machine or many, may serve one shared store: each is a ``bus.node``, and with a broker they wake each other (``bus.wakeup``).
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvicorn
import uvloop

from bus import beginning, config, continuity, datadir, generation, health, log, metrics, notify, operators, points, wakeup
from bus.amqp import Broker
from bus.checkpointing import Checkpointing
from bus.config import Loaded
from bus.endpoint import Door
from bus.engine import Engine
from bus.errors import ConfigurationError, Deferred, Fault, language
from bus.evidence import Evidence
from bus.health import Health
from bus.http import Application, present, tls_context
from bus.ids import uuid7
from bus.listeners import COMMON, Doors, Server, listen, listen_for_operators
from bus.lock import sole_daemon
from bus.node import Node
from bus.offload import UPKEEP
from bus.ownership import demand_writable
from bus.quotas import Rates
from bus.receipt import Receipt
from bus.responders import Responders, kept
from bus.site import Site
from bus.steady import Steady
from bus.store import Store, dialect
from bus.wakeup import Wakeup
from bus.watch import Watch
from bus.workers import supervise

_log = structlog.get_logger()


def utc_now() -> datetime:
    """The clock of production: aware, UTC."""
    return datetime.now(UTC)


def store_url(root: Path, environment: Mapping[str, str]) -> str:
    """``GOVBUS_STORE``, or the embedded database of the site."""
    return environment.get("GOVBUS_STORE") or dialect.address(root.resolve() / "data" / "bus.db")


def chains(root: Path, environment: Mapping[str, str], workers: int) -> Sequence[str]:
    """The journal chain of each of this daemon's workers. Raises ConfigurationError."""
    return Node.read(environment).chains(workers, embedded=store_url(root, environment).startswith("sqlite"))


def has_store(root: Path, environment: Mapping[str, str]) -> bool:
    """Whether there is a store to be opened, and not one to be made."""
    return bool(environment.get("GOVBUS_STORE")) or (root / "data" / "bus.db").exists()


def open_evidence(site: Site) -> Evidence:
    """The site's notary: seals receipts with the site's key, and trusts receipts sealed by the keys that sign for it, or did."""
    return Evidence(site.keyring.signers.get(site.key), site.signs, utc_now)


def open_store(
    site: Site,
    environment: Mapping[str, str],
    chain: str,
    *,
    seal: Callable[[Receipt], bytes] | None = None,
    sole: bool = False,
    on_trouble: Callable[[Deferred], None] = lambda _error: None,
) -> Store:
    """The site's store, its tables up to date, writing to journal chain ``chain``; ``sole``: as the only process that does.

    ``seal``: what signs receipts; by default the site's key as it is now.
    """
    datadir.demand(site.root, environment)
    data = site.root / "data"
    data.mkdir(exist_ok=True, mode=0o750)
    store = Store.open(
        store_url(site.root, environment),
        seal=seal or open_evidence(site).seal,
        organisation=site.organisation,
        clock=utc_now,
        ids=uuid7(utc_now),
        chain=chain,
        sole=sole,
        blobs=data / "blobs",
        on_trouble=on_trouble,
    )
    if not environment.get("GOVBUS_STORE"):
        datadir.note(site.root)
    return store


def open_store_at(site: Site, data: Path, chain: str) -> Store:
    """An embedded store that lies in ``data``: that of a restore, before it is put in its place."""
    return Store.open(
        dialect.address(data.resolve() / "bus.db"),
        seal=open_evidence(site).seal,
        organisation=site.organisation,
        clock=utc_now,
        ids=uuid7(utc_now),
        chain=chain,
        blobs=data / "blobs",
    )


def know_statuses(site: Site) -> None:
    """Let the site's keyring know what authorities have answered to its daemon."""
    keyring = site.keyring
    for answer in kept(site.root / "data" / "revocation", keyring.authorities(), utc_now()):
        keyring.statuses.learn(answer)


@contextlib.contextmanager
def opened(root: Path, environment: Mapping[str, str], chain: str) -> Iterator[tuple[Loaded, Store]]:
    """A site and its store, beside a daemon that may be running. ``chain`` is not the daemon's, so that neither waits for the other.

    A site with faults is opened as far as it can be used (``Loaded.faults``), if it has a store. Raises
    ConfigurationError where it has none.
    """
    loaded = config.survey(root, environment=environment, clock=utc_now)
    if loaded.faults and not has_store(root, environment):
        raise ConfigurationError(loaded.faults)
    know_statuses(loaded.site)
    store = open_store(loaded.site, environment, chain)
    try:
        yield loaded, store
    finally:
        store.close()


class Daemon:
    """One worker process, of ``processes``: engine, doors and signals."""

    def __init__(self, root: Path, environment: Mapping[str, str], chain: str, listening: Callable[[], None], processes: int = 1) -> None:
        self._root = root
        self._listening = listening
        self._environment = environment
        self._url = store_url(root, environment)
        begun = utc_now()
        beginning.reading()
        self._loaded, digest = continuity.take_up(root, environment, self._url, utc_now)
        self._chain = chain
        self._teller = generation.Teller(root, chain)
        self._node = Node.read(environment)
        site = self._loaded.site
        self._evidence = open_evidence(site)
        self._store = open_store(site, environment, chain, seal=self._seal, sole=True, on_trouble=health.store_trouble(root))
        self._checkpointing = Checkpointing(self._store, self._evidence, site.organisation, utc_now, site.timestamps)
        self._engine = Engine(
            self._loaded.site,
            self._store,
            self._loaded.endpoints,
            self._loaded.routes,
            clock=utc_now,
            ids=uuid7(utc_now),
            on_nudge=self._tell_others,
            lease=self._node.lease,
            steady=Steady(utc_now, time.monotonic),
            checkpointing=self._checkpointing,
            rates=Rates(time.monotonic, processes),
        )
        keyring = self._loaded.site.keyring
        self._responders = Responders(root / "data" / "revocation", utc_now, keyring.statuses, keyring.authorities())
        self._watch = Watch(keyring, utc_now)
        self._health = Health(
            root,
            language(environment),
            self._loaded,
            self._engine,
            self._store,
            self._checkpointing,
            self._watch,
        )
        self._application = Application(self._doors(), self._health.for_partners(), scratch=root / "data", whose=self._shown_by)
        self._reloading: asyncio.Task[None] | None = None
        self._reload_wanted = False
        self._context: ssl.SSLContext | None = None
        self._teller.taken(begun, digest, self._loaded.warnings)

    async def run(self, listener: socket.socket, operators_listener: socket.socket | None = None) -> None:
        """Serve until told to stop; then drain. Operators are served until the end of that."""
        server = self._server(listener)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, server)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        if beginning.hung_up():
            self._reload()
        self._warn()
        await self._store.take(self._loaded.site.codes(), self._loaded.site.quotas())
        await self._engine.start()
        self._health.wakeup = self._listen_to_others()
        watching = [asyncio.create_task(loop) for loop in (self._responders.run(), self._watch.run(), self._health.run())]
        try:
            if operators_listener is not None:
                server.operators_url = operators.url(operators_listener)
                watching.append(asyncio.create_task(self._serve_operators(operators_listener)))
            await server.serve(sockets=[listener])
        finally:
            # Half a reload must not open what is being shut.
            self._reload_wanted = False
            await self._settled()
            await self._engine.stop()
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            if self._health.wakeup is not None:
                await self._health.wakeup.stop()
            self._store.close()
            beginning.deafen()
            _log.info(log.STOPPED, pid=os.getpid())

    def _seal(self, receipt: Receipt) -> bytes:
        """By the key of the present generation: the store stays open over a reload."""
        return self._evidence.seal(receipt)

    def _listen_to_others(self) -> Wakeup | None:
        if not self._node.broker:
            return None
        loop = asyncio.get_running_loop()

        def heard(target: str) -> None:
            loop.call_soon_threadsafe(self._engine.nudge, target)

        broker = Broker(self._node.broker, f"govbus {self._chain}", patience=wakeup.PATIENCE)
        return Wakeup(broker, bus=self._loaded.site.organisation, chain=self._chain, heard=heard)

    def _tell_others(self, target: str) -> None:
        if self._health.wakeup is not None:
            self._health.wakeup.tell(target)

    async def _serve_operators(self, listener: socket.socket) -> None:
        """Plain HTTP, with the bounds of the partners' door; until cancelled."""
        settings = uvicorn.Config(Application((), self._health.for_operators()), timeout_graceful_shutdown=1, **COMMON)
        server = Server(settings)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving

    def _server(self, listener: socket.socket) -> Doors:
        tls = self._loaded.tls != "none"
        settings = uvicorn.Config(
            self._application,
            timeout_graceful_shutdown=15,
            ssl_context_factory=(lambda *_: self._tls()) if tls else None,
            **COMMON,
        )
        server = Doors(settings, self._settled, self._listening)
        server.url = operators.url(listener, "https" if tls else "http")
        return server

    def _tls(self) -> ssl.SSLContext:
        self._context = tls_context(*self._shown())
        return self._context

    def _shown(self) -> tuple[Path, Path, list[bytes]]:
        """The door's certificate and key, and the authorities of the partners."""
        certs = self._root / "certs"
        keyring = self._loaded.site.keyring
        anchors = [anchor for partner in self._loaded.site.partners for anchor in keyring.anchors(partner)]
        return certs / f"{self._loaded.tls}.crt", certs / f"{self._loaded.tls}.key", anchors

    def _shown_by(self, certificate: bytes) -> str:
        """The partner of the present generation that shows this certificate (DER)."""
        return self._loaded.site.keyring.shown_by(certificate, utc_now())

    def _doors(self) -> list[tuple[str, Door]]:
        return [door for adapter in self._loaded.endpoints.values() for door in adapter.doors()]

    def _stop(self, server: Doors) -> None:
        _log.info(log.STOPPING, pid=os.getpid())
        points.reach("drain.begun")
        server.should_exit = True
        # Who ends reads no more files, however often it is asked to.
        self._reload_wanted = False
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _nothing)

    def _warn(self) -> None:
        """Log what is wrong with the files and stops nothing."""
        for fault in self._loaded.warnings:
            _log.warning("site.warning", fault=str(fault))

    def _reload(self) -> None:
        """One reload at a time; however often it is asked for meanwhile, one more follows."""
        self._reload_wanted = True
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._reload_while_wanted())

    async def _reload_while_wanted(self) -> None:
        while self._reload_wanted:
            self._reload_wanted = False
            await self._reload_now(utc_now())

    async def _settled(self) -> None:
        """When no reload is under way."""
        if self._reloading is not None:
            await asyncio.wait([self._reloading])

    async def _reload_now(self, begun: datetime) -> None:
        try:
            # Schemas take a second to compile: not on the loop.
            loaded, digest = await UPKEEP.run(continuity.take_up, self._root, self._environment, self._url, utc_now)
            await self._store.take(loaded.site.codes(), loaded.site.quotas())
        except ConfigurationError as error:
            _log.error(log.RELOAD_FAILED, faults=[str(fault) for fault in error.faults])
            self._teller.refused(begun, error.faults)
            return
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the files or with us, the generation that runs goes on
            _log.exception(log.RELOAD_FAILED)
            self._teller.refused(begun, [Fault(str(self._root), 0, 0, f"unexpected: {type(error).__name__} {error}")])
            return
        points.reach("reload.loaded")
        self._loaded = loaded
        self._responders.adopt(loaded.site.keyring.statuses, loaded.site.keyring.authorities())
        self._watch.keyring = loaded.site.keyring
        self._health.loaded = loaded
        self._evidence = open_evidence(loaded.site)
        self._checkpointing.adopt(self._evidence, loaded.site.timestamps)
        await self._engine.replace_configuration(loaded.site, loaded.endpoints, loaded.routes)
        self._application.replace_doors(self._doors())
        if self._context is not None and loaded.tls != "none":
            present(self._context, *self._shown())
        points.reach("reload.done")
        _log.info(log.RELOADED, routes=sorted(loaded.routes), generation=self._teller.number + 1, digest=digest)
        self._warn()
        # Last: who waits for this word may look at the log next.
        self._teller.taken(begun, digest, loaded.warnings)


def _nothing() -> None:
    """What a signal does that comes too late."""


def run(
    root: Path,
    environment: Mapping[str, str],
    host: str,
    port: int,
    workers: int,
    operators_at: str | None = None,
    *,
    new_store: bool = False,
) -> None:
    """Run the daemon in the foreground until it is told to stop.

    ``operators_at``: where operators are served, as ``bus.operators`` reads it; ``new_store``: make one where this site's is gone. Raises
    ConfigurationError, AlreadyRunning, CannotListen, NoAddress.
    """
    # The whole site is checked here, before anything is bound, locked or forked.
    continuity.take_up(root, environment, store_url(root, environment), utc_now)
    each = chains(root, environment, workers)
    if new_store:
        datadir.begin_anew(root)
    datadir.demand(root, environment)
    demand_writable(root / "data", embedded=not environment.get("GOVBUS_STORE"))
    with sole_daemon(root):
        listener, for_operators = listen(host, port), listen_for_operators(operators_at)
        metrics.share(each)
        quorum = notify.Quorum(len(each))

        def work(chain: str) -> None:
            def listening() -> None:
                if quorum.join(each.index(chain)):
                    notify.tell(environment, notify.READY)

            metrics.join(chain)
            _work(Daemon(root, environment, chain, listening, len(each)), listener, for_operators)

        if len(each) == 1:
            work(each[0])
        else:
            supervise(work, each)
        beginning.deafen()


def _work(daemon: Daemon, listener: socket.socket, for_operators: socket.socket | None) -> None:
    # The GIL's switch interval: a 5 ms convoy behind pure Python would throttle the writer's signatures (libraries.md, 2).
    sys.setswitchinterval(0.0005)
    # Schemas, routes and modules live as long as the process: the collector, a twelfth of the CPU by default, need not walk them again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    uvloop.run(daemon.run(listener, for_operators))
    # The loop has given its signals back as it closed.
    beginning.deafen()
