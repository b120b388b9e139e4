"""How is the git program run? Without prompts, without the caller's git variables, with a deadline and a token.

A token never enters an argument, a URL or a file: git gets it as a header through its environment, and only for the
host of the remote. What git's refusal means is said by ``wire.git_answers``.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from platform_lib.errors import GitError, ToolMissing
from platform_lib.redact import of_process
from platform_lib.settings import variable
from platform_lib.wire import git_answers
from platform_lib.wire.dns import address_in
from platform_lib.wire.secretvalue import resolve

TIMEOUT_S = 60.0
_SCP = re.compile(r"[^/:@]+@[^/:]+:")
PASSED = (
    "SSH_AUTH_SOCK",
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "GIT_SSL_CAINFO",
)
"""How the user's machine reaches a host: its key agent, proxies and authority. Nothing that redirects git itself."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who pushes.

    Attributes:
        name, mail: Author and committer of the commits made here.
        user: User name sent with the token.
        token: Reference (``env:NAME``, ``file:/path``) to a token for an http(s) remote; empty: the user's own git
            configuration decides.
    """

    name: str
    mail: str
    user: str = "git"
    token: str = ""


@dataclass(frozen=True, slots=True)
class Git:
    """The git program, for one remote.

    Attributes:
        remote: Path or URL of the repository.
        branch: Branch that is read and pushed to; for messages.
        identity: Who pushes.
    """

    remote: str
    branch: str
    identity: Identity

    def run(self, arguments: Sequence[str], *, folder: Path | None, stdin: str | None = None) -> str:
        """Run git and return its output without the last line end.

        Args:
            arguments: What follows ``git``.
            folder: Work tree; None where there is none yet.
            stdin: Text for its input.

        Raises:
            GitError: It failed, or gave no answer within a minute.
            ToolMissing: There is no git.
            InvalidInput: The reference to the token leads nowhere.
        """
        program = shutil.which("git")
        if program is None:
            raise ToolMissing("git - not found on PATH, it is needed", hint="install git")
        command = [program, *self._options(), *(["-C", str(folder)] if folder else []), *arguments]
        try:
            done = subprocess.run(
                command,
                env=self._environment(program),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._failed(arguments, f"no answer within {TIMEOUT_S:.0f} s") from error
        if done.returncode:
            raise self._failed(arguments, done.stderr or done.stdout)
        return done.stdout.rstrip("\n")

    def _failed(self, arguments: Sequence[str], text: str) -> GitError:
        """Build the error of a failed command; known secrets leave the text first."""
        scrubbed = of_process().scrub(text)
        return git_answers.explain(arguments[0], scrubbed, remote=self.remote, branch=self.branch)

    def _options(self) -> list[str]:
        """Return the configuration that every call needs, whatever the user's own says."""
        pairs = (
            ("user.name", self.identity.name),
            ("user.email", self.identity.mail),
            ("commit.gpgsign", "false"),
            ("core.hooksPath", os.devnull),
            ("core.autocrlf", "false"),
            ("gc.auto", "0"),
            ("advice.detachedHead", "false"),
        )
        return [part for key, value in pairs for part in ("-c", f"{key}={value}")]

    def _environment(self, program: str) -> dict[str, str]:
        """Return an environment without the caller's git variables; a URL keeps the user's credentials."""
        clean = {
            "PATH": os.pathsep.join((str(Path(program).parent), os.defpath)),
            "HOME": str(Path.home()),
            "LC_ALL": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10",
        }
        if "://" not in self.remote and not _SCP.match(self.remote):  # a path on this machine
            return clean | self._configuration() | {"GIT_CONFIG_GLOBAL": os.devnull}
        passed = {name: value for name in PASSED if (value := variable(name))}
        return clean | self._configuration() | passed

    def _configuration(self) -> dict[str, str]:
        """Return the variables that configure this one process: nothing of it is in an argument or a file."""
        pairs = [*self._address(), *self._authorisation()]
        found = {"GIT_CONFIG_COUNT": str(len(pairs))} if pairs else {}
        for index, (key, value) in enumerate(pairs):
            found |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
        return found

    def _address(self) -> list[tuple[str, str]]:
        """Return the address of a name that carries one (``git.127.0.0.1.sslip.io``), so that no DNS is needed.

        Many home routers drop answers that point to 127.0.0.1. Git before 2.37 ignores the setting and asks DNS.
        """
        place = urlsplit(self.remote)
        address = address_in(place.hostname or "") if place.scheme in ("http", "https") else None
        if address is None:
            return []
        # No proxy knows this machine's loopback address, nor should it see what is meant for a cluster right here.
        direct = ("http.proxy", "")
        if address == place.hostname:
            return [direct]
        port = place.port or (443 if place.scheme == "https" else 80)
        return [("http.curloptResolve", f"{place.hostname}:{port}:{address}"), direct]

    def _authorisation(self) -> list[tuple[str, str]]:
        """Return the configuration that carries the token, for this one host."""
        place = urlsplit(self.remote)
        if not self.identity.token or place.scheme not in ("http", "https"):
            return []
        pair = f"{self.identity.user}:{resolve(self.identity.token, what='APQX_GIT_TOKEN')}".encode()
        header = f"Authorization: Basic {base64.b64encode(pair).decode()}"
        return [
            (f"http.{place.scheme}://{place.netloc.rpartition('@')[2]}/.extraHeader", header),
            # The user's own helper must not answer with another identity when the token is refused.
            ("credential.helper", ""),
        ]
