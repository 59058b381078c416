"""The daemon: loads a site, opens its store, starts the engine, opens the doors; and takes all of it down again in order.

Signals: SIGTERM and SIGINT drain and exit 0; SIGHUP reloads the site's files (a broken file leaves the old generation running).
With ``workers`` > 1 the process forks that many copies over one listening socket and replaces those that die. Several daemons, on one
machine or many, may serve one shared store: each is a ``bus.node``, and with a broker they wake each other (``bus.wakeup``).
"""

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
import uvicorn
import uvloop

from bus import config, generation, http, log, metrics, points, wakeup
from bus.amqp import Broker
from bus.checkpointing import Checkpointing
from bus.config import Loaded
from bus.endpoint import Door
from bus.engine import Engine
from bus.errors import ConfigurationError, Fault, language
from bus.evidence import Evidence
from bus.http import Application, ClientCertificateProtocol, present, tls_context
from bus.ids import uuid7
from bus.node import Node
from bus.receipt import Receipt
from bus.responders import Responders, kept
from bus.site import Site
from bus.steady import Steady
from bus.store import Store
from bus.wakeup import Wakeup
from bus.watch import IN_USE, Watch
from bus.workers import supervise

_log = structlog.get_logger()


def utc_now() -> datetime:
    """The clock of production: aware, UTC."""
    return datetime.now(UTC)


def store_url(root: Path, environment: Mapping[str, str]) -> str:
    """``GOVBUS_STORE``, or the embedded database of the site."""
    return environment.get("GOVBUS_STORE") or f"sqlite:///{root.resolve() / 'data' / 'bus.db'}"


def chains(root: Path, environment: Mapping[str, str], workers: int) -> Sequence[str]:
    """The journal chain of each of this daemon's workers. Raises ConfigurationError."""
    return Node.read(environment).chains(workers, embedded=store_url(root, environment).startswith("sqlite"))


def open_evidence(site: Site) -> Evidence:
    """The site's notary: seals receipts with the site's key, and trusts receipts sealed by the keys that sign for it, or did."""
    return Evidence(site.keyring.signer(site.key), site.signs, utc_now)


def open_store(
    site: Site, environment: Mapping[str, str], chain: str, *, seal: Callable[[Receipt], bytes] | None = None, sole: bool = False
) -> Store:
    """The site's store, its tables up to date, writing to journal chain ``chain``; ``sole``: as the only process that does.

    ``seal``: what signs receipts; by default the site's key as it is now.
    """
    data = site.root / "data"
    data.mkdir(exist_ok=True, mode=0o750)
    return Store.open(
        store_url(site.root, environment),
        seal=seal or open_evidence(site).seal,
        organisation=site.organisation,
        clock=utc_now,
        ids=uuid7(utc_now),
        chain=chain,
        sole=sole,
        blobs=data / "blobs",
    )


