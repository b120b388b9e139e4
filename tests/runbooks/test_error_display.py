"""An error in a book is shown in three parts, and papermill notices it as before."""

import json
from collections.abc import Callable
from pathlib import Path

from platform_lib import runbook
from platform_lib.report import ERROR_MIME

FAILS = """from platform_lib import notebook
from platform_lib.errors import SyncFailed

notebook.progress("1 of 2 done")
raise SyncFailed("web - OutOfSync - wanted Synced", hint="see apqx status; then again")"""


def test_an_error_is_shown_in_three_parts_and_still_stops_the_run(shelf: Callable[..., Path]) -> None:
    shelf(FAILS)
    lines: list[str] = []
    result = runbook.run("06", {}, progress=lines.append)
    assert (result.status, result.error and result.error["type"]) == ("failed", "SyncFailed")
    assert any("1 of 2 done" in line for line in lines), "headless progress is a plain line"

    cells = json.loads((result.folder / "output.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    told = next(output["data"][ERROR_MIME] for output in outputs if ERROR_MIME in output.get("data", {}))
    assert (told["what"], told["why"]) == ("web", "OutOfSync - wanted Synced")
    assert told["next_step"] == "see apqx status; then again"
    failed = next(output for output in outputs if output["output_type"] == "error")
    assert failed["ename"] == "SyncFailed" and failed["evalue"].startswith("web - OutOfSync")
    assert "Traceback" not in "".join(failed["traceback"]) and "raise SyncFailed" in told["traceback"]

    page = result.report.read_text()
    assert "<dt>next step</dt><dd>see apqx status; then again</dd>" in page
    assert page.count("<summary>traceback</summary>") == 1
