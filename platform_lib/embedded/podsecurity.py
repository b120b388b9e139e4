"""Does a pod keep the Pod Security Standard that its namespace demands? Pure; returns Kubernetes' own texts.

Source: Kubernetes documentation "Pod Security Standards" (levels baseline and restricted) and "Pod Security
Admission" (labels). Not looked at: Windows host processes and AppArmor, which no node of this platform has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from platform_lib.model import Obj

PREFIX = "pod-security.kubernetes.io/"

_TEMPLATES = frozenset(
    {"apps/v1/deployments", "apps/v1/replicasets", "apps/v1/statefulsets", "apps/v1/daemonsets", "batch/v1/jobs"}
)
_BASELINE_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
_SAFE_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
})  # fmt: skip
_RESTRICTED_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
    "projected", "secret",
})  # fmt: skip
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_SECCOMP = ("RuntimeDefault", "Localhost")


def pod_spec(gvr: str, obj: Obj) -> Obj | None:
    """Return the pod specification inside an object, or None for kinds that start no pods."""
    spec = obj.get("spec") or {}
    if gvr == "v1/pods":
        return dict(spec)
    if gvr in _TEMPLATES:
        return dict((spec.get("template") or {}).get("spec") or {})
    if gvr == "batch/v1/cronjobs":
        job = (spec.get("jobTemplate") or {}).get("spec") or {}
        return dict((job.get("template") or {}).get("spec") or {})
    return None


def judge(labels: Mapping[str, str], spec: Obj, *, is_pod: bool) -> tuple[str, list[str]]:
    """Hold a pod specification against the labels of its namespace.

    Args:
        labels: Labels of the namespace.
        spec: Pod specification.
        is_pod: False for a template, which is warned about but never refused.

    Returns:
        What refuses the pod (empty: nothing), and the warnings to send.
    """
    refusal = ""
    if is_pod:
        found = violations(labels.get(f"{PREFIX}enforce", "privileged"), spec)
        if found:
            refusal = f"violates PodSecurity {_level(labels, 'enforce')}: {', '.join(found)}"
    found = violations(labels.get(f"{PREFIX}warn", "privileged"), spec)
    if found and not refusal:
        return "", [f"would violate PodSecurity {_level(labels, 'warn')}: {', '.join(found)}"]
    return refusal, []


def violations(level: str, spec: Obj) -> list[str]:
    """Return what in a pod specification breaks a level: ``privileged``, ``baseline`` or ``restricted``."""
    if level == "privileged":
        return []
    checks = _BASELINE + (_RESTRICTED if level == "restricted" else ())
    return [text for check in checks for text in check(spec)]


def _level(labels: Mapping[str, str], mode: str) -> str:
    return f'"{labels[PREFIX + mode]}:{labels.get(f"{PREFIX}{mode}-version", "latest")}"'


def _containers(spec: Obj) -> Iterable[Obj]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _context(container: Obj) -> Obj:
    return dict(container.get("securityContext") or {})


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in dict.fromkeys(names))


def _named(names: Sequence[str], word: str = "container") -> str:
    return f"{word}{'s' if len(names) > 1 else ''} {_quoted(names)}"


def _where(spec: Obj, bad: Callable[[Obj], bool]) -> list[str]:
    return [container.get("name", "") for container in _containers(spec) if bad(_context(container))]


def _host_namespaces(spec: Obj) -> list[str]:
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return [f"host namespaces ({', '.join(found)})"] if found else []


def _privileged(spec: Obj) -> list[str]:
    names = _where(spec, lambda context: bool(context.get("privileged")))
    return [f"privileged ({_named(names)} must not set securityContext.privileged=true)"] if names else []


def _added(context: Obj) -> list[str]:
    return list((context.get("capabilities") or {}).get("add") or ())


def _capabilities(spec: Obj) -> list[str]:
    names = _where(spec, lambda context: not set(_added(context)) <= _BASELINE_CAPABILITIES)
    if not names:
        return []
    caps = [cap for c in _containers(spec) for cap in _added(_context(c)) if cap not in _BASELINE_CAPABILITIES]
    text = f"{_named(names)} must not include {_quoted(caps)} in securityContext.capabilities.add"
    return [f"non-default capabilities ({text})"]


def _host_paths(spec: Obj) -> list[str]:
    names = [volume["name"] for volume in spec.get("volumes") or () if "hostPath" in volume]
    return [f"hostPath volumes ({_named(names, 'volume')})"] if names else []


def _host_ports(spec: Obj) -> list[str]:
    found = [
        (container.get("name", ""), str(port["hostPort"]))
        for container in _containers(spec)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]
    if not found:
        return []
    names, ports = [name for name, _ in found], dict.fromkeys(port for _, port in found)
    verb = "use" if len(set(names)) > 1 else "uses"
    return [f"hostPort ({_named(list(dict.fromkeys(names)))} {verb} hostPort {', '.join(ports)})"]


def _selinux(spec: Obj) -> list[str]:
    contexts = [dict(spec.get("securityContext") or {}), *(_context(item) for item in _containers(spec))]
    options = [context.get("seLinuxOptions") or {} for context in contexts]
    found = [item["type"] for item in options if item.get("type", "") not in _SELINUX_TYPES]
    return [f"seLinuxOptions (type {_quoted(found)})"] if found else []


def _proc_mount(spec: Obj) -> list[str]:
    names = _where(spec, lambda context: context.get("procMount", "Default") != "Default")
    return [f"procMount ({_named(names)} must not set securityContext.procMount)"] if names else []


def _unconfined(spec: Obj) -> list[str]:
    def bad(context: Obj) -> bool:
        return (context.get("seccompProfile") or {}).get("type") == "Unconfined"

    places = ["pod"] if bad(spec.get("securityContext") or {}) else []
    names = _where(spec, bad)
    places += [_named(names)] if names else []
    text = 'must not set securityContext.seccompProfile.type to "Unconfined"'
    return [f"seccompProfile ({' and '.join(places)} {text})"] if places else []


def _sysctls(spec: Obj) -> list[str]:
    wanted = (spec.get("securityContext") or {}).get("sysctls") or ()
    found = [item["name"] for item in wanted if item["name"] not in _SAFE_SYSCTLS]
    return [f"forbidden sysctls ({', '.join(found)})"] if found else []


def _volume_types(spec: Obj) -> list[str]:
    found = [
        (volume["name"], kind)
        for volume in spec.get("volumes") or ()
        for kind in volume
        if kind != "name" and kind not in _RESTRICTED_VOLUMES
    ]
    if not found:
        return []
    names, kinds = [name for name, _ in found], [kind for _, kind in found]
    verb, many = ("use", "s") if len(names) > 1 else ("uses", "")
    text = f"{_named(names, 'volume')} {verb} restricted volume type{many} {_quoted(kinds)}"
    return [f"restricted volume types ({text})"]


def _escalation(spec: Obj) -> list[str]:
    names = _where(spec, lambda context: context.get("allowPrivilegeEscalation") is not False)
    text = f"{_named(names)} must set securityContext.allowPrivilegeEscalation=false"
    return [f"allowPrivilegeEscalation != false ({text})"] if names else []


def _dropped(spec: Obj) -> list[str]:
    def keeps(context: Obj) -> bool:
        return "ALL" not in ((context.get("capabilities") or {}).get("drop") or ())

    texts = []
    if names := _where(spec, keeps):
        texts.append(f'{_named(names)} must set securityContext.capabilities.drop=["ALL"]')
    if names := _where(spec, lambda context: not set(_added(context)) <= {"NET_BIND_SERVICE"}):
        caps = [cap for c in _containers(spec) for cap in _added(_context(c)) if cap != "NET_BIND_SERVICE"]
        texts.append(f"{_named(names)} must not include {_quoted(caps)} in securityContext.capabilities.add")
    return [f"unrestricted capabilities ({'; '.join(texts)})"] if texts else []


def _non_root(spec: Obj) -> list[str]:
    by_pod = (spec.get("securityContext") or {}).get("runAsNonRoot")
    explicit = _where(spec, lambda context: context.get("runAsNonRoot") is False)
    if explicit:
        return [f"runAsNonRoot != true ({_named(explicit)} must not set securityContext.runAsNonRoot=false)"]
    if by_pod is False:
        return ["runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)"]
    names = [] if by_pod else _where(spec, lambda context: not context.get("runAsNonRoot"))
    text = f"pod or {_named(names)} must set securityContext.runAsNonRoot=true"
    return [f"runAsNonRoot != true ({text})"] if names else []


def _root_user(spec: Obj) -> list[str]:
    names = _where(spec, lambda context: context.get("runAsUser") == 0)
    places = ["pod"] if (spec.get("securityContext") or {}).get("runAsUser") == 0 else []
    places += [_named(names)] if names else []
    return [f"runAsUser=0 ({' and '.join(places)} must not set runAsUser=0)"] if places else []


def _seccomp(spec: Obj) -> list[str]:
    def kind(context: Obj) -> str:
        return (context.get("seccompProfile") or {}).get("type") or ""

    by_pod = kind(spec.get("securityContext") or {}) in _SECCOMP
    names = _where(spec, lambda context: not kind(context) and not by_pod)
    text = f"pod or {_named(names)} must set securityContext.seccompProfile.type to"
    return [f'seccompProfile ({text} "RuntimeDefault" or "Localhost")'] if names else []


_BASELINE = (
    _host_namespaces,
    _privileged,
    _capabilities,
    _host_paths,
    _host_ports,
    _selinux,
    _proc_mount,
    _unconfined,
    _sysctls,
)
_RESTRICTED = (_volume_types, _escalation, _dropped, _non_root, _root_user, _seccomp)
