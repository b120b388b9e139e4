"""Which failures can the workbench report? One tree, drawn here; nothing else belongs in this file.

Every message has three parts: *object - what was observed against what was wanted - next step*.

    PlatformError                 message, hint, context (small, already redacted)
    |-- SettingsError             names the variable or file, the value seen and the value expected
    |-- InvalidInput              a parameter, name or scenario the caller got wrong
    |-- ToolMissing               a program is absent: says how to get it or what to use instead
    |-- UnsupportedSystem         this operating system cannot run the embedded platform
    |-- BootstrapFailed           stage, log_tail, undone
    |-- Unreachable               no answer: url, attempts, waited_s
    |-- ApiError                  the Kubernetes API refused: status, reason
    |   |-- NotFound  AlreadyExists  Conflict  Forbidden  Invalid  Expired
    |-- ManifestError             path, document, field
    |-- ImageError                an image cannot be built, found or trusted: blob
    |-- GitError                  a git command failed or a push was refused
    |-- WaitTimeout               (also TimeoutError) wanted, last_seen, waited_s
    |-- SyncFailed                app, revision, phase, failing resources
    |   `-- SyncRefused           a rule of Argo CD forbids the sync; nothing was changed
    |-- NoRollbackTarget          revisions considered and why each was refused
    |-- RollbackRefused           the platform's own rules forbid it
    |-- QueryError                promql and the server's message
    |   `-- NoData                the query is fine and matched nothing
    |-- GateFailed                carries the Verdict
    |   `-- GateUndecided         the evidence does not decide; what runs now is said
    |-- RunbookFailed             runbook, cell, saved notebook
    |-- DrillAborted              a safeguard stopped the drill; says whether the fault was undone
    |-- DrillSkipped              this platform cannot have that fault: reason
    |-- UndoFailed                the fault could not be undone: page someone
    |-- Locked                    holder, since
    `-- GuardRefused              the context is not on the allow-list, or the book is read-only
"""

from __future__ import annotations

from typing import Any

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_REFUSED = 3
EXIT_UNDO_FAILED = 4
EXIT_UNDECIDED = 5


class PlatformError(Exception):
    """Base of every error this library raises on purpose.

    Args:
        message: What was observed against what was wanted, naming the object.
        hint: The next step for the reader, or an empty string.
        **context: Small facts for programs (no secrets, no locals); kept as attributes too.
    """

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, hint: str = "", **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context

    def __getattr__(self, name: str) -> Any:
        context = self.__dict__.get("context", {})
        if name in context:
            return context[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.context))


def _rebuild(cls: type[PlatformError], message: str, hint: str, context: dict[str, Any]) -> PlatformError:
    """Restore an error from its parts, so that errors survive process boundaries."""
    return cls(message, hint=hint, **context)


class SettingsError(PlatformError):
    """A setting or configuration file holds a value that cannot be used."""

    exit_code = EXIT_BAD_INPUT


class InvalidInput(PlatformError):
    """A parameter, name or scenario given by the caller is wrong; nothing was changed."""

    exit_code = EXIT_BAD_INPUT


class ToolMissing(PlatformError):
    """A program that is needed was not found."""

    exit_code = EXIT_BAD_INPUT


class UnsupportedSystem(PlatformError):
    """This system cannot run what was asked for."""

    exit_code = EXIT_BAD_INPUT


class BootstrapFailed(PlatformError):
    """A platform did not come up; ``stage``, ``log_tail`` and ``undone`` say how far it got."""


class Unreachable(PlatformError):
    """A server did not answer: ``url``, ``waited_s``."""


class ApiError(PlatformError):
    """The Kubernetes API answered with a refusal: ``status`` (HTTP code) and ``reason``."""


class NotFound(ApiError):
    """404: the object or kind does not exist."""


class AlreadyExists(ApiError):
    """409 AlreadyExists: an object of that name is there already."""


class Conflict(ApiError):
    """409 Conflict: the object changed since it was read, or a field has another manager."""


class Forbidden(ApiError):
    """401 or 403: the token is missing, expired or not allowed to do this."""


class Invalid(ApiError):
    """400 or 422: the object was understood and rejected."""


class Expired(ApiError):
    """410: the resource version is too old to continue from."""


class ManifestError(PlatformError):
    """A manifest is wrong: ``path``, ``document`` (index) and ``field`` where known."""

    exit_code = EXIT_BAD_INPUT


class ImageError(PlatformError):
    """An image cannot be built, is not in the layout, or a ``blob`` of it is corrupted."""


class GitError(PlatformError):
    """A git command failed; ``command`` and ``stderr`` (redacted) say how."""


class WaitTimeout(PlatformError, TimeoutError):
    """A wait reached its deadline: ``wanted``, ``last_seen``, ``waited_s``."""


class SyncFailed(PlatformError):
    """Argo CD could not bring the application to the revision: ``app``, ``revision``, ``phase``."""


class SyncRefused(SyncFailed):
    """A rule of Argo CD or of its project forbids the sync: window, pause, repository; nothing was changed."""

    exit_code = EXIT_REFUSED


class NoRollbackTarget(PlatformError):
    """No earlier revision qualifies for a rollback."""

    exit_code = EXIT_REFUSED


class RollbackRefused(PlatformError):
    """A rule of the platform forbids this rollback."""

    exit_code = EXIT_REFUSED


class QueryError(PlatformError):
    """Prometheus refused or failed a query: ``promql`` and its own message."""


class NoData(QueryError):
    """The query is valid and matched no sample in the window."""


class GateFailed(PlatformError):
    """A rollout gate said no; ``verdict`` carries the value, the rule and the reason."""


class GateUndecided(GateFailed):
    """A rollout gate cannot say yes or no; ``verdict`` names what is missing, the message what runs now."""

    exit_code = EXIT_UNDECIDED


class RunbookFailed(PlatformError):
    """A runbook stopped in a cell: ``runbook``, ``cell``, ``notebook`` (path of the saved copy)."""


class DrillAborted(PlatformError):
    """A safeguard stopped a drill; ``undone`` says whether the fault is gone."""


class DrillSkipped(PlatformError):
    """This platform cannot have that fault: ``reason``. A skipped drill is never counted as passed."""

    exit_code = EXIT_REFUSED


class UndoFailed(PlatformError):
    """A fault or change could not be undone; somebody has to look now."""

    exit_code = EXIT_UNDO_FAILED


class Locked(PlatformError):
    """Another run holds the lock: ``holder``, ``since``."""

    exit_code = EXIT_REFUSED


class GuardRefused(PlatformError):
    """A guard refused before anything was changed."""

    exit_code = EXIT_REFUSED
