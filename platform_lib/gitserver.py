"""How does a cluster get a git repository when nobody has one? ``git http-backend`` behind gunicorn, nothing more.

``python -m platform_lib.gitserver`` serves one bare repository over git's smart HTTP protocol: everybody who can
reach it may read, a push needs the token. Git itself does the work; this file lets exactly three addresses
through, checks the token and passes bytes. It knows no other path, so there is none to escape from.

Source: git-http-backend(1), gitprotocol-http(5).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hmac
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from platform_lib.errors import InvalidInput, ToolMissing
from platform_lib.settings import search_path

log = logging.getLogger("gitserver")

BRANCH = "main"
SERVICES = ("git-upload-pack", "git-receive-pack")
MAX_PUSH_BYTES = 256 * 1024 * 1024
"""Desired state is text; whoever pushes more has added something else, and the volume is small."""
THREADS = 8
_CHUNK = 1 << 16
_PROTOCOL = re.compile(r"^version=[0-2]$")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*\.git$")
_CONFIG = (
    ("http.receivepack", "true"),
    ("http.getanyfile", "false"),
    # History is the record that rollbacks and reports read: nobody rewrites or deletes it from outside.
    ("receive.denyNonFastForwards", "true"),
    ("receive.denyDeletes", "true"),
    ("receive.fsckObjects", "true"),
    # Argo CD may ask for the commit it resolved a moment ago although the branch has moved on.
    ("uploadpack.allowReachableSHA1InWant", "true"),
)

StartResponse = Callable[..., Any]
Environ = dict[str, Any]


class Refusal(NamedTuple):
    """An answer that git is not asked for."""

    status: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class GitServer:
    """The WSGI application.

    Args:
        repository: Bare repository, named ``*.git``.
        token: Returns the token of the moment; an empty one refuses every push.
        git: The git program.
        max_push_bytes: A longer request is refused.
    """

    def __init__(
        self, repository: Path, token: Callable[[], str], *, git: str, max_push_bytes: int = MAX_PUSH_BYTES
    ) -> None:
        self._repository, self._token, self._git, self._max_push_bytes = repository, token, git, max_push_bytes
        self._backend = _backend_program(git)
        self._routes = {f"/{repository.name}/info/refs": ("GET", "")} | {
            f"/{repository.name}/{service}": ("POST", service) for service in SERVICES
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ["PATH_INFO"] == "/healthz":
            return _answer(start_response, self._health())
        service, refusal = self._admitted(environ)
        if refusal is not None:
            return _answer(start_response, refusal)
        run = _Backend(self._command_environment(environ, service), self._backend, environ, self._max_push_bytes)
        return run.answer(start_response)

    def _health(self) -> Refusal:
        """Say whether the repository is there."""
        there = (self._repository / "HEAD").is_file()
        return Refusal("200 OK", "ok\n") if there else Refusal("503 Service Unavailable", "no repository\n")

    def _admitted(self, environ: Environ) -> tuple[str, Refusal | None]:
        """Return the git service that is asked for, or why it is refused."""
        method, service = self._routes.get(environ["PATH_INFO"], ("", ""))
        if not method:
            return "", Refusal("404 Not Found", "no such repository or address\n")
        if environ["REQUEST_METHOD"] != method:
            return "", Refusal("405 Method Not Allowed", f"{method} only\n", (("Allow", method),))
        if not service:
            service = {f"service={name}": name for name in SERVICES}.get(environ.get("QUERY_STRING", ""), "")
        if not service:
            return "", Refusal("403 Forbidden", "only the smart protocol is served; use a newer git\n")
        if service == "git-receive-pack" and not self._may_push(environ):
            return "", Refusal(
                "401 Unauthorized", "a push needs the token\n", (("WWW-Authenticate", 'Basic realm="apqx git"'),)
            )
        return service, _too_long(environ, self._max_push_bytes)

    def _may_push(self, environ: Environ) -> bool:
        """Compare the password of a Basic authorisation with the token, in constant time."""
        scheme, _, encoded = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
        wanted = self._token().encode()
        return scheme.lower() == "basic" and bool(wanted) and hmac.compare_digest(given, wanted)

    def _command_environment(self, environ: Environ, service: str) -> dict[str, str]:
        """Return the CGI environment: what git needs of the request, and nothing else of it."""
        query = f"service={service}" if environ["REQUEST_METHOD"] == "GET" else ""
        passed = {
            "REQUEST_METHOD": environ["REQUEST_METHOD"],
            "PATH_INFO": environ["PATH_INFO"],
            "QUERY_STRING": query,
            "CONTENT_TYPE": environ.get("CONTENT_TYPE") or "",
            "HTTP_CONTENT_ENCODING": environ.get("HTTP_CONTENT_ENCODING") or "",
            "REMOTE_ADDR": environ.get("REMOTE_ADDR") or "",
        }
        if environ.get("CONTENT_LENGTH"):
            passed["CONTENT_LENGTH"] = environ["CONTENT_LENGTH"]
        if _PROTOCOL.match(environ.get("HTTP_GIT_PROTOCOL", "")):
            passed["GIT_PROTOCOL"] = environ["HTTP_GIT_PROTOCOL"]
        if service == "git-receive-pack":
            passed["REMOTE_USER"] = "apqx"
        own = {
            "GIT_PROJECT_ROOT": str(self._repository.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "SERVER_PROTOCOL": "HTTP/1.1",
        }
        limits = [("receive.maxInputSize", str(self._max_push_bytes)), ("safe.directory", str(self._repository))]
        return passed | own | git_environment(self._git, limits)


def _backend_program(git: str) -> str:
    """Return the program itself: killed through ``git http-backend`` only the wrapper would end.

    Raises:
        ToolMissing: This git comes without it.
    """
    done = subprocess.run([git, "--exec-path"], capture_output=True, text=True, timeout=60, check=True)
    found = Path(done.stdout.strip()) / "git-http-backend"
    if not found.is_file():
        raise ToolMissing(f"{found} - absent, it serves git over HTTP", hint="install the whole git package")
    return str(found)


def git_environment(git: str, config: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """Return a clean environment for git, with configuration that overrides the repository's own."""
    clean = {
        "PATH": os.pathsep.join((str(Path(git).parent), os.defpath)),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for index, (key, value) in enumerate(config):
        clean |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    return clean


def _too_long(environ: Environ, limit: int) -> Refusal | None:
    """Refuse a request that says itself that it is too long."""
    length = str(environ.get("CONTENT_LENGTH") or "0")
    if length.isdigit() and int(length) <= limit:
        return None
    return Refusal("413 Content Too Large", f"at most {limit} bytes\n")


def _answer(start_response: StartResponse, refusal: Refusal) -> Iterable[bytes]:
    """Send a short text."""
    body = refusal.text.encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *refusal.headers]
    start_response(refusal.status, headers)
    return [body]


