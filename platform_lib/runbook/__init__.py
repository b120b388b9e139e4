"""How is a runbook found, described, validated, executed and resumed?

``run`` makes one folder per run, executes the book with papermill, and always leaves the folder complete: the
input, the output as far as it got, the parameters, the journal, the result, a report and a hash manifest.
``shelf`` knows the books, ``folder`` what a run leaves, ``execute`` runs a kernel, ``running`` joins them.
"""

from __future__ import annotations

from platform_lib.runbook.execute import Progress
from platform_lib.runbook.folder import RunResult, RunStatus, runs
from platform_lib.runbook.running import resume, run
from platform_lib.runbook.shelf import BookInfo, books_folder, catalogue, describe, resolve

__all__ = [
    "BookInfo",
    "Progress",
    "RunResult",
    "RunStatus",
    "books_folder",
    "catalogue",
    "describe",
    "resolve",
    "resume",
    "run",
    "runs",
]
