"""A time-stamp authority of openssl's: RFC 3161 tokens made and verified by a program that shares no code with the bus.

Standard: RFC 3161 section 2.4 (request and response).
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from cross_world import World

_CONFIGURATION = """\
[tsa]
serial = serial
default_policy = 1.2.3.4.1
digests = sha256
signer_digest = sha256
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True)
class TimeAuthority:
    """Stamps with the world's TSA key."""

    openssl: str
    world: World

    def token(self, octets: bytes) -> bytes:
        """A TimeStampToken (DER) over ``octets``."""
        home = self._home(octets)
        self._run(home, "-query", "-data", "data", "-sha256", "-cert", "-out", "request")
        return self._reply(home, "-token_out")

    def answer(self, request: bytes) -> bytes:
        """A TimeStampResp (DER) to somebody's TimeStampReq."""
        home = self._home(b"")
        (home / "request").write_bytes(request)
        return self._reply(home)

    def _reply(self, home: Path, *how: str) -> bytes:
        identity = self.world.time_authority
        keys = ("-signer", identity.certificate_file, "-inkey", identity.key_file, "-chain", self.world.authority_file)
        self._run(home, "-reply", "-queryfile", "request", "-config", "tsa.cnf", "-section", "tsa", *keys, *how, "-out", "reply")
        return (home / "reply").read_bytes()

    def holds(self, token: bytes, octets: bytes) -> bool:
        """Whether the token is the authority's over exactly these octets."""
        home = self._home(octets)
        (home / "token").write_bytes(token)
        try:
            self._run(home, "-verify", "-data", "data", "-in", "token", "-token_in", "-CAfile", self.world.authority_file)
        except subprocess.CalledProcessError:
            return False
        return True

    def _home(self, octets: bytes) -> Path:
        home = self.world.scratch / "time"
        home.mkdir(exist_ok=True)
        (home / "tsa.cnf").write_text(_CONFIGURATION)
        (home / "data").write_bytes(octets)
        return home

    def _run(self, home: Path, *arguments: object) -> None:
        command = [self.openssl, "ts", *map(str, arguments)]
        subprocess.run(command, cwd=home, capture_output=True, timeout=30, check=True)
