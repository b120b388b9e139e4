"""What did a container print? Its log file, read the way ``kubectl logs`` asks for it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from platform_lib.embedded.kubelet.stats import Watchkeeper

CHUNK = 65_536
FOLLOW_S = 0.1


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is asked for.

    Attributes:
        tail_lines: Only the last lines; None for all.
        since: Only what came after this moment (seconds since the epoch); None for all.
        limit_bytes: Stop after so many bytes; None for no limit.
        timestamps: Put the time before each line (to about a second: when the agent saw it).
        follow: Go on until the container ends.
    """

    tail_lines: int | None = None
    since: float | None = None
    limit_bytes: int | None = None
    timestamps: bool = False
    follow: bool = False


async def read_log(
    file: Path, options: LogOptions, keeper: Watchkeeper, ended: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Yield a log in pieces of whole lines (the last piece may lack its line end).

    Args:
        file: The log of one run.
        options: What is asked for.
        keeper: Knows when lines were written.
        ended: Tells whether the run is over; ends following.
    """
    left = options.limit_bytes
    async for offset, piece in _pieces(file, _start(file, options, keeper), options.follow, ended):
        text = _stamped(piece, offset, file, keeper) if options.timestamps else piece
        if left is not None:
            text = text[:left]
            left -= len(text)
        if text:
            yield text
        if left == 0:
            return


def _start(file: Path, options: LogOptions, keeper: Watchkeeper) -> int:
    """Return the offset of the first wanted byte."""
    start = keeper.offset_at(str(file), options.since) if options.since is not None else 0
    if options.tail_lines is None or not file.exists():
        return start
    return max(start, _tail_offset(file, options.tail_lines))


def _tail_offset(file: Path, lines: int) -> int:
    """Find where the last lines begin, reading backwards."""
    size = file.stat().st_size
    if lines <= 0:
        return size
    with file.open("rb") as source:
        place, found = size, 0
        while place > 0:
            step = min(CHUNK, place)
            source.seek(place - step)
            block = source.read(step)
            end = len(block) - 1 if place == size and block.endswith(b"\n") else len(block)
            while (cut := block.rfind(b"\n", 0, end)) >= 0:
                found += 1
                if found == lines:
                    return place - step + cut + 1
                end = cut
            place -= step
    return 0


async def _pieces(file: Path, start: int, follow: bool, ended: Callable[[], bool]) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (offset, bytes); a log that became shorter (it was cut) is read from its beginning."""
    offset, pending = start, b""
    while True:
        over = ended()
        if file.exists() and file.stat().st_size < offset:
            offset = 0
        while data := _read(file, offset + len(pending)):
            whole, line_end, rest = (pending + data).rpartition(b"\n")
            if line_end:
                yield offset, whole + line_end
                offset += len(whole) + 1
                pending = rest
            else:
                pending += data
        if not follow or over:
            break
        await asyncio.sleep(FOLLOW_S)
    if pending:
        yield offset, pending


def _read(file: Path, offset: int) -> bytes:
    """Read one block; nothing when the file does not exist."""
    if not file.exists():
        return b""
    with file.open("rb") as source:
        source.seek(offset)
        return source.read(CHUNK)


def _stamped(piece: bytes, offset: int, file: Path, keeper: Watchkeeper) -> bytes:
    """Put a time before each line."""
    found = []
    for line in piece.splitlines(keepends=True):
        moment = dt.datetime.fromtimestamp(keeper.time_at(str(file), offset), dt.UTC)
        found.append(moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode() + line)
        offset += len(line)
    return b"".join(found)
