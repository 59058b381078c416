"""A PKCS#11 token in software (SoftHSM 2), in a directory of the test's own, that can be taken away and put back."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN = "73914286-PIN"


def module() -> str:
    """SoftHSM's library. Missing, it skips the test; in CI it must be there."""
    found = next((path for path in MODULES if Path(path).exists()), None)
    if found is None or shutil.which("softhsm2-util") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("SoftHSM is not installed; .ci/run installs it")
        pytest.skip("SoftHSM is not installed (package softhsm2)")
    return found


@dataclass(frozen=True)
class SoftToken:
    """A token called ``govbus`` below ``directory``."""

    directory: Path
    module: str

    @classmethod
    def create(cls, directory: Path) -> "SoftToken":
        token = cls(directory, module())
        (directory / "tokens").mkdir(parents=True)
        token.configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
        token._util("--init-token", "--free", "--label", "govbus", "--so-pin", "so-" + PIN, "--pin", PIN)
        return token

    @property
    def configuration(self) -> Path:
        return self.directory / "softhsm2.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What a process that is to see the token needs."""
        return {"SOFTHSM2_CONF": str(self.configuration)}

    def uri(self, label: str) -> str:
        return f"pkcs11:token=govbus;object={label};type=private?module-path={self.module}"

    def take(self, key: Path, label: str, number: str = "01") -> None:
        """Put a PKCS#8 PEM key into the token."""
        self._util("--import", str(key), "--token", "govbus", "--label", label, "--id", number, "--pin", PIN)

    def away(self) -> None:
        """Pull it out."""
        (self.directory / "tokens").rename(self.directory / "pulled")

    def back(self) -> None:
        (self.directory / "pulled").rename(self.directory / "tokens")

    def _util(self, *words: str) -> None:
        subprocess.run(["softhsm2-util", *words], env={**os.environ, **self.environment}, check=True, capture_output=True, timeout=60)
