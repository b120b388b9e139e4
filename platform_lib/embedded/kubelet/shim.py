"""Who waits for a container when there is no sandbox program? This script, run by path with ``python -I -S``.

It outlives the node agent, so the exit code is not lost when the agent is killed. It imports nothing but the
standard library's smallest modules to stay small. It writes the same status lines as bubblewrap:
``{"child-pid": N}`` and ``{"exit-code": N}``.

Usage: shim.py STATUS_FD UID GID COMMAND...   (UID -1: keep the user)
"""

import os
import signal
import sys

NOT_FOUND, NOT_EXECUTABLE = 127, 126


def main(arguments: list[str]) -> int:
    """Start the command in a session of its own, wait for it, kill what it left behind, tell its exit code."""
    status_fd, uid, gid, command = int(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3:]
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        become(uid, gid, command, status_fd)
    os.write(status_fd, b'{"child-pid": %d}\n' % child)
    _, status = os.waitpid(child, 0)
    kill_session(child)
    code = os.waitstatus_to_exitcode(status)
    code = 128 - code if code < 0 else code
    os.write(status_fd, b'{"exit-code": %d}\n' % code)
    return code


def become(uid: int, gid: int, command: list[str], status_fd: int) -> None:
    """Turn this process into the command; never returns."""
    for restored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(restored, signal.SIG_DFL)
    try:
        os.setsid()
        os.set_inheritable(status_fd, False)
        if uid >= 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        os.umask(0o022)
        os.execvp(command[0], command)  # noqa: S606 - no shell wanted
    except FileNotFoundError as error:
        os.write(2, b"exec %s: %s\n" % (command[0].encode(), str(error.strerror).encode()))
        os._exit(NOT_FOUND)
    except OSError as error:
        os.write(2, b"exec %s: %s\n" % (command[0].encode(), str(error.strerror).encode()))
        os._exit(NOT_EXECUTABLE)


def kill_session(session: int) -> None:
    """Kill the processes that the command left in its session."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - see session_of
        if name.isdigit() and session_of(name) == session:
            try:
                os.kill(int(name), signal.SIGKILL)
            except ProcessLookupError:
                continue


def session_of(pid: str) -> int:
    """Read a process's session; 0 when it is gone."""
    try:
        with open("/proc/" + pid + "/stat") as file:  # noqa: PTH123 - pathlib would double the shim's memory
            text = file.read()
    except OSError:
        return 0
    return int(text[text.rindex(")") + 2 :].split()[3])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
