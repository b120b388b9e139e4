"""The parts that supervision is made of: identities, the event loop, and starting on record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from platform_lib.embedded import identity as ids
from platform_lib.embedded.identity import Identity

SLEEP = [sys.executable, "-c", "import signal; signal.pause()"]


def test_a_process_is_known_by_pid_and_start() -> None:
    child = subprocess.Popen(SLEEP)
    who = ids.identify(child.pid)
    assert who is not None
    assert ids.alive(who)
    assert not ids.alive(Identity(who.pid, who.start_ticks + 1))
    assert ids.send(who, signal.SIGKILL)
    child.wait()
    assert not ids.alive(who)
    assert not ids.send(who, signal.SIGTERM)


def test_a_reused_pid_is_never_signalled() -> None:
    child = subprocess.Popen(SLEEP)
    stranger = Identity(child.pid, 1)
    assert not ids.send(stranger, signal.SIGKILL)
    assert child.poll() is None
    child.kill()
    child.wait()


def test_a_zombie_counts_as_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ids.identify(child.pid) is None
    child.wait()


def test_an_identity_survives_the_record() -> None:
    me = ids.identify(os.getpid())
    assert me is not None
    assert Identity.from_json(json.loads(json.dumps(me.to_json()))) == me


def _run(script: str, tmp_path: Path) -> str:
    """Run a script in a process of its own: it forks and sets signal handlers."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    done = subprocess.run([sys.executable, str(path), str(tmp_path)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_child_runs_only_after_it_was_released_and_its_end_is_noticed(tmp_path: Path) -> None:
    seen = _run(
        """
        import pathlib, sys
        from platform_lib.embedded import launch
        from platform_lib.embedded.loop import Loop
        home = pathlib.Path(sys.argv[1]); mark = home / "mark"
        loop = Loop((), lambda n: None); ended = []
        started = launch.start("toy", lambda: mark.write_text("ran"), home / "toy.log")
        loop.on_exit(started.identity, lambda: ended.append(1))
        assert not loop.run(lambda: bool(ended), timeout_s=0.2)
        assert not mark.exists()
        started.release()
        assert loop.run(lambda: bool(ended), timeout_s=5)
        print(mark.read_text())
        """,
        tmp_path,
    )
    assert seen.strip() == "ran"


def test_a_child_whose_parent_died_before_the_record_never_runs(tmp_path: Path) -> None:
    _run(
        """
        import os, pathlib, sys
        from platform_lib.embedded import identity as ids, launch
        home = pathlib.Path(sys.argv[1]); read, write = os.pipe()
        if os.fork() == 0:
            started = launch.start("toy", lambda: (home / "mark").write_text("ran"), home / "toy.log")
            os.write(write, str(started.identity.pid).encode()); os.close(write)
            os.kill(os.getpid(), 9)
        os.close(write)
        pid = int(os.read(read, 20)); child = ids.identify(pid)
        if child is not None:
            fd = os.pidfd_open(pid); import select; assert select.select([fd], [], [], 5)[0]
        """,
        tmp_path,
    )
    assert not (tmp_path / "mark").exists()


def test_a_crash_of_a_component_is_in_its_log(tmp_path: Path) -> None:
    _run(
        """
        import pathlib, sys
        from platform_lib.embedded import launch
        from platform_lib.embedded.loop import Loop
        loop = Loop((), lambda n: None); ended = []
        started = launch.start("toy", lambda: 1 / 0, pathlib.Path(sys.argv[1]) / "toy.log")
        loop.on_exit(started.identity, lambda: ended.append(1)); started.release()
        assert loop.run(lambda: bool(ended), timeout_s=5)
        """,
        tmp_path,
    )
    assert "ZeroDivisionError" in (tmp_path / "toy.log").read_text()


def test_timers_and_signals_wake_the_loop_in_order(tmp_path: Path) -> None:
    seen = _run(
        """
        import os, signal
        from platform_lib.embedded.loop import Loop
        seen = []
        loop = Loop((signal.SIGHUP,), lambda n: seen.append(n.name))
        loop.after(0.05, lambda: seen.append("late")); loop.after(0.01, lambda: seen.append("early"))
        os.kill(os.getpid(), signal.SIGHUP)
        loop.run(lambda: len(seen) == 3, timeout_s=5)
        print(*seen)
        """,
        tmp_path,
    )
    assert seen.split() == ["SIGHUP", "early", "late"]