def open_store_at(site: Site, data: Path, chain: str) -> Store:
    """An embedded store that lies in ``data``: that of a restore, before it is put in its place."""
    return Store.open(
        f"sqlite:///{data.resolve() / 'bus.db'}",
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
    """A site and its store, beside a daemon that may be running. ``chain`` is not the daemon's, so that neither waits for the other."""
    loaded = config.load(root, environment=environment, clock=utc_now)
    know_statuses(loaded.site)
    store = open_store(loaded.site, environment, chain)
    try:
        yield loaded, store
    finally:
        store.close()


class AlreadyRunning(Exception):
    """Another daemon holds this site; the text is its process id."""


class CannotListen(Exception):
    """The address is taken, or not ours; the text is the system's reason."""


@contextlib.contextmanager
def sole_daemon(root: Path) -> Iterator[None]:
    """Hold the site's lock: two daemons on one embedded store would both believe that they own its leases."""
    data = root / "data"
    data.mkdir(exist_ok=True, mode=0o750)
    with (data / "daemon.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise AlreadyRunning(lock.read().strip()) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def holder(root: Path) -> int | None:
    """The process that holds the site's lock, or None."""
    try:
        with sole_daemon(root):
            return None
    except AlreadyRunning as error:
        return int(str(error))


class _Server(uvicorn.Server):
    """uvicorn, with its signals left to us and its start announced by us."""

    url = ""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the daemon handles them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so."""
        await super().startup([])
        self.servers = [await http.listen(self, listener) for listener in sockets or ()]
        _log.info(log.READY, url=self.url, pid=os.getpid())


class Daemon:
    """One worker process: engine, doors and signals."""

    def __init__(self, root: Path, environment: Mapping[str, str], chain: str) -> None:
        self._root = root
        self._environment = environment
        begun = utc_now()
        self._loaded, digest = generation.load(root, environment, utc_now)
        self._chain = chain
        self._teller = generation.Teller(root, chain)
        self._node = Node.read(environment)
        site = self._loaded.site
        self._evidence = open_evidence(site)
        self._store = open_store(site, environment, chain, seal=self._seal, sole=True)
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
        )
        keyring = self._loaded.site.keyring
        self._responders = Responders(root / "data" / "revocation", utc_now, keyring.statuses, keyring.authorities())
        self._watch = Watch(keyring, utc_now)
        self._wakeup: Wakeup | None = None
        self._application = Application(self._doors(), self._health, self._ready, self._measure, self._warnings, scratch=root / "data")
        self._reloading: asyncio.Task[None] | None = None
        self._reload_wanted = False
        self._context: ssl.SSLContext | None = None
        self._teller.taken(begun, digest)

    async def run(self, listener: socket.socket) -> None:
        """Serve until told to stop; then drain."""
        server = self._server(listener)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, server)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        for fault in self._loaded.warnings:
            _log.warning("site.warning", fault=str(fault))
        await self._engine.start()
        self._wakeup = self._listen_to_others()
        watching = [asyncio.create_task(loop) for loop in (self._responders.run(), self._watch.run())]
        try:
            await server.serve(sockets=[listener])
        finally:
            # Half a reload must not open what is being shut.
            self._reload_wanted = False
            if self._reloading is not None:
                await asyncio.wait([self._reloading])
            await self._engine.stop()
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            if self._wakeup is not None:
                await self._wakeup.stop()
            self._store.close()
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
        if self._wakeup is not None:
            self._wakeup.tell(target)

    def _server(self, listener: socket.socket) -> _Server:
        tls = self._loaded.tls != "none"
        settings = uvicorn.Config(
            self._application,
            http=ClientCertificateProtocol,
            loop="uvloop",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # X-Forwarded-* is whatever a client says it is.
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=15,
            ssl_context_factory=(lambda *_: self._tls()) if tls else None,
        )
        server = _Server(settings)
        host, port = listener.getsockname()[:2]
        server.url = f"{'https' if tls else 'http'}://{host}:{port}"
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

    def _doors(self) -> list[tuple[str, Door]]:
        return [door for adapter in self._loaded.endpoints.values() for door in adapter.doors()]

    def _stop(self, server: _Server) -> None:
        _log.info(log.STOPPING, pid=os.getpid())
        points.reach("drain.begun")
        server.should_exit = True

    def _reload(self) -> None:
        """One reload at a time; however often it is asked for meanwhile, one more follows."""
        self._reload_wanted = True
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._reload_while_wanted())

    async def _reload_while_wanted(self) -> None:
        while self._reload_wanted:
            self._reload_wanted = False
            await self._reload_now(utc_now())

    async def _reload_now(self, begun: datetime) -> None:
        try:
            # Schemas take a second to compile: not on the loop.
            loaded, digest = await asyncio.to_thread(generation.load, self._root, self._environment, utc_now)
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
        self._responders.adopt(loaded.site.keyring.statuses)
        self._watch.keyring = loaded.site.keyring
        self._evidence = open_evidence(loaded.site)
        self._checkpointing.adopt(self._evidence, loaded.site.timestamps)
        await self._engine.replace_configuration(loaded.site, loaded.endpoints, loaded.routes)
        self._application.replace_doors(self._doors())
        if self._context is not None and loaded.tls != "none":
            present(self._context, *self._shown())
        points.reach("reload.done")
        _log.info(log.RELOADED, routes=sorted(loaded.routes), generation=self._teller.number + 1, digest=digest)
        # Last: who waits for this word may look at the log next.
        self._teller.taken(begun, digest)

    # --- health ---------------------------------------------------------------------------------------------------

    async def _health(self) -> Mapping[str, str]:
        return {} if self._engine.alive() else {"engine": "a loop of the engine has ended; restart the daemon"}

    async def _ready(self) -> Mapping[str, str]:
        unwell = dict(await self._health())
        try:
            await asyncio.to_thread(self._store.targets_with_work)
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is not well
            unwell["store"] = f"the store does not answer: {type(error).__name__}"
        try:
            _try_writing(self._root / "data")
        except OSError as error:
            unwell["data"] = f"data/ cannot be written: {error.strerror}"
        now = utc_now()
        for entry in self._loaded.site.keyring.entries():
            if entry.kind == "own" and entry.not_after <= now:
                unwell[entry.name] = f"the certificate expired at {entry.not_after.isoformat()}"
        for name, failure in (await self._watch.look_at_tokens()).items():
            unwell[name] = failure.reason(language(self._environment))
        return {**unwell, **self._checkpointing.unwell(language(self._environment))}

    def _warnings(self) -> Mapping[str, str]:
        """What is not well and costs latency, or messages of some partners."""
        said = self._wakeup.unwell() if self._wakeup is not None else {}
        return {**said, **self._responders.unwell(language(self._environment))}

    async def _measure(self) -> None:
        """Bring the gauges up to date."""
        gauges = await asyncio.to_thread(self._store.gauges)
        # What stands nowhere any more is not counted at all.
        metrics.BACKLOG.clear()
        metrics.OLDEST.clear()
        for gauge in gauges:
            metrics.BACKLOG.labels(gauge.target, gauge.state).set(gauge.count)
            metrics.OLDEST.labels(gauge.target, gauge.state).set(gauge.age)
        # Several certificates lie under one name while they are rotated: the first to end is the one to know of.
        ends: dict[str, datetime] = {}
        for entry in self._loaded.site.keyring.entries():
            if entry.kind in IN_USE:
                ends[entry.name] = min(entry.not_after, ends.get(entry.name, entry.not_after))
        for name, end in ends.items():
            metrics.CERTIFICATE_DAYS.labels(name).set((end - utc_now()).total_seconds() / 86400)


def _try_writing(directory: Path) -> None:
    """One block, written and removed: a full or read-only disk can be read for a long time before anybody notices."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        file.write(bytes(4096))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, made before any fork so that all workers share it. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CannotListen(error.strerror or str(error)) from error
    listener.listen(1024)
    listener.set_inheritable(True)
    return listener


def run(root: Path, environment: Mapping[str, str], host: str, port: int, workers: int) -> None:
    """Run the daemon in the foreground until it is told to stop. Raises ConfigurationError, AlreadyRunning, CannotListen."""
    # The whole site is checked here, before anything is bound, locked or forked.
    config.load(root, environment=environment, clock=utc_now)
    each = chains(root, environment, workers)
    with sole_daemon(root):
        listener = listen(host, port)
        if len(each) == 1:
            _work(root, environment, listener, each[0])
        else:
            supervise(partial(_work, root, environment, listener), each)


def _work(root: Path, environment: Mapping[str, str], listener: socket.socket, chain: str) -> None:
    # The GIL's switch interval: a 5 ms convoy behind pure Python would throttle the writer's signatures (libraries.md, 2).
    sys.setswitchinterval(0.0005)
    daemon = Daemon(root, environment, chain)
    # Schemas, routes and modules live as long as the process: the collector, a twelfth of the CPU by default, need not walk them again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    uvloop.run(daemon.run(listener))
