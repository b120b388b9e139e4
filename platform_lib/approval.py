"""How is a plan approved without anybody at the keyboard? By its hash, and the hash covers all that matters.

``apqx run NAME --plan`` leaves ``plan.json``; ``--approve HASH`` runs exactly that: the book makes its plan again,
and nothing may be changed (``guard``) before it was found equal to the approved one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from platform_lib import guard, steps
from platform_lib.errors import GuardRefused, InvalidInput
from platform_lib.model import Plan, to_json
from platform_lib.settings import settings

PLAN, APPROVAL = "plan.json", "approval.json"
MIN_HASH = 12
"""Characters of a hash that are enough to name a plan."""


def show(plan: Plan) -> Plan:
    """Keep a book's plan as evidence and, in an approved run, hold it to the approved one.

    Args:
        plan: What the book is about to do.

    Returns:
        ``plan``, to be shown.

    Raises:
        GuardRefused: The plan is not the approved one; names what differs. Nothing was changed.
    """
    current = settings()
    if current.run_dir is None:
        return plan
    folder = Path(current.run_dir)
    made = document(folder, plan)
    (folder / PLAN).write_text(json.dumps(made | {"sha256": sha256(made)}, indent=1) + "\n")
    if current.approved_plan:
        _hold(folder, made, current.approved_plan)
    return plan


def document(folder: Path, plan: Plan) -> dict[str, Any]:
    """Return everything an approval covers: book, parameters, platform and plan."""
    begun = json.loads((folder / "inputs.json").read_text())
    parameters = json.loads((folder / "params.json").read_text())
    return {
        "runbook": begun["runbook"],
        "book_sha256": begun["book_sha256"],
        "platform": begun["platform"],
        "context": begun["context"],
        "parameters": {name: value for name, value in parameters.items() if name != "dry_run"},
        "plan": to_json(plan),
    }


def sha256(made: dict[str, Any]) -> str:
    """Hash of a plan document; equal documents have equal hashes."""
    plain = {key: value for key, value in made.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def find(runs_dir: Path, approved: str) -> dict[str, Any]:
    """Return the plan of that hash among the runs.

    Args:
        runs_dir: Folder of the runs.
        approved: The hash, or at least its first ``MIN_HASH`` characters.

    Raises:
        InvalidInput: No such plan, or a hash that is too short or whose plan was altered.
    """
    hint = "make one: apqx run NAME -p ... --plan"
    if len(approved) < MIN_HASH or set(approved.lower()) - set("0123456789abcdef"):
        raise InvalidInput(f"approval {approved!r} - wanted {MIN_HASH} or more characters of a plan's hash", hint=hint)
    for path in sorted(runs_dir.glob(f"*/{PLAN}"), reverse=True):
        made: dict[str, Any] = json.loads(path.read_text())
        if not str(made.get("sha256", "")).startswith(approved.lower()):
            continue
        if sha256(made) != made["sha256"]:
            raise InvalidInput(f"plan {path} - was altered after it was made, its hash does not fit", hint=hint)
        return made | {"plan_run": path.parent.name}
    raise InvalidInput(f"approval {approved[:MIN_HASH]} - no plan of that hash in {runs_dir}", hint=hint)


def _hold(folder: Path, made: dict[str, Any], approved: str) -> None:
    """Compare the plan with the approved one.

    A resumed run may find a part of its plan done already; it may not find anything new.
    """
    wanted = json.loads((folder / APPROVAL).read_text())["approved"]
    begun = bool(steps.read(folder))
    if sha256(made) != approved and not (begun and _is_rest(made, wanted)):
        raise GuardRefused(
            f"plan {approved[:MIN_HASH]} - no longer what would be done: {difference(wanted, made)}",
            hint="look at the new plan, approve it: apqx run NAME -p ... --plan",
        )
    guard.confirm(approved)


def _is_rest(made: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether only steps of the approved plan are missing."""
    same = all(made[key] == wanted.get(key) for key in made if key != "plan")
    old, new = wanted["plan"], made["plan"]
    return same and new["inputs"] == old["inputs"] and all(step in old["steps"] for step in new["steps"])


def difference(old: Any, new: Any, where: str = "") -> str:
    """Name what differs between two plan documents, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new} - {"sha256", "plan_run"})
        parts = [difference(old.get(key), new.get(key), f"{where}.{key}".lstrip(".")) for key in keys]
        return "; ".join(filter(None, parts))
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        parts = [difference(a, b, f"{where} {place}") for place, (a, b) in enumerate(zip(old, new, strict=True), 1)]
        return "; ".join(filter(None, parts))
    if old == new:
        return ""
    return f"{where} was {_short(old)}, is {_short(new)}"


def _short(value: Any) -> str:
    """One line of a value."""
    if isinstance(value, list):
        return f"{len(value)} steps ({', '.join(str(item.get('action', item)) for item in value) or 'none'})"
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."
