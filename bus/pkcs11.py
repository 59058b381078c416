"""PKCS#11: keys in a hardware token, which signs and never gives them away. ``own/<name>.p11`` holds the key's URI (RFC 7512):

    pkcs11:token=govbus;object=bus?module-path=/usr/lib/softhsm/libsofthsm2.so

``token``, and ``object`` (its label) or ``id`` (percent-encoded octets), are the key's; ``module-path`` is the library. A PIN does not
stand there: it comes from ``site: {keys: {own/<name>: {password: env:NAME}}}``.

Promise: every call into one library is made on one thread of ours (SoftHSM 2.6 falls with two sessions in two threads), and takes no
longer than ``PATIENCE`` as the caller sees it. A token that went away is looked for again at the next call, so it comes back by itself.
A process that was forked initialises the library anew (PKCS #11 v3.1 section 5.4, C_Initialize). A PIN that the token once refused is
not shown to it again: a few more would lock it.

Raises ``Deferred`` ``token-unavailable``; ``ValueError`` for a URI that cannot be used.

Standards: PKCS #11 v3.1; RFC 7512 section 2; RFC 9231 (what the signature octets must be).
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import unquote, unquote_to_bytes

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from bus.errors import Deferred
from bus.methods import Method, PublicKey, usual

T = TypeVar("T")

#: A signature by a network HSM takes milliseconds; whoever waits longer waits for something that is not there.
PATIENCE = 5.0
#: After a failure the token is left alone for so long, in seconds.
_PAUSE = 1.0
_CHALLENGE = b"govbus: is this the certificate's key?"


@dataclass(frozen=True, slots=True)
class Uri:
    """Where a key lies. ``id`` and ``label`` of the object: one of them, or both."""

    module: str
    token: str
    label: str = ""
    id: bytes = b""

    @classmethod
    def parse(cls, text: str) -> "Uri":
        """Raises ValueError for what is no PKCS#11 URI of a key, or holds a PIN."""
        scheme, _, rest = text.strip().partition(":")
        path, _, query = rest.partition("?")
        if scheme != "pkcs11":
            raise ValueError("is not a PKCS#11 URI: pkcs11:token=NAME;object=LABEL?module-path=LIBRARY")
        values = dict(part.partition("=")[::2] for part in (*path.split(";"), *query.split("&")) if part)
        if "pin-value" in values:
            raise ValueError("holds a PIN: write it as site: {keys: {own/NAME: {password: env:NAME}}} instead")
        unknown = values.keys() - {"token", "object", "id", "type", "module-path"}
        if unknown or not values.get("token") or not values.get("module-path") or not (values.get("object") or values.get("id")):
            raise ValueError(f"needs token=, object= or id=, and ?module-path=, and nothing else{' ' + min(unknown) if unknown else ''}")
        label, identifier = unquote(values.get("object", "")), unquote_to_bytes(values.get("id", ""))
        return cls(unquote(values["module-path"]), unquote(values["token"]), label, identifier)


@dataclass(frozen=True)
class TokenKey:
    """A private key in a token, as a ``Key`` that signs. ``public``: its certificate's, which ``prove`` holds it to."""

    name: str
    uri: Uri
    public: PublicKey
    pin: str = field(repr=False)

    def sign(self, data: bytes, method: Method) -> bytes:
        """The SignatureValue octets over ``data``. Raises Deferred."""
        return _module(self.uri.module).call(self, lambda module: module.sign(self, data, method))

    def prove(self) -> None:
        """Have the token sign, and verify it. Raises Deferred when it cannot, ValueError when the certificate is not this key's."""
        method = usual(self.public)
        try:
            method.verify(self.public, self.sign(_CHALLENGE, method), _CHALLENGE)
        except InvalidSignature:
            raise ValueError("the certificate is not this key's") from None

    def unavailable(self, detail: str) -> Deferred:
        """The failure that says so."""
        return Deferred("token-unavailable", retry_after=30, token=self.uri.token, name=self.name, detail=detail)


def library() -> Any:
    """python-pkcs11, which only sites with a token need. Raises ValueError with the cure."""
    try:
        import pkcs11  # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError("keys in a PKCS#11 token need the extra: pip install 'govbus[pkcs11]'") from None
    return pkcs11


