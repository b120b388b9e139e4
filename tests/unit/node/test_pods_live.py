"""Pods on a real node agent against a real API: the life of a pod as Kubernetes describes it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from harness import Cluster

FOREVER = {"command": ["python", "-c", "import time; time.sleep(600)"], "readinessProbe": None}


def shell(code: str) -> dict[str, object]:
    return {"command": ["python", "-c", code], "readinessProbe": None}


def test_pod_serves_and_is_ready_soon_after(cluster: Cluster, pod_name: str) -> None:
    began = time.monotonic()
    cluster.run(pod_name)
    pod = cluster.wait_ready(pod_name)
    assert time.monotonic() - began < 3
    assert cluster.ask(pod_name)[0] == 200
    status = pod["status"]
    assert status["phase"] == "Running"
    assert status["podIP"].startswith(cluster.node.address.rsplit(".", 1)[0])
    assert status["hostIP"] == cluster.node.address
    entry = status["containerStatuses"][0]
    assert entry["ready"] and entry["started"] and entry["restartCount"] == 0
    assert entry["imageID"] == entry["image"]
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)


def test_sandbox_condition_tells_the_truth(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}})
    cluster.wait_ready(pod_name)
    enforced = cluster.condition(cluster.pod_path(pod_name), "apqx.dev/SandboxEnforced")
    pid, uid = cluster.ask(pod_name)[1].split()
    assert (enforced == "True") == bool(cluster.config.bwrap)
    if cluster.config.bwrap:
        assert (int(pid) < 10, uid) == (True, "1000")
        status = dict(line.split(":", 1) for line in cluster.ask(pod_name, "/read?/proc/self/status")[1].splitlines())
        assert {status[key].strip() for key in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {"0" * 16}
        assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
        assert cluster.ask(pod_name, "/write?/app/x")[0] == 403
        assert cluster.ask(pod_name, "/write?/tmp/x")[0] == 200
    else:
        message = json.dumps(cluster.pod(pod_name)["status"]["conditions"])
        assert "read-only root filesystem" in message
        assert "seccomp" in message


def test_graceful_delete_sends_term_and_reports_completion(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, env_vars={"STOP_DELAY_S": "0.5"})
    cluster.wait_ready(pod_name)
    began = time.monotonic()
    cluster.delete(pod_name)
    pod = cluster.pod(pod_name)
    assert pod["metadata"]["deletionTimestamp"]
    cluster.wait_gone(pod_name)
    assert 0.45 < time.monotonic() - began < 3
    reasons = {reason for reason, _ in cluster.events(pod_name)}
    assert {"Pulled", "Created", "Started", "Killing"} <= reasons


def test_process_that_ignores_term_is_killed_after_the_grace_period(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, {"terminationGracePeriodSeconds": 1}, env_vars={"IGNORE_TERM": "1"})
    cluster.wait_ready(pod_name)
    began = time.monotonic()
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)
    assert 0.9 < time.monotonic() - began < 3


def test_forced_delete_leaves_no_process(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, env_vars={"IGNORE_TERM": "1"})
    cluster.wait_ready(pod_name)
    ip = cluster.pod(pod_name)["status"]["podIP"]
    cluster.delete(pod_name, gracePeriodSeconds=0)
    cluster.wait(lambda: f"{ip}:8080" not in listening(), 3)


def listening() -> str:
    """Return the listening IPv4 sockets as ``address:port`` lines."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = []
    for row in rows:
        if row[3] == "0A":
            address, port = row[1].split(":")
            octets = [str(int(address[i : i + 2], 16)) for i in (6, 4, 2, 0)]
            found.append(f"{'.'.join(octets)}:{int(port, 16)}")
    return "\n".join(found)