class _Backend:
    """One run of ``git http-backend``: the request in, the answer out, neither kept in memory."""

    def __init__(self, environment: dict[str, str], backend: str, environ: Environ, limit: int) -> None:
        self._input: IO[bytes] = environ["wsgi.input"]
        self._left = int(environ["CONTENT_LENGTH"]) if environ.get("CONTENT_LENGTH") else limit + 1
        self._chunked = not environ.get("CONTENT_LENGTH")
        self._post = environ["REQUEST_METHOD"] == "POST"
        self._process = subprocess.Popen(
            [backend],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def answer(self, start_response: StartResponse) -> Iterator[bytes]:
        """Start both directions and return the body, once git has said how it begins."""
        self._feeder.start()
        self._listener.start()
        try:
            status, headers = _head(self._out)
        except ValueError as error:
            self._end(kill=True)
            log.error("git http-backend: %s", error)
            return iter(_answer(start_response, Refusal("500 Internal Server Error", "git gave no answer\n")))
        start_response(status, headers)
        return self._body()

    @property
    def _out(self) -> IO[bytes]:
        """What git writes."""
        assert self._process.stdout is not None
        return self._process.stdout

    def _body(self) -> Iterator[bytes]:
        """Yield what git writes; a client that leaves closes this, which ends git."""
        complete = False
        try:
            while block := self._out.read1(_CHUNK):  # type: ignore[attr-defined]
                yield block
            complete = True
        finally:
            self._end(kill=not complete)

    def _feed(self) -> None:
        """Write the request's body to git."""
        assert self._process.stdin is not None
        try:
            with self._process.stdin as sink:
                while self._post and self._left > 0 and (block := self._input.read(min(_CHUNK, self._left))):
                    self._left -= len(block)
                    sink.write(block)
                # When less arrives than was announced, git http-backend waits for the rest for ever, in a busy loop
                # (seen with git 2.39). Without it, git receive-pack sees the end, and cleans up behind itself.
                if self._post and not self._chunked and self._left > 0:
                    log.warning("a request broke off, %d bytes before its end", self._left)
                    self._process.kill()
        except OSError as error:  # git ended first, or the client's connection broke
            log.info("request ended early: %s", error)
            self._process.kill()

    def _listen(self) -> None:
        """Pass on what git says of errors."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            log.info("git: %s", line.decode("utf-8", "replace").rstrip())

    def _end(self, *, kill: bool) -> None:
        """Wait until git has ended; nobody reads its answer any more when ``kill`` is given."""
        if kill:
            self._process.kill()
        self._process.wait()
        self._out.close()
        self._listener.join(5)


def _head(out: IO[bytes]) -> tuple[str, list[tuple[str, str]]]:
    """Read the CGI header: status and headers.

    Raises:
        ValueError: It ends before the empty line, or is none.
    """
    status, headers = "200 OK", []
    while (line := out.readline(8192)) not in (b"\r\n", b"\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise ValueError(f"no header: {line[:80]!r}")
        if name.lower() == "status":
            status = value.strip()
        else:
            headers.append((name, value.strip()))
    return status, headers


def ensure(root: Path, name: str, git: str) -> Path:
    """Make the bare repository, in one step, where there is none; always set how it is served.

    Returns:
        Its path.

    Raises:
        InvalidInput: Its name does not fit, or the folder cannot be written.
    """
    if not _NAME.match(name):
        raise InvalidInput(f"repository {name!r} - expected a name like gitops.git", hint="choose another name")
    repository = root.absolute() / name
    try:
        repository.parent.mkdir(parents=True, exist_ok=True)
        if not (repository / "HEAD").is_file():
            with tempfile.TemporaryDirectory(prefix=".new-", dir=repository.parent) as scratch:
                made = Path(scratch) / repository.name
                _run(git, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(made))
                made.rename(repository)
    except OSError as error:
        raise InvalidInput(
            f"{repository} - {error.strerror or error}, expected a folder that can be written",
            hint="check --root and the owner of the volume",
        ) from error
    for key, value in _CONFIG:
        _run(git, f"--git-dir={repository}", "config", key, value, repository=repository)
    return repository


def _run(git: str, *arguments: str, repository: Path | None = None) -> None:
    """Run git once and insist on success."""
    environment = git_environment(git, [("safe.directory", str(repository))] if repository else [])
    done = subprocess.run([git, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise InvalidInput(
            f"git {' '.join(arguments[:2])} - failed with {done.returncode}: {done.stderr.strip()[-300:]}",
            hint="see the message of git",
        )


def token_reader(path: Path) -> Callable[[], str]:
    """Return a function that reads the token anew each time, so that a rotated Secret needs no restart."""

    def read() -> str:
        try:
            return path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            log.error("token %s: %s; pushes are refused", path, error)
            return ""

    return read


def serve(app: GitServer, bind: str) -> None:
    """Serve until SIGTERM; leaves by SystemExit with gunicorn's exit code."""
    from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

    class Server(BaseApplication):  # type: ignore[misc]
        """gunicorn, configured here and never from files, arguments or the environment."""

        def load_config(self) -> None:
            for name, value in _options(bind).items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> GitServer:
            return app

    Server().run()


def _options(bind: str) -> dict[str, Any]:
    """Return gunicorn's settings."""
    return {
        "bind": bind,
        "workers": 1,
        "worker_class": "gthread",
        "threads": THREADS,
        "timeout": 60,
        "graceful_timeout": 20,
        # The heartbeat file; memory, because the root file system is read-only.
        "worker_tmp_dir": next((d for d in ("/dev/shm", "/tmp") if os.access(d, os.W_OK)), None),  # noqa: S108
        "control_socket_disable": True,
        "accesslog": "-",
        "access_log_format": '%(h)s "%(r)s" %(s)s %(b)s %(M)sms',
        "proc_name": "gitserver",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, make the repository where it is missing, and serve."""
    parser = argparse.ArgumentParser(prog="python -m platform_lib.gitserver", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the repository; has to be writable")
    parser.add_argument("--repository", default="gitops.git", help="its name, the first part of the address")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the token that a push needs")
    parser.add_argument("--bind", default="127.0.0.1:8080", help="address and port; in a pod 0.0.0.0:8080")
    parser.add_argument("--max-push-mib", type=int, default=MAX_PUSH_BYTES >> 20, help="limit of one push")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    git = shutil.which("git", path=search_path())
    if git is None:
        raise ToolMissing("git - not found on PATH, it is needed", hint="install git")
    repository = ensure(options.root, options.repository, git)
    token = token_reader(options.token_file)
    serve(GitServer(repository, token, git=git, max_push_bytes=options.max_push_mib << 20), options.bind)


if __name__ == "__main__":
    try:
        main()
    except (InvalidInput, ToolMissing) as problem:
        sys.exit(str(problem))