class _Module:
    """One library, its one thread, and what is open in it."""

    def __init__(self, path: str, *, inherited: bool) -> None:
        self._path = path
        self._pkcs11 = library()
        self._stale = inherited
        self._sessions: dict[str, Any] = {}
        self._keys: dict[Uri, Any] = {}
        self._refused: set[tuple[str, str]] = set()
        self._running: Future[Any] | None = None
        self._failed = ("", float("-inf"))
        self._work: SimpleQueue[tuple[Callable[[_Module], Any], Future[Any]]] = SimpleQueue()
        # Of our own and not an executor's, whose threads are joined when the process ends: a library that hangs would keep it.
        threading.Thread(target=self._serve, name="pkcs11", daemon=True).start()

    def call(self, key: TokenKey, work: Callable[["_Module"], T]) -> T:
        """``work`` done on the thread. Raises Deferred."""
        detail, since = self._failed
        if time.monotonic() - since < _PAUSE:
            raise key.unavailable(detail)
        if self._running is not None and not self._running.done():
            raise key.unavailable("the library does not come back from an earlier call")
        future: Future[T] = Future()
        self._work.put((work, future))
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            self._running = future
            raise key.unavailable(f"the library did not answer in {PATIENCE:.0f} s") from None
        except (self._pkcs11.PKCS11Error, RuntimeError, OSError) as error:
            detail = " ".join([type(error).__name__, *str(error).split()])
            self._failed = (detail, time.monotonic())
            raise key.unavailable(detail) from None

    def sign(self, key: TokenKey, data: bytes, method: Method) -> bytes:
        """On the thread: the signature; where what is open has gone stale, all is opened anew once."""
        try:
            return self._sign(key, data, method)
        except self._pkcs11.PKCS11Error:
            if (key.uri.token, key.pin) in self._refused:
                raise
            self._stale = True
            return self._sign(key, data, method)

    def _sign(self, key: TokenKey, data: bytes, method: Method) -> bytes:
        octets, options = _mechanism(self._pkcs11, data, method)
        return bytes(self._opened(key).sign(octets, **options))

    def _opened(self, key: TokenKey) -> Any:
        if self._stale:
            self._initialise()
        if key.uri not in self._keys:
            private = self._pkcs11.ObjectClass.PRIVATE_KEY
            named = {name: value for name, value in (("label", key.uri.label), ("id", key.uri.id)) if value}
            self._keys[key.uri] = self._session(key).get_key(object_class=private, **named)
        return self._keys[key.uri]

    def _session(self, key: TokenKey) -> Any:
        """One a token, whatever number of keys is in it: the login is the token's."""
        if (key.uri.token, key.pin) in self._refused:
            raise self._pkcs11.PinIncorrect
        if key.uri.token not in self._sessions:
            token = self._pkcs11.lib(self._path).get_token(token_label=key.uri.token)
            try:
                self._sessions[key.uri.token] = token.open(user_pin=key.pin)
            except (self._pkcs11.PinIncorrect, self._pkcs11.PinInvalid, self._pkcs11.PinLenRange):
                self._refused.add((key.uri.token, key.pin))
                raise
        return self._sessions[key.uri.token]

    def _initialise(self) -> None:
        self._keys.clear()
        self._sessions.clear()
        opened = self._pkcs11.lib(self._path)
        if opened.initialized:
            opened.reinitialize()
        self._stale = False

    def _serve(self) -> None:
        while True:
            work, future = self._work.get()
            try:
                future.set_result(work(self))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who asked
                future.set_exception(error)


def _mechanism(pkcs11: Any, data: bytes, method: Method) -> tuple[bytes, dict[str, Any]]:
    """What the token is given, and how it is to sign it, so that RFC 9231's octets come out."""
    name = method.hash.name.upper() if method.hash else ""
    if method.family == "rsa":
        return data, {"mechanism": getattr(pkcs11.Mechanism, f"{name}_RSA_PKCS")}
    if method.family == "rsa-pss" and method.hash:
        parameters = (getattr(pkcs11.Mechanism, name), getattr(pkcs11.MGF, name), method.hash.digest_size)
        return data, {"mechanism": getattr(pkcs11.Mechanism, f"{name}_RSA_PKCS_PSS"), "mechanism_param": parameters}
    if method.family == "ec" and method.hash:
        # Tokens know ECDSA over a digest; not all of them know how to hash for it. Their r and s stand side by side already.
        digest = hashes.Hash(method.hash)
        digest.update(data)
        return digest.finalize(), {"mechanism": pkcs11.Mechanism.ECDSA}
    return data, {"mechanism": pkcs11.Mechanism.EDDSA}


_modules: dict[str, tuple[int, _Module]] = {}
_lock = threading.Lock()


def _module(path: str) -> _Module:
    """The module of this process; one that was inherited over a fork has neither its thread nor a library that may be used as it is."""
    with _lock:
        pid, module = _modules.get(path, (0, None))
        if module is None or pid != os.getpid():
            module = _Module(path, inherited=module is not None)
            _modules[path] = (os.getpid(), module)
        return module
