"""Which system calls may a container not make? A deny list compiled to a classic BPF program.

It refuses (EPERM) what the container runtimes' default profile refuses to a process without capabilities and a
workload never needs: mounting, loading modules, kernel keys, clocks, namespaces. Everything else passes, so it
is weaker than an allow list.

Source: the blocked calls listed in Docker's documentation, "Seccomp security profiles for Docker"; numbers from
the kernel's system call tables; program format from ``linux/filter.h`` and ``linux/seccomp.h``.
"""

from __future__ import annotations

import platform
import struct

_EPERM = 1
_RET_ERRNO, _RET_ALLOW, _RET_KILL = 0x00050000, 0x7FFF0000, 0x80000000
_LD_ABS, _JEQ, _JGE, _RET = 0x20, 0x15, 0x35, 0x06
_NUMBER_OFFSET, _ARCH_OFFSET = 0, 4
_X32_BIT = 0x40000000

_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_DENIED = {
    "x86_64": {
        "syslog": 103, "uselib": 134, "ustat": 136, "sysfs": 139, "pivot_root": 155, "_sysctl": 156,
        "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
        "reboot": 169, "iopl": 172, "ioperm": 173, "create_module": 174, "init_module": 175,
        "delete_module": 176, "get_kernel_syms": 177, "query_module": 178, "quotactl": 179, "nfsservctl": 180,
        "lookup_dcookie": 212, "clock_settime": 227, "mbind": 237, "set_mempolicy": 238, "kexec_load": 246,
        "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "move_pages": 279,
        "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308,
        "finit_module": 313, "kexec_file_load": 320, "bpf": 321,
        "userfaultfd": 323, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
        "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    },
    "aarch64": {
        "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42, "quotactl": 60,
        "acct": 89, "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106,
        "clock_settime": 112, "syslog": 116, "reboot": 142, "settimeofday": 170, "add_key": 217,
        "request_key": 218, "keyctl": 219, "swapon": 224, "swapoff": 225, "mbind": 235, "set_mempolicy": 237,
        "move_pages": 239, "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268,
        "finit_module": 273, "bpf": 280,
        "userfaultfd": 282, "kexec_file_load": 294, "open_tree": 428, "move_mount": 429, "fsopen": 430,
        "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    },
}  # fmt: skip


def program(machine: str | None = None) -> bytes | None:
    """Return the filter for a machine type (this one by default); None for an unknown type."""
    machine = machine or platform.machine()
    if machine not in _ARCH:
        return None
    numbers = sorted(_DENIED[machine].values())
    x32 = machine == "x86_64"
    steps = [(_LD_ABS, 0, 0, _ARCH_OFFSET), (_JEQ, 1, 0, _ARCH[machine]), (_RET, 0, 0, _RET_KILL)]
    steps.append((_LD_ABS, 0, 0, _NUMBER_OFFSET))
    checks = [(_JGE, _X32_BIT)] if x32 else []
    checks += [(_JEQ, number) for number in numbers]
    for place, (test, value) in enumerate(checks):
        steps.append((test, len(checks) - place, 0, value))
    steps += [(_RET, 0, 0, _RET_ALLOW), (_RET, 0, 0, _RET_ERRNO | _EPERM)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