def test_crash_restarts_at_once_then_backs_off(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, **shell("import sys; print('last words'); sys.exit(3)"))
    cluster.wait(lambda: cluster.waiting(pod_name) == "CrashLoopBackOff")
    state = cluster.state(pod_name)
    assert state["lastState"]["terminated"]["exitCode"] == 3
    assert state["lastState"]["terminated"]["reason"] == "Error"
    assert state["restartCount"] >= 1
    assert "restarting failed container=app" in state["state"]["waiting"]["message"]
    cluster.wait(lambda: "BackOff" in dict(cluster.events(pod_name)))
    assert cluster.log(pod_name, "previous=true") == "last words\n"
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)


@pytest.mark.parametrize(("code", "phase", "reason"), [(0, "Succeeded", "Completed"), (4, "Failed", "Error")])
def test_never_restarted_pod_ends_in_a_final_phase(
    cluster: Cluster, pod_name: str, code: int, phase: str, reason: str
) -> None:
    name = f"{pod_name}-{code}"
    cluster.run(name, {"restartPolicy": "Never"}, **shell(f"raise SystemExit({code})"))
    cluster.wait(lambda: cluster.pod(name)["status"]["phase"] == phase)
    ended = cluster.state(name)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, reason)
    cluster.delete(name)
    cluster.wait_gone(name)


def test_unready_pod_is_reported_at_the_next_probe_and_stays_alive(cluster: Cluster, pod_name: str) -> None:
    probe = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.run(pod_name, readinessProbe=probe)
    cluster.wait_ready(pod_name)
    cluster.ask(pod_name, "/unready")
    cluster.wait(lambda: not cluster.ready(pod_name), 4)
    assert cluster.state(pod_name)["restartCount"] == 0
    cluster.wait(
        lambda: (
            ("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503") in cluster.events(pod_name)
        )
    )
    cluster.delete(pod_name)


def test_failed_liveness_restarts_the_container(cluster: Cluster, pod_name: str) -> None:
    probe = {"httpGet": {"path": "/live", "port": 8080}, "periodSeconds": 1, "failureThreshold": 2}
    cluster.run(pod_name, livenessProbe=probe)
    cluster.wait_ready(pod_name)
    cluster.ask(pod_name, "/sick")
    cluster.wait(lambda: cluster.state(pod_name).get("restartCount") == 1, 6)
    cluster.wait_ready(pod_name)
    cluster.wait(
        lambda: ("Killing", "Container app failed liveness probe, will be restarted") in cluster.events(pod_name)
    )
    cluster.delete(pod_name)


def test_startup_probe_holds_back_readiness_and_gives_up(cluster: Cluster, pod_name: str) -> None:
    probe = {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.run(pod_name, startupProbe=probe, env_vars={"START_DELAY_S": "30"})
    cluster.wait(lambda: cluster.state(pod_name).get("restartCount", 0) >= 1, 6)
    assert not cluster.state(pod_name)["started"]
    cluster.delete(pod_name, gracePeriodSeconds=0)


def test_exec_probe_runs_inside_the_container(cluster: Cluster, pod_name: str) -> None:
    code = (
        "import os, pathlib; inside = os.environ['PYTHONPATH'] == '/app';"
        "main = pathlib.Path(os.environ['PYTHONPATH'], 'main.py');"
        "alone = len([p for p in os.listdir('/proc') if p.isdigit()]) < 6;"
        "raise SystemExit(not (os.environ['MARK'] == 'yes' and main.exists() and alone == inside))"
    )
    probe = {"exec": {"command": ["python", "-c", code]}, "periodSeconds": 1}
    cluster.run(pod_name, readinessProbe=probe, env_vars={"MARK": "yes"})
    cluster.wait_ready(pod_name)
    cluster.delete(pod_name)


def test_crash_is_noticed_without_waiting_for_a_probe(cluster: Cluster, pod_name: str) -> None:
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 300}
    cluster.run(pod_name, readinessProbe=probe, env_vars={"EXIT_AFTER_S": "1", "EXIT_CODE": "7"})
    cluster.wait_ready(pod_name)
    cluster.wait(lambda: cluster.state(pod_name).get("lastState", {}).get("terminated", {}).get("exitCode") == 7, 4)
    cluster.delete(pod_name, gracePeriodSeconds=0)


