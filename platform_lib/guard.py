"""May this process change this platform? The one place that says no before anything was changed.

Every change passes here twice: the operation asks first (``operation``), and the two wires that can change
something, Kubernetes and git, ask again with each write. Nothing is written unless the context is on the
allow-list, the run is not a dry run, and an approved run was shown exactly the plan that was approved.
"""

from __future__ import annotations

from platform_lib.errors import GuardRefused
from platform_lib.model import Platform, joined
from platform_lib.settings import settings

_confirmed: set[str] = set()
"""Hashes of the plans that this process has seen and found equal to the approved one."""


def check(platform: Platform, what: str) -> None:
    """Refuse a change that may not be made.

    Args:
        platform: What would be changed.
        what: The change, for the reader: ``deploy sample-app``.

    Raises:
        GuardRefused: Context not on the allow-list, connected for looking only, read-only run, or the approved plan
            was not shown yet.
    """
    current = settings()
    if platform.context not in current.allowed_contexts:
        allowed = joined(current.allowed_contexts, empty="empty: nothing may be changed")
        raise GuardRefused(
            f"context {platform.context!r} - not on the allow-list ({allowed}), {what} would change it",
            hint=f"add it: APQX_ALLOWED_CONTEXTS='[\"{platform.context}\"]' or allowed_contexts in apqx.toml",
            context_name=platform.context,
        )
    if not (platform.writable or current.existing_write):
        raise GuardRefused(
            f"context {platform.context!r} - connected for looking only, {what} would change it",
            hint=f"apqx up --provider existing --context {platform.context} --write, or APQX_EXISTING_WRITE=true",
            context_name=platform.context,
        )
    if current.read_only:
        raise GuardRefused(
            f"{what} - refused, this run is read-only (a dry run or APQX_READ_ONLY)",
            hint="a runbook changes something with -p dry_run=false, a command without --dry-run; unset APQX_READ_ONLY",
        )
    if current.approved_plan and current.approved_plan not in _confirmed:
        raise GuardRefused(
            f"{what} - refused, the run was approved for plan {current.approved_plan[:12]} and has not shown it",
            hint="the book must call notebook.plan(...) before it acts",
        )


def confirm(sha256: str) -> None:
    """Note that the approved plan was shown and is still the same; see ``approval``."""
    _confirmed.add(sha256)
