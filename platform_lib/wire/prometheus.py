"""How is Prometheus asked? prometheus-api-client as transport, without its traps; frames are built here.

What the package does by default and what is done about it: it waits for ever (time-outs here), repeats a
refused query four times and loses the server's message (no repeats, the message is kept), asks for gzip on
loopback (identity: 1.6 times faster), drops warnings (kept in ``frame.attrs``), rounds times to seconds (sent
exactly), repeats the samples at the borders of its chunks (windows here do not overlap), and turns each sample
into a dict (``promframe`` reads the text of the answer with numpy and pandas instead).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from math import ceil, floor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from platform_lib import redact
from platform_lib.errors import NoData, QueryError, Unreachable
from platform_lib.model import Platform
from platform_lib.settings import settings
from platform_lib.wire import secretvalue
from platform_lib.wire.promframe import Part, column_names, frame_of
from platform_lib.wire.promhttp import SCHEME, Endpoint, Refused, Send, endpoint, session

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Client", "choose_step", "column_names", "connect", "frame_of", "windows"]

MAX_POINTS = 11_000
"""Points per series in one answer; Prometheus refuses more than 11,000 steps."""
WANTED_POINTS = 600
"""Points that a picture can show; the default step aims at it."""
_HALVINGS = 6
"""So often a window is halved when an endpoint's own limit is lower: down to a 64th."""
_CONNECT_S = 3.0
_READ_S = 30.0


class Client:
    """Asks one Prometheus-compatible endpoint.

    Args:
        target: Base URL, or an endpoint with headers, certificate authority or another way to it.
        timeout_s: Time for one answer in seconds.
        max_points: Points per series that the endpoint gives in one answer.
    """

    def __init__(self, target: str | Endpoint, *, timeout_s: float = _READ_S, max_points: int = MAX_POINTS) -> None:
        from prometheus_api_client import PrometheusConnect
        from urllib3.util.retry import Retry

        self._target = endpoint(target) if isinstance(target, str) else target
        self.url, self._timeout_s, self._max_points = self._target.url, timeout_s, max_points
        self.warnings: list[str] = []
        self._session = session(self._target, self.warnings.extend)
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
            spans = windows(start.timestamp(), end.timestamp(), step_s, self._max_points)
            parts = [part for first, last in spans for part in self._parts(promql, first, last, step_s)]
        skipped = list(dict.fromkeys(key for part in parts for key in part.histograms))
        frame = frame_of(parts, step_s)
        if frame.empty:
            raise _nothing(promql, start, end, histograms=len(skipped))
        if skipped:
            self.warnings.append(f"{len(skipped)} series left out: native histograms, {_HISTOGRAM_HINT}")
        frame.attrs |= {"promql": promql, "step_s": step_s, "warnings": list(dict.fromkeys(self.warnings))}
        return frame

    def _parts(self, promql: str, first: float, last: float, step_s: float, halvings: int = 0) -> list[Part]:
        """Ask for one window; in halves, when the endpoint's own limit is below ours.

        Each point of a range query is computed by itself, so the halves hold the same values.
        """
        try:
            return [self._part(promql, first, last, step_s)]
        except Refused as error:
            points = round((last - first) / step_s) + 1
            if not error.too_much or halvings >= _HALVINGS or points < 2:
                raise
        middle = first + (points // 2) * step_s
        self._max_points = min(self._max_points, max(points // 2 + points % 2, 1))
        before = self._parts(promql, first, middle - step_s, step_s, halvings + 1)
        return before + self._parts(promql, middle, last, step_s, halvings + 1)

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
        except Refused as error:
            text = redact.of_process().scrub(error.text)  # a proxy may repeat what was sent to it
            raise QueryError(
                f"{promql} - refused with status {error.status}: {text}",
                hint=error.hint,
                promql=promql,
                server_message=text,
                status=error.status,
            ) from None
        except requests.exceptions.SSLError as error:
            raise Unreachable(
                f"Prometheus {self.url} - its certificate is not trusted (TLS): {_tls_reason(error)}",
                hint="set prometheus_ca to the certificate authority that signed it",
                url=self.url,
            ) from error
        except (requests.RequestException, PrometheusApiClientException) as error:
            raise Unreachable(
                f"Prometheus {self.url} - no answer within {self._timeout_s:g} s: {type(error).__name__}",
                hint="is it running? see apqx status",
                url=self.url,
            ) from error


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
    """Return a client for the Prometheus of a platform.

    Raises:
        Unreachable: The platform has none.
        SettingsError, InvalidInput: Its address, headers or certificate authority cannot be used.
    """
    if not platform.prometheus_url:
        raise Unreachable(
            f"platform {platform.name} - has no Prometheus endpoint, expected one",
            hint="set APQX_PROMETHEUS_URL, then connect again: apqx up --provider existing",
            url="",
        )
    send = _through_api(platform) if platform.prometheus_url.startswith(f"{SCHEME}://") else None
    headers = secretvalue.headers_of(platform.prometheus_headers)
    target = endpoint(platform.prometheus_url, headers=headers, ca=platform.prometheus_ca, send=send)
    return Client(target, timeout_s=timeout_s, max_points=settings().prometheus_max_points)


def _through_api(platform: Platform) -> Send:
    """Return how a Service is asked through the proxy of the API server: with the user's own credentials."""
    from platform_lib.wire import kube

    parts = urlsplit(platform.prometheus_url)
    service = parts.path.strip("/").partition("/")[0]

    def send(path: str, params: Mapping[str, Any], timeout_s: float) -> tuple[int, bytes]:
        below = path.strip("/").partition("/")[2]
        return kube.connect(platform).proxied(parts.netloc, service, below, params=params, timeout_s=timeout_s)

    return send


def _tls_reason(error: BaseException) -> str:
    """Return what TLS complained about, without the layers around it."""
    found = re.search(r"certificate verify failed: ([^(']+)", str(error))
    return found.group(1).strip() if found else type(error).__name__


def choose_step(start: datetime, end: datetime, *, smallest_s: float = 1.0) -> float:
    """Return a step in whole seconds that gives at most 600 points, at least ``smallest_s``."""
    return max(smallest_s, float(ceil((end - start).total_seconds() / WANTED_POINTS)))


def windows(start: float, end: float, step_s: float, max_points: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Split a range so that no part exceeds the limit of points; parts neither overlap nor leave a gap.

    Args:
        start: Unix seconds; moved back to a multiple of the step.
        end: Unix seconds.
        step_s: Above 0.
        max_points: Points in one part.
    """
    if step_s <= 0:
        raise ValueError(f"step_s must be positive, got {step_s}")
    first = floor(round(start / step_s, 6))
    count = max(0, floor(round(end / step_s, 6)) - first) + 1
    return [
        ((first + begin) * step_s, (first + min(begin + max_points, count) - 1) * step_s)
        for begin in range(0, count, max_points)
    ]
