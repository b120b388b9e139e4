"""How is Prometheus asked? prometheus-api-client as transport, without its traps; frames are built here.

What the package does by default and what is done about it: it waits for ever (time-outs here), repeats a
refused query four times and loses the server's message (no repeats, the message is kept), asks for gzip on
loopback (identity: 1.6 times faster), drops warnings (kept in ``frame.attrs``), rounds times to seconds (sent
exactly), repeats the samples at the borders of its chunks (windows here do not overlap), and turns each sample
into a dict (``promframe`` reads the text of the answer with numpy and pandas instead).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from platform_lib.errors import NoData, QueryError, Unreachable
from platform_lib.model import Platform
from platform_lib.wire.promframe import Part, column_names, frame_of, part_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Client", "choose_step", "column_names", "connect", "frame_of", "windows"]

MAX_POINTS = 11_000
"""Points per series in one answer; Prometheus refuses more than 11,000 steps."""
WANTED_POINTS = 600
"""Points that a picture can show; the default step aims at it."""
_CONNECT_S = 3.0
_READ_S = 30.0


class Client:
    """Asks one Prometheus server.

    Args:
        url: Base URL.
        timeout_s: Time for one answer in seconds.
    """

    def __init__(self, url: str, *, timeout_s: float = _READ_S) -> None:
        from prometheus_api_client import PrometheusConnect
        from urllib3.util.retry import Retry

        self.url, self._timeout_s = url.rstrip("/"), timeout_s
        self.warnings: list[str] = []
        self._session = _session(self)
        self._connect = PrometheusConnect(
            url=self.url,
            session=self._session,
            headers={"Accept-Encoding": "identity"},
            retry=Retry(total=0, connect=1, read=0, status=0, backoff_factor=0.05),
            timeout=(_CONNECT_S, timeout_s),  # type: ignore[arg-type]
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connect.close()

    def instant(self, promql: str, *, at: datetime | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query, one entry with ``metric`` and ``value`` per series.

        Raises:
            QueryError: Refused; carries the server's message.
            Unreachable: No answer.
        """
        params = {"time": at.timestamp()} if at else {}
        with self._translated(promql):
            answer: list[Any] = self._connect.custom_query(promql, params=params)
        return _instant(answer, promql)

    def range(self, promql: str, *, start: datetime, end: datetime, step_s: float | None = None) -> pd.DataFrame:
        """Return a range query as one wide frame; see ``frame_of``.

        Args:
            promql: Any range-capable expression.
            start: First time stamp, aware; moved back to a multiple of the step, so that answers join.
            end: Last time stamp.
            step_s: Distance of two points in seconds; None chooses one for at most 600 points.

        Raises:
            NoData: The query is fine and matched nothing.
            QueryError: Refused; carries the server's message.
            Unreachable: No answer.
        """
        step_s = step_s or choose_step(start, end)
        self.warnings.clear()
        with self._translated(promql):
            spans = windows(start.timestamp(), end.timestamp(), step_s)
            parts = [self._part(promql, first, last, step_s) for first, last in spans]
        skipped = list(dict.fromkeys(key for part in parts for key in part.histograms))
        frame = frame_of(parts, step_s)
        if frame.empty:
            raise _nothing(promql, start, end, histograms=len(skipped))
        if skipped:
            self.warnings.append(f"{len(skipped)} series left out: native histograms, {_HISTOGRAM_HINT}")
        frame.attrs |= {"promql": promql, "step_s": step_s, "warnings": list(dict.fromkeys(self.warnings))}
        return frame

    def _part(self, promql: str, first: float, last: float, step_s: float) -> Part:
        """Ask for one window; the exact times override the package's rounded ones."""
        answer: Part = self._connect.custom_query_range(
            promql,
            start_time=datetime.fromtimestamp(first, UTC),
            end_time=datetime.fromtimestamp(last, UTC),
            step=f"{step_s:.3f}",
            params={"start": f"{first:.3f}", "end": f"{last:.3f}"},
        )
        return answer

    @contextmanager
    def _translated(self, promql: str) -> Iterator[None]:
        """Translate the package's three families of exceptions."""
        import requests
        from prometheus_api_client import PrometheusApiClientException

        try:
            yield
        except _Refused as error:
            raise QueryError(
                f"{promql} - refused with status {error.status}: {error.text}",
                hint="correct the query, or ask for less",
                promql=promql,
                server_message=error.text,
            ) from error
        except (requests.RequestException, PrometheusApiClientException) as error:
            raise Unreachable(
                f"Prometheus {self.url} - no answer within {self._timeout_s:g} s: {type(error).__name__}",
                hint="is it running? see apqx status",
                url=self.url,
            ) from error


