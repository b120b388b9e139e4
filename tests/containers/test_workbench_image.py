"""The workbench's image: what a Job of `apqx run --on cluster` starts, under what a cluster allows it."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
from engines import needs_engines
from test_app_image import UNWANTED, added_files

pytestmark = [needs_engines, pytest.mark.slow, pytest.mark.timeout(1500)]

MAX_ADDED_BYTES = 1_000_000_000
"""Measured: 0.85 GB, of which pyarrow 160, Debian's git with perl 100, the Kubernetes client 125 MB. JupyterLab,
a compiler or the embedded platform's programs would each take it over this bound."""
JOB = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none", "--memory=1g"]
JOB += ["--tmpfs=/tmp", "--tmpfs=/state:uid=1000,gid=1000,mode=0700"]


@pytest.fixture(scope="module")
def job(docker, workbench_image):
    """Run one command in the image as a Job would, and return what it printed."""

    def run(*arguments: str, entrypoint: str = "apqx", code: int = 0) -> str:
        options = [*JOB, f"--entrypoint={entrypoint}"]
        done = docker("run", "--rm", *options, workbench_image.reference, *arguments, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_apqx_answers(job):
    assert "runbooks" in job("--help")
    assert importlib.metadata.version("apqx") in job("--version")


def test_a_runbook_is_described_and_every_book_is_there(job):
    assert "dry_run" in job("run", "02-deploy", "--describe")
    assert "dry_run" in job("run", "06", "--describe")


def test_it_is_user_1000_with_a_name_and_no_privilege(job):
    assert "uid=1000(apqx) gid=1000(apqx) groups=1000(apqx)" in job(entrypoint="id")
    status = job("-c", "print(open('/proc/1/status').read())", entrypoint="python")
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status


def test_git_commits_without_a_configuration(job):
    script = "cd /tmp && git init -q r && cd r && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x"
    assert job("-c", f"{script} && git log --format=%an", entrypoint="sh").strip() == "a"


def test_the_git_server_of_a_cluster_starts_from_it(job):
    assert "--token-file" in job("-m", "platform_lib.gitserver", "--help", entrypoint="python")
    code = "import gunicorn, subprocess; print(subprocess.run(['git', 'http-backend'], capture_output=True).returncode)"
    assert job("-c", code, entrypoint="python").strip() == "0", "git answers a request without a method by itself"


def test_only_state_and_tmp_can_be_written(job):
    script = "for d in /tmp /state; do touch $d/x || exit 1; done; "
    script += "for d in / /opt/apqx /opt/apqx/runbooks /etc /usr; do touch $d/x 2>/dev/null && exit 2; done; exit 0"
    job("-c", script, entrypoint="sh")


def test_results_can_be_kept_in_object_storage_and_plots_be_drawn(job):
    code = "import boto3, papermill, matplotlib.pyplot as p, pyarrow.parquet, ruptures, platform_lib.runbook;"
    code += "p.plot([1, 2]); p.savefig('/state/x.png'); print(boto3.__version__)"
    assert job("-c", code, entrypoint="python")


def test_a_notebook_runs_in_it_from_the_first_to_the_last_cell(job):
    """Kernel, sockets, temporary files: what a read-only root and an unknown home usually break."""
    book = {"cells": [], "metadata": {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}}
    cell = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": []}
    book |= {"nbformat": 4, "nbformat_minor": 5, "cells": [cell | {"source": "print(6 * 7)"}]}
    script = f"echo '{json.dumps(book)}' > /tmp/a.ipynb && papermill --no-progress-bar /tmp/a.ipynb /state/b.ipynb"
    assert "42" in job("-c", f"{script} && cat /state/b.ipynb", entrypoint="sh")


def test_the_embedded_platform_s_programs_are_not_in_it(docker, workbench_image):
    files = added_files(docker, workbench_image.reference)
    assert not [p for p in files if p.endswith(("/traefik", "/prometheus", "/bwrap", "/kubectl"))]
    assert {path.split("/")[1] for path in files} <= {"opt", "state", "etc", "usr", "var", "tmp", "root", "lib"}
    own = [path for path in files if path.startswith("/opt/apqx/") and not path.startswith("/opt/apqx/venv/")]
    assert {path.split("/")[3] for path in own if path.count("/") > 3} <= {
        "app",
        "gitops",
        "notebooks",
        "platform_lib",
        "runbooks",
    }
    assert [path for path in own if UNWANTED.search(path)] == []
    # Debian's packages keep the times of their maker; what was written here has none.
    assert {member.mtime for path, member in files.items() if path.startswith("/opt/apqx/")} == {0}
    assert sum(member.size for member in files.values()) < MAX_ADDED_BYTES