def test_init_containers_run_in_order_before_the_app(cluster: Cluster, pod_name: str) -> None:
    image = cluster.layout.server()
    mount = [{"name": "work", "mountPath": "/scratch"}]
    append = "import os; open(os.environ['D'] + '/log', 'a').write('{0}')"
    inits = [
        {
            "name": f"init-{n}",
            "image": image,
            "command": ["python", "-c", append.format(n)],
            "env": [{"name": "D", "value": "/scratch"}],
            "volumeMounts": mount,
        }
        for n in (1, 2)
    ]
    spec = {"initContainers": inits, "volumes": [{"name": "work", "emptyDir": {}}]}
    cluster.run(pod_name, spec, volumeMounts=mount, env_vars={"LOG": "/scratch/log"})
    cluster.wait_ready(pod_name)
    path = "/scratch/log" if cluster.config.bwrap else dict(eval(cluster.ask(pod_name, "/env")[1]))["LOG"]
    assert cluster.ask(pod_name, f"/read?{path}") == (200, "12")
    entries = cluster.pod(pod_name)["status"]["initContainerStatuses"]
    assert [entry["state"]["terminated"]["reason"] for entry in entries] == ["Completed", "Completed"]
    cluster.delete(pod_name)


def test_failing_init_container_keeps_the_pod_pending(cluster: Cluster, pod_name: str) -> None:
    init = {"name": "first", "image": cluster.layout.server(), "command": ["python", "-c", "raise SystemExit(1)"]}
    cluster.run(pod_name, {"initContainers": [init]})
    cluster.wait(lambda: (cluster.pod(pod_name)["status"].get("initContainerStatuses") or [{}])[0].get("restartCount"))
    status = cluster.pod(pod_name)["status"]
    assert status["phase"] == "Pending"
    assert cluster.condition(cluster.pod_path(pod_name), "Initialized") == "False"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    cluster.delete(pod_name, gracePeriodSeconds=0)