class _Refused(Exception):
    """An answer of Prometheus that is not a result."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def _session(client: Client) -> Any:
    """Return a session that decodes once, keeps warnings, and keeps the text of a refusal."""
    import requests

    class Session(requests.Session):  # type: ignore[misc]
        def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
            answer = super().request(method, url, *args, **options)
            document, result = _decoded(answer, samples=url.endswith("/query_range"))
            client.warnings.extend([*(document.get("warnings") or []), *(document.get("infos") or [])])
            answer.json = lambda **_: {"data": {"result": result}}
            return answer

    session = Session()
    session.trust_env = False  # a proxy of the user must not stand between us and the platform
    return session


def _decoded(answer: Any, *, samples: bool) -> tuple[dict[str, Any], Any]:
    """Decode an answer of the Prometheus API; anything but a success is raised with its own text.

    Args:
        answer: The HTTP answer.
        samples: The body holds a matrix: its samples are read as arrays, never as Python objects.

    Returns:
        What the answer says beside the result, and the result: a ``Part`` for a matrix.
    """
    try:
        part = part_of(answer.content) if samples and answer.status_code == 200 else None
        document = part.document if part else json.loads(answer.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _Refused(answer.status_code, answer.text[:300] or "an empty answer")
    if answer.status_code != 200 or document.get("status") != "success":
        kind, text = document.get("errorType") or "error", document.get("error") or "no message"
        raise _Refused(answer.status_code, f"{kind}: {text}")
    return document, part or (document.get("data") or {}).get("result")


_HISTOGRAM_HINT = "take a number out of them with histogram_quantile, histogram_count or histogram_sum"


def _instant(answer: list[Any], promql: str) -> list[dict[str, Any]]:
    """Return one value per series; a scalar is a series without labels."""
    if answer and not isinstance(answer[0], dict):
        return [{"metric": {}, "value": answer}]
    for series in answer:
        if "value" not in series:
            histogram = "histogram" in series
            raise QueryError(
                f"{promql} - answered with {'native histograms' if histogram else 'a range'}, one number was expected",
                hint=_HISTOGRAM_HINT if histogram else "ask metrics.frame, or leave the brackets out",
                promql=promql,
            )
    return answer


def _nothing(promql: str, start: datetime, end: datetime, *, histograms: int) -> QueryError:
    """Return the error for an answer without a single number."""
    if histograms:
        return QueryError(
            f"{promql} - answered with {histograms} native histograms, numbers were expected",
            hint=_HISTOGRAM_HINT,
            promql=promql,
        )
    return NoData(
        f"{promql} - no sample between {start:%H:%M:%S} and {end:%H:%M:%S}, at least one was expected",
        hint="check the labels and that the target is scraped: apqx metrics up",
        promql=promql,
    )


def connect(platform: Platform, *, timeout_s: float = _READ_S) -> Client:
    """Return a client for the Prometheus of a platform."""
    return Client(platform.prometheus_url, timeout_s=timeout_s)


def choose_step(start: datetime, end: datetime, *, smallest_s: float = 1.0) -> float:
    """Return a step in whole seconds that gives at most 600 points, at least ``smallest_s``."""
    return max(smallest_s, float(ceil((end - start).total_seconds() / WANTED_POINTS)))


def windows(start: float, end: float, step_s: float) -> list[tuple[float, float]]:
    """Split a range so that no part exceeds 11,000 points; parts neither overlap nor leave a gap.

    Args:
        start: Unix seconds; moved back to a multiple of the step.
        end: Unix seconds.
        step_s: Above 0.
    """
    if step_s <= 0:
        raise ValueError(f"step_s must be positive, got {step_s}")
    first = floor(round(start / step_s, 6))
    count = max(0, floor(round(end / step_s, 6)) - first) + 1
    return [
        ((first + begin) * step_s, (first + min(begin + MAX_POINTS, count) - 1) * step_s)
        for begin in range(0, count, MAX_POINTS)
    ]
