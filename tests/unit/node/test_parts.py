"""The small pure parts: back-off, limits, sandbox command lines, filters, addresses."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path

import pytest

from platform_lib.embedded.kubelet import cgroups, sandbox, seccomp
from platform_lib.embedded.kubelet.backoff import Policy, next_delay_s, remaining_s
from platform_lib.embedded.kubelet.cgroups import Group, Hierarchy, Limits
from platform_lib.embedded.kubelet.container import go_duration
from platform_lib.embedded.kubelet.podlogs import LogOptions, read_log
from platform_lib.embedded.kubelet.sandbox import Confinement, Mount, Sandbox, command_line, reachable, relocate
from platform_lib.embedded.kubelet.stats import Reading, Watchkeeper, exposition
from platform_lib.embedded.node import Addresses


def test_back_off_doubles_to_the_cap_and_is_forgotten_after_ten_minutes() -> None:
    policy, delays, delay, before, now = Policy(), [], 0.0, 0.0, 1000.0
    for _ in range(8):
        delay = next_delay_s(policy, delay, before, now)
        delays.append(delay)
        before, now = now, now + delay
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    assert next_delay_s(policy, 300, before, before + 601) == 10


def test_remaining_time_of_a_back_off() -> None:
    assert remaining_s(10, failed_at=100, now=104) == 6
    assert remaining_s(10, failed_at=100, now=200) == 0


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (160, "2m40s"), (300, "5m0s"), (0.5, "500ms")])
def test_durations_read_as_in_go(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_addresses_are_used_again_as_late_as_possible() -> None:
    addresses = Addresses("127.42.3.0/28", {"127.42.3.10"})
    first = [addresses.take() for _ in range(3)]
    assert first == ["127.42.3.11", "127.42.3.12", "127.42.3.13"]
    addresses.free("127.42.3.11")
    assert addresses.take() == "127.42.3.14"
    assert addresses.take() == "127.42.3.11"
    with pytest.raises(RuntimeError, match="all 5 pod addresses"):
        addresses.take()


# Control groups, on folders that look like the kernel's


def unified(root: Path, enabled: str = "cpu memory pids") -> Path:
    (root / "cgroup.controllers").write_text("cpu io memory pids")
    (root / "cgroup.subtree_control").write_text(enabled)
    return root


def test_version_two_limits_are_written_in_its_terms(tmp_path: Path) -> None:
    hierarchy = cgroups.detect(unified(tmp_path))
    assert hierarchy.version == 2
    group = Group.create(hierarchy, "g", Limits(64 << 20, 0.5, 1024))
    folder = tmp_path / "g"
    written = {
        name: (folder / name).read_text() for name in ("cpu.max", "cpu.weight", "memory.max", "memory.oom.group")
    }
    assert written == {
        "cpu.max": "50000 100000",
        "cpu.weight": "39",
        "memory.max": str(64 << 20),
        "memory.oom.group": "1",
    }
    assert group.paths == [str(folder)]
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (folder / "memory.current").write_text("5000\n")
    (folder / "memory.stat").write_text("anon 1\ninactive_file 1000\n")
    (folder / "memory.events").write_text("low 0\noom_kill 2\n")
    assert (group.cpu_seconds(), group.memory_bytes(), group.oom_kills()) == (1.5, 4000, 2)


def test_version_two_without_delegation_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("pids")
    (tmp_path / "cgroup.subtree_control").write_text("")
    assert "not delegated" in cgroups.detect(tmp_path).reason


def test_machine_without_control_groups_says_so(tmp_path: Path) -> None:
    assert cgroups.detect(tmp_path) == Hierarchy(0, {}, "no control group controllers are mounted")


def test_version_one_needs_memory_and_cpu(tmp_path: Path) -> None:
    for name in ("memory", "cpu", "cpuacct", "pids"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    hierarchy = cgroups.detect(tmp_path)
    assert hierarchy.version == 1
    group = Group.create(hierarchy, "g", Limits(None, None, 2))
    assert (tmp_path / "memory" / "g" / "memory.limit_in_bytes").read_text() == "-1"
    assert (tmp_path / "cpu" / "g" / "cpu.cfs_quota_us").read_text() == "-1"
    assert len(group.entrances()) == 4


# Sandbox


@pytest.fixture
def wanted(tmp_path: Path) -> Confinement:
    rootfs, etc, volume = tmp_path / "rootfs", tmp_path / "etc", tmp_path / "volume"
    for folder in (rootfs / "app", rootfs / "usr", etc, volume):
        folder.mkdir(parents=True)
    return Confinement(
        rootfs=rootfs,
        command=["/usr/bin/python3", "/app/main.py"],
        env={"PYTHONPATH": "/app/lib:/app", "URL": "http://host/app", "CONFIG": "/etc/app/x", "OTHER": "/apple"},
        cwd="/app",
        uid=1000,
        gid=1000,
        hostname="p" * 80,
        python=Path("/opt/python/bin/python3"),
        etc=etc,
        tmp=tmp_path,
        mounts=(Mount(volume, "/etc/app", True),),
    )


def test_paths_are_rewritten_only_without_a_sandbox(wanted: Confinement) -> None:
    plain = sandbox.host_environment(Sandbox("plain"), wanted)
    assert plain["PYTHONPATH"] == f"{wanted.rootfs}/app/lib:{wanted.rootfs}/app"
    assert plain["CONFIG"] == f"{wanted.mounts[0].source}/x"
    assert (plain["URL"], plain["OTHER"]) == ("http://host/app", "/apple")
    assert plain["TMPDIR"] == str(wanted.tmp)
    assert sandbox.host_environment(Sandbox("root"), wanted) == wanted.env


@pytest.mark.parametrize(
    ("text", "kept"), [("--config=/app/x", False), ("/app", False), ("/application", True), ("a/app", True)]
)
def test_options_that_hold_a_path_are_rewritten(wanted: Confinement, text: str, kept: bool) -> None:
    assert (relocate(text, wanted) == text) == kept


def test_root_sandbox_gives_up_root_inside(wanted: Confinement) -> None:
    words = command_line(Sandbox("root", "/bin/bwrap", "/bin/setpriv"), wanted, 7, 8)
    assert words[0] == "/bin/bwrap"
    assert "--unshare-user" not in words
    tail = words[words.index("--") + 1 :]
    assert tail[:5] == ["/bin/setpriv", "--reuid", "1000", "--regid", "1000"]
    assert tail[-2:] == ["/usr/bin/python3", "/app/main.py"]
    assert words[words.index("--hostname") + 1] == "p" * 63
    assert words[words.index("--seccomp") + 1] == "8"


def test_user_sandbox_has_its_own_user_namespace(wanted: Confinement) -> None:
    words = command_line(Sandbox("user", "/bin/bwrap"), wanted, 7)
    assert words[1:6] == ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    assert words[-3:] == ["--", "/usr/bin/python3", "/app/main.py"]


def test_parents_of_mounts_are_open_and_the_base_image_stays_the_hosts(wanted: Confinement) -> None:
    words = command_line(Sandbox("user", "/bin/bwrap"), wanted, 7)
    made = [words[i + 1] for i, word in enumerate(words) if word == "--dir"]
    assert "/opt" in made
    assert len(made) == len(set(made))
    binds = {words[i + 2]: words[i + 1] for i, word in enumerate(words) if word == "--ro-bind"}
    assert binds["/usr"] == "/usr"
    assert binds["/app"] == f"{wanted.rootfs}/app"
    assert binds["/opt/python"] == "/opt/python"


def test_absent_or_broken_sandbox_program_falls_back_with_a_reason(tmp_path: Path) -> None:
    assert sandbox.detect("") == Sandbox(
        "plain", setpriv=sandbox.detect("").setpriv, reason="bubblewrap is not installed"
    )
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    found = sandbox.detect(str(broken))
    assert found.mode == "plain"
    assert "No permissions to create new namespace" in found.reason


def test_reachable_looks_at_every_folder_on_the_way(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    inner = tmp_path / "closed" / "file"
    inner.parent.mkdir(mode=0o700)
    inner.touch(0o644)
    assert reachable(inner, os.getuid(), os.getgid())
    assert not reachable(inner, 12345, 12345)


def run_filter(program: bytes, number: int, arch: int) -> int:
    """Interpret the filter as the kernel would."""
    steps = [struct.unpack_from("=HBBI", program, offset) for offset in range(0, len(program), 8)]
    place, value = 0, 0
    while True:
        code, true, false, operand = steps[place]
        place += 1
        if code == 0x20:
            value = number if operand == 0 else arch
        elif code == 0x15:
            place += true if value == operand else false
        elif code == 0x35:
            place += true if value >= operand else false
        else:
            return operand


@pytest.mark.parametrize(
    ("machine", "arch", "mount", "read"), [("x86_64", 0xC000003E, 165, 0), ("aarch64", 0xC00000B7, 40, 63)]
)
def test_filter_denies_mount_and_allows_read(machine: str, arch: int, mount: int, read: int) -> None:
    program = seccomp.program(machine)
    assert program is not None
    assert run_filter(program, mount, arch) == 0x00050001
    assert run_filter(program, read, arch) == 0x7FFF0000
    assert run_filter(program, read, 0x40000003) == 0x80000000
    if machine == "x86_64":
        assert run_filter(program, 0x40000000, arch) == 0x00050001


def test_unknown_machine_has_no_filter() -> None:
    assert seccomp.program("riscv64") is None


# Logs and readings


async def collect(file: Path, options: LogOptions) -> str:
    pieces = [piece async for piece in read_log(file, options, Watchkeeper(lambda: ()), lambda: True)]
    return b"".join(pieces).decode()


@pytest.mark.parametrize(("lines", "text"), [(0, ""), (1, "c"), (2, "b\nc"), (3, "a\nb\nc"), (9, "a\nb\nc")])
async def test_tail_counts_an_unfinished_last_line(tmp_path: Path, lines: int, text: str) -> None:
    file = tmp_path / "0.log"
    file.write_text("a\nb\nc")
    assert await collect(file, LogOptions(tail_lines=lines)) == text


async def test_tail_reads_across_blocks(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_text("".join(f"{n} {'x' * 1000}\n" for n in range(300)))
    found = await collect(file, LogOptions(tail_lines=100))
    assert found.splitlines()[0].startswith("200 ")
    assert len(found.splitlines()) == 100


async def test_follow_sees_new_lines_and_ends_with_the_container(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_text("one\n")
    over = False

    async def write() -> None:
        nonlocal over
        await asyncio.sleep(0.15)
        with file.open("a") as target:
            target.write("two\nthree")
        over = True

    writing = asyncio.ensure_future(write())
    pieces = [p async for p in read_log(file, LogOptions(follow=True), Watchkeeper(lambda: ()), lambda: over)]
    await writing
    assert b"".join(pieces) == b"one\ntwo\nthree"


async def test_missing_log_is_empty(tmp_path: Path) -> None:
    assert await collect(tmp_path / "none.log", LogOptions(tail_lines=5)) == ""


def test_readings_are_formatted_for_prometheus() -> None:
    text = exposition([Reading("ns", "p", "c", "i", 1.5, 2048, 4096, 10.0, 0)])
    assert 'container_cpu_usage_seconds_total{namespace="ns",pod="p",container="c",image="i"} 1.5' in text
    assert "# TYPE container_memory_working_set_bytes gauge" in text
    assert text.endswith("\n")
