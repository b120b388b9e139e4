"""Which locked packages have known vulnerabilities? pip-audit on every lock file, and proof that it looked.

pip-audit says "No known vulnerabilities found" and ends with 0 when the index behind it has no vulnerability data, as
mirrors of a package index usually have none. So a package that is known to be vulnerable is asked for first: when that
one is not found, nothing was audited and the exit code is 2. A package that was skipped counts as not audited too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CANARY = ("jinja2", "2.10")
"""Sandbox escape CVE-2019-10906 and others, public since 2019."""
TIMEOUT_S = 900.0


class NotAudited(Exception):
    """Nothing can be said about some packages, which must not look like silence."""


def main() -> int:
    """Audit every lock; 0 nothing found, 1 vulnerabilities, 2 the audit did not really happen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sarif", type=Path, help="write what was found for GitHub Security")
    parser.add_argument("--summary", type=Path, help="append the table as Markdown")
    arguments = parser.parse_args()
    locks = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("requirements*.lock"), *ROOT.glob("*/*.lock")))
    try:
        prove_that_it_looks()
        found = {str(lock): findings(audited(ROOT / lock, hashed=True)) for lock in locks}
    except NotAudited as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    table = [
        f"| {lock} | {len(rows)} | {', '.join(f'{n} {v} {i}' for n, v, i, _ in rows)} |" for lock, rows in found.items()
    ]
    text = "\n".join(("| lock | vulnerabilities | which |", "|---|---|---|", *table))
    print(text)
    if arguments.summary:
        with arguments.summary.open("a") as file:
            file.write(f"{text}\n")
    if arguments.sarif:
        arguments.sarif.write_text(json.dumps(sarif(found), indent=1))
    return int(any(found.values()))


def prove_that_it_looks() -> None:
    """Ask for a package whose vulnerabilities everybody knows."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("==".join(CANARY) + "\n")
        file.flush()
        if not findings(audited(Path(file.name), hashed=False)):
            raise NotAudited(
                f"{' '.join(CANARY)} - no vulnerability found, several are known; this index has no data, so nothing "
                "was audited; next step: run it where the public index answers"
            )


def audited(requirements: Path, *, hashed: bool) -> list[dict[str, Any]]:
    """Return what pip-audit says of each package; nothing is installed or resolved."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command += ["--require-hashes"] if hashed else ["--no-deps"]
    try:
        done = subprocess.run(
            [*command, "--requirement", str(requirements)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired as error:
        raise NotAudited(f"{requirements.name} - no answer within {TIMEOUT_S:.0f} s") from error
    except (ValueError, LookupError) as error:
        raise NotAudited(f"{requirements.name} - pip-audit failed: {done.stderr.strip()[-400:]}") from error
    skipped = [f"{one['name']} ({one['skip_reason']})" for one in packages if one.get("skip_reason")]
    if skipped or not packages:
        raise NotAudited(
            f"{requirements.name} - {len(skipped)} of {len(packages)} packages could not be audited, expected all to "
            f"be: {'; '.join(skipped[:3])}; next step: run it where the public index answers"
        )
    return packages


def findings(packages: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return (name, version, identifier, what ends it) of each vulnerability."""
    return [
        (one["name"], one["version"], hole["id"], ", ".join(hole.get("fix_versions") or ()) or "no fix yet")
        for one in packages
        for hole in one.get("vulns") or ()
    ]


def sarif(found: dict[str, list[tuple[str, str, str, str]]]) -> dict[str, Any]:
    """Return SARIF 2.1.0: one result for each vulnerable package of each lock."""
    results = [
        {
            "ruleId": identifier,
            "level": "error",
            "message": {"text": f"{name} {version} has {identifier}; fixed in: {fix}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": lock}, "region": {"startLine": line}}}],
        }
        for lock, rows in found.items()
        for name, version, identifier, fix in rows
        if (line := line_of(ROOT / lock, name))
    ]
    rules = [{"id": name} for name in sorted({str(result["ruleId"]) for result in results})]
    driver = {"name": "pip-audit", "informationUri": "https://github.com/pypa/pip-audit", "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def line_of(lock: Path, name: str) -> int:
    """Return the line of a package in a lock, 1 when it is not found."""
    lines = enumerate(lock.read_text().splitlines(), 1)
    return next((number for number, line in lines if line.lower().startswith(f"{name.lower()}==")), 1)


if __name__ == "__main__":
    raise SystemExit(main())