def test_configuration_reaches_the_container(cluster: Cluster, pod_name: str) -> None:
    for kind, data in (("configmaps", {"colour": "blue", "file.txt": "from map"}), ("secrets", None)):
        body = {"metadata": {"name": f"{pod_name}-c"}}
        body |= {"data": data} if data else {"stringData": {"password": "hunter2"}}
        cluster.ok("POST", f"/api/v1/namespaces/default/{kind}", body)
    env = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": f"{pod_name}-c", "key": "colour"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": f"{pod_name}-c", "key": "password"}}},
        {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "BOTH", "value": "$(COLOUR)-$(ME)-$$(ME)"},
        {"name": "FILE", "value": "/config/file.txt"},
        {"name": "LABELS", "value": "/config/labels"},
    ]
    sources = [
        {"configMap": {"name": f"{pod_name}-c"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    spec = {"volumes": [{"name": "config", "projected": {"sources": sources}}]}
    cluster.run(pod_name, spec, env=env, volumeMounts=[{"name": "config", "mountPath": "/config"}])
    cluster.wait_ready(pod_name)
    seen = eval(cluster.ask(pod_name, "/env")[1])
    assert (seen["COLOUR"], seen["SECRET"], seen["CPUS"]) == ("blue", "hunter2", "4")
    assert seen["BOTH"] == f"blue-{pod_name}-$(ME)"
    assert cluster.ask(pod_name, f"/read?{seen['FILE']}") == (200, "from map")
    assert cluster.ask(pod_name, f"/read?{seen['LABELS']}") == (200, f'app="{pod_name}"')
    cluster.delete(pod_name)


def test_missing_config_map_is_named_and_waited_for(cluster: Cluster, pod_name: str) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": f"{pod_name}-late", "key": "x"}}}]
    cluster.run(pod_name, env=env)
    cluster.wait(lambda: cluster.waiting(pod_name) == "CreateContainerConfigError")
    assert cluster.state(pod_name)["state"]["waiting"]["message"] == f'configmap "{pod_name}-late" not found'
    body = {"metadata": {"name": f"{pod_name}-late"}, "data": {"x": "1"}}
    cluster.ok("POST", "/api/v1/namespaces/default/configmaps", body)
    cluster.wait_ready(pod_name)
    cluster.delete(pod_name)


def test_service_account_token_is_mounted(cluster: Cluster, pod_name: str) -> None:
    cluster.wait(lambda: cluster.get("/api/v1/namespaces/default/serviceaccounts/default"))
    cluster.wait(lambda: cluster.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt"))
    where = "/var/run/secrets/kubernetes.io/serviceaccount"
    cluster.run(pod_name, {"automountServiceAccountToken": True}, env_vars={"WHERE": f"{where}/token"})
    cluster.wait_ready(pod_name)
    token = cluster.ask(pod_name, f"/read?{eval(cluster.ask(pod_name, '/env')[1])['WHERE']}")[1]
    assert token.count(".") == 2
    cluster.delete(pod_name)


def test_image_problems_show_kubernetes_reasons(cluster: Cluster) -> None:
    absent = "registry.test/app@sha256:" + "0" * 64
    cases = {
        "no-such-digest": (absent, {"ErrImagePull", "ImagePullBackOff"}, "manifest unknown"),
        "a-tag": ("registry.test/app:1.0", {"ErrImagePull", "ImagePullBackOff"}, "by digest only"),
        "bad-name": ("registry.test/App@@x", {"InvalidImageName"}, "invalid reference format"),
        "never": (absent, {"ErrImageNeverPull"}, "pull policy of Never"),
    }
    for name, (image, reasons, message) in cases.items():
        cluster.run(name, image=image, imagePullPolicy="Never" if name == "never" else "IfNotPresent")
        cluster.wait(lambda name=name, reasons=reasons: cluster.waiting(name) in reasons)
        assert message in cluster.state(name)["state"]["waiting"]["message"]
        assert cluster.pod(name)["status"]["phase"] == "Pending"
        cluster.delete(name, gracePeriodSeconds=0)


def test_corrupted_layer_is_refused_and_a_repaired_one_is_pulled(cluster: Cluster, pod_name: str) -> None:
    image = cluster.layout.image(
        {"app/main.py": "import time; time.sleep(600)", "app/x": pod_name + cluster.node.address},
        Entrypoint=["python", "/app/main.py"],
    )
    manifest = json.loads(cluster.layout.path(image.split("@")[1]).read_bytes())
    blob = cluster.layout.path(manifest["layers"][0]["digest"])
    good = blob.read_bytes()
    blob.write_bytes(good[:-1] + b"x")
    cluster.run(pod_name, image=image, readinessProbe=None)
    cluster.wait(lambda: cluster.waiting(pod_name) in ("ErrImagePull", "ImagePullBackOff"))
    assert "digest mismatch" in cluster.state(pod_name)["state"]["waiting"]["message"]
    blob.write_bytes(good)
    cluster.wait_ready(pod_name)
    cluster.delete(pod_name, gracePeriodSeconds=0)


def test_run_as_non_root_refuses_a_root_image(cluster: Cluster, pod_name: str) -> None:
    image = cluster.layout.image({"app/main.py": ""}, User="", Entrypoint=["python", "/app/main.py"])
    cluster.run(pod_name, {"securityContext": {"runAsNonRoot": True}}, image=image)
    cluster.wait(lambda: cluster.waiting(pod_name) == "CreateContainerConfigError")
    assert "image will run as root" in cluster.state(pod_name)["state"]["waiting"]["message"]
    cluster.delete(pod_name, gracePeriodSeconds=0)


def test_memory_limit_kills_and_says_so(cluster: Cluster, pod_name: str) -> None:
    limits = {"limits": {"memory": "64Mi"}}
    cluster.run(pod_name, resources=limits, **shell("x = bytearray(200 << 20); import time; time.sleep(60)"))
    ended = cluster.wait(lambda: cluster.state(pod_name).get("lastState", {}).get("terminated"))
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    cluster.delete(pod_name, gracePeriodSeconds=0)


def test_logs_by_the_options_of_kubectl(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, **shell("for i in range(1000): print('line', i, flush=True)\nimport time; time.sleep(600)"))
    cluster.wait(lambda: "line 999" in cluster.log(pod_name))
    assert cluster.log(pod_name, "tailLines=2") == "line 998\nline 999\n"
    assert cluster.log(pod_name, "limitBytes=6") == "line 0"
    assert cluster.log(pod_name, "timestamps=true&tailLines=1").split(" ", 1)[1] == "line 999\n"
    assert cluster.log(pod_name, "sinceSeconds=3600").count("\n") == 1000
    assert "previous terminated container" in cluster.log(pod_name, "previous=true")
    cluster.delete(pod_name, gracePeriodSeconds=0)


def test_pod_that_lives_too_long_is_failed(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, {"activeDeadlineSeconds": 1})
    cluster.wait(lambda: cluster.pod(pod_name)["status"].get("reason") == "DeadlineExceeded")
    cluster.wait(lambda: "terminated" in cluster.state(pod_name)["state"])
    assert cluster.pod(pod_name)["status"]["phase"] == "Failed"
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)


def test_volume_in_memory_is_writable_and_goes_with_the_pod(cluster: Cluster, pod_name: str) -> None:
    spec = {"volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]}
    mounts = [{"name": "scratch", "mountPath": "/scratch"}]
    cluster.run(pod_name, spec, volumeMounts=mounts, env_vars={"PLACE": "/scratch/x"})
    uid = cluster.wait_ready(pod_name)["metadata"]["uid"]
    place = eval(cluster.ask(pod_name, "/env")[1])["PLACE"]
    assert cluster.ask(pod_name, f"/write?{place}") == (200, "written")
    kept = Path(f"/dev/shm/apqx-{uid}")
    assert (kept / "scratch" / "x").read_text() == "x"
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)
    cluster.wait(lambda: not kept.exists())


def test_kubelet_endpoints_need_the_token(cluster: Cluster) -> None:
    assert cluster.kubelet("/healthz", token="") == (200, "ok")
    assert cluster.kubelet("/metrics/cadvisor", token="wrong")[0] == 401
    assert cluster.kubelet("/containerLogs/default/none/app")[0] == 404


def test_readings_have_the_labels_of_cadvisor(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name)
    cluster.wait_ready(pod_name)
    lines = cluster.kubelet("/metrics/cadvisor")[1].splitlines()
    labels = f'namespace="default",pod="{pod_name}",container="app"'
    values = {line.split("{")[0]: float(line.split()[-1]) for line in lines if labels in line}
    assert values["container_cpu_usage_seconds_total"] > 0
    assert values["container_memory_working_set_bytes"] > 1_000_000
    cluster.delete(pod_name)


def test_pre_stop_runs_before_term(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, lifecycle={"preStop": {"sleep": {"seconds": 1}}})
    cluster.wait_ready(pod_name)
    cluster.delete(pod_name)
    time.sleep(0.5)
    assert cluster.ask(pod_name)[0] == 200
    assert cluster.ready(pod_name)
    cluster.wait_gone(pod_name)


def test_nothing_is_left_of_deleted_pods(cluster: Cluster, pod_name: str) -> None:
    cluster.run(pod_name, resources={"limits": {"memory": "128Mi", "cpu": "1"}})
    uid = cluster.wait_ready(pod_name)["metadata"]["uid"]
    cluster.delete(pod_name)
    cluster.wait_gone(pod_name)
    cluster.wait(lambda: not (cluster.node_dir / "pods" / uid).exists())
    for root in ("memory", "cpu", "pids", "."):
        assert not Path(f"/sys/fs/cgroup/{root}/apqx-{uid}-app").exists()
