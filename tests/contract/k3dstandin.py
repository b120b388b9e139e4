"""Stands in for the programs ``k3d`` and ``docker``, which this machine cannot run; started as either of them.

It keeps its containers in ``$STANDIN_DIR/state.json`` and speaks as k3d v5.9.0 and docker 28 do, as far as the provider
asks. ``k3d cluster create`` checks the config against k3d's own schema and then starts a real API server of ours with
one Node object per node, and a tiny web server in place of the ingress, so that everything behind the kubeconfig runs
against a real Kubernetes-compatible API. ``$STANDIN_DIR/faults.json`` maps a command to how it should fail.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(os.environ.get("STANDIN_DIR", "/nonexistent"))
SCHEMA = Path(__file__).parents[1] / "unit" / "k3d" / "k3d-v1alpha5.schema.json"
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
EMPTY: dict[str, Any] = {"containers": [], "images": [], "networks": [], "volumes": [], "processes": {}, "pushed": {}}


def load() -> dict[str, Any]:
    path = HERE / "state.json"
    return json.loads(path.read_text()) if path.exists() else json.loads(json.dumps(EMPTY))


def save(state: dict[str, Any]) -> None:
    scratch = HERE / f".state.{os.getpid()}"
    scratch.write_text(json.dumps(state))
    scratch.rename(HERE / "state.json")


def faults() -> dict[str, Any]:
    path = HERE / "faults.json"
    return json.loads(path.read_text()) if path.exists() else {}


def fail(text: str, code: int = 1) -> None:
    sys.stderr.write(text + "\n")
    raise SystemExit(code)


def info(text: str) -> None:
    """k3d writes information to stdout, unless its level is higher."""
    if os.environ.get("LOG_LEVEL", "info") == "info":
        print(f"INFO[0000] {text} ", flush=True)


def option(words: list[str], name: str, default: str = "") -> str:
    return words[words.index(name) + 1] if name in words else default


# --- k3d --------------------------------------------------------------------------------------------------


def k3d(words: list[str]) -> None:
    command = " ".join(words[:2])
    if words == ["version"]:
        print(f"k3d version {faults().get('k3d version', 'v5.9.0')}\nk3s version v1.35.5-k3s1 (default)")
        return
    if faults().get("daemon") == "down":
        if command == "cluster delete":  # as ClusterGet does: the error is logged, nothing is found, all is well
            sys.stderr.write(f"ERRO[0000] Failed to get nodes for cluster '{words[2]}': {NO_DAEMON}\n")
            return
        fail(f"FATA[0000] runtime failed to list nodes: docker failed to get containers: {NO_DAEMON}")
    {
        "cluster create": cluster_create,
        "cluster list": cluster_list,
        "cluster delete": cluster_delete,
        "cluster start": lambda w: cluster_switch(w, True),
        "cluster stop": lambda w: cluster_switch(w, False),
        "kubeconfig get": kubeconfig_get,
        "kubeconfig merge": kubeconfig_merge,
        "registry delete": registry_delete,
    }[command](words)


def libraries() -> None:
    """Let installed packages be imported; without them this program starts twice as fast (python -S)."""
    import site

    site.main()
    sys.path.insert(0, str(Path(__file__).parent))


def cluster_create(words: list[str]) -> None:
    libraries()
    import jsonschema
    import yaml

    config = yaml.safe_load(Path(option(words, "--config")).read_text())
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(config)
    name, state, fault = config["metadata"]["name"], load(), faults().get("cluster create", {})
    if any(one["cluster"] == name and one["role"] != "registry" for one in state["containers"]):
        fail(f"FATA[0000] Failed to create cluster '{name}' because a cluster with that name already exists ")
    state["networks"].append(f"k3d-{name}")
    registry = config["registries"]["create"]
    state["volumes"] += [registry["volumes"][0].split(":")[0]]
    roles = [("registry", registry["name"]), ("loadbalancer", f"k3d-{name}-serverlb")]
    roles += [("server", f"k3d-{name}-server-{i}") for i in range(config["servers"])]
    roles += [("agent", f"k3d-{name}-agent-{i}") for i in range(config["agents"])]
    for role, container in roles:
        info(f"Creating node '{container}'")
        state["containers"].append({"name": container, "role": role, "cluster": name, "running": True})
    save(state)
    if fault.get("hang"):
        (HERE / "hanging").touch()
        time.sleep(60)
    if fault:
        sys.stderr.write(fault["stderr"] + "\nERRO[0021] Failed to create cluster >>> Rolling Back \n")
        if fault.get("rolls_back", True):
            forget(name)
        fail("FATA[0024] Cluster creation FAILED, all changes have been rolled back! ")
    start_api(name, config)
    info(f"Cluster '{name}' created successfully!")


def start_api(name: str, config: dict[str, Any]) -> None:
    """Make the API server's folder, start it, and give it a Node object for each node."""
    libraries()
    import apiprocess

    made = apiprocess.write_config(HERE / name, Path(os.environ["STANDIN_CACHE"]))
    ports = dataclasses.replace(made.ports, api=int(config["kubeAPI"]["hostPort"]))
    made = dataclasses.replace(made, ports=ports, node_grace_s=3600.0)
    made.save(made.cluster_dir / "config.json")
    web = next(int(p["port"].split(":")[1]) for p in config["ports"] if p["port"].endswith(":80"))
    (HERE / name / "web").write_text(str(web))
    server = run_api(name)
    for one in load()["containers"]:
        if one["role"] in ("server", "agent"):
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
            node = {"metadata": {"name": one["name"]}, "status": {"conditions": [ready]}}
            answer = server.call("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", **node})
            assert answer.status == 201, answer.body


def run_api(name: str) -> Any:
    """Start the API server and the web server that plays the ingress; both outlive this program."""
    libraries()
    import apiprocess

    from platform_lib.embedded.config import Config

    server = apiprocess.ApiServer(Config.load(HERE / name / "cluster" / "config.json"))
    server.start()
    web = (HERE / name / "web").read_text()
    ingress = subprocess.Popen(
        [sys.executable, __file__, "ingress", web], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert server.process is not None
    state = load()
    state["processes"][name] = [server.process.pid, ingress.pid]
    save(state)
    return server


def cluster_list(_words: list[str]) -> None:
    state = load()
    found = []
    for name in sorted({one["cluster"] for one in state["containers"]}):
        nodes = [
            {
                "name": one["name"],
                "role": one["role"],
                "State": {"Running": one["running"], "Status": "running" if one["running"] else "exited"},
            }
            for one in state["containers"]
            if one["cluster"] == name
        ]
        found.append({"name": name, "nodes": nodes, "hasLoadbalancer": True})
    print(json.dumps(found))


def end_api(state: dict[str, Any], name: str) -> None:
    for pid in state["processes"].pop(name, []):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(pid, signal.SIGKILL)
            while not Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].startswith(" Z"):
                time.sleep(0.01)


def forget(name: str) -> None:
    state = load()
    end_api(state, name)
    shutil.rmtree(HERE / name, ignore_errors=True)
    state["containers"] = [one for one in state["containers"] if one["cluster"] != name]
    state["networks"] = [one for one in state["networks"] if one != f"k3d-{name}"]
    save(state)


def cluster_delete(words: list[str]) -> None:
    if "cluster delete" in faults():
        fail(faults()["cluster delete"])
    forget(words[2])
    info(f"Successfully deleted cluster {words[2]}!")


def cluster_switch(words: list[str], running: bool) -> None:
    state = load()
    for one in state["containers"]:
        one["running"] = running if one["cluster"] == words[2] else one["running"]
    if not running:
        end_api(state, words[2])
    save(state)
    if running:
        run_api(words[2])


def kubeconfig(name: str) -> str:
    """As k3d prints it: context ``k3d-NAME``, user ``admin@k3d-NAME``, behind a document separator."""
    libraries()
    import yaml

    text = next((HERE / name).glob("cluster/kubeconfig")).read_text()
    document = yaml.safe_load(text)
    context = f"k3d-{name}"
    port = json.loads((HERE / name / "cluster" / "config.json").read_text())["ports"]["api"]
    document["clusters"][0]["name"] = context
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    document["users"][0]["name"] = f"admin@{context}"
    document["contexts"] = [{"name": context, "context": {"cluster": context, "user": f"admin@{context}"}}]
    document["current-context"] = context
    return str(yaml.safe_dump(document))


def kubeconfig_get(words: list[str]) -> None:
    print("---\n" + kubeconfig(words[2]), end="")


def kubeconfig_merge(words: list[str]) -> None:
    assert "--kubeconfig-merge-default" in words and "--kubeconfig-switch-context=false" in words
    target = Path(os.environ["KUBECONFIG"])
    target.write_text(kubeconfig(words[2]))
    print(target)


def registry_delete(words: list[str]) -> None:
    state = load()
    state["containers"] = [one for one in state["containers"] if one["name"] != words[2]]
    save(state)


# --- docker -----------------------------------------------------------------------------------------------


def docker(words: list[str]) -> None:
    if faults().get("daemon") == "down":
        fail(NO_DAEMON)
    if faults().get("daemon") == "forbidden":
        fail(
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
            'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/version": connect: permission denied'
        )
    for known, act in DOCKER.items():
        if " ".join(words).startswith(known):
            act(words, load())
            return
    fail(f"the stand-in knows no docker {' '.join(words)}", 125)


def docker_version(words: list[str], _state: dict[str, Any]) -> None:
    print("28.2.2 28.2.2" if "Client" in option(words, "--format") else "28.2.2")


def docker_buildx() -> None:
    if "buildx" in faults():
        fail("docker: 'buildx' is not a docker command.\nSee 'docker --help'")
    print("github.com/docker/buildx v0.24.0")


def docker_inspect(words: list[str], state: dict[str, Any]) -> None:
    if words[-1] not in state["images"]:
        fail(f"Error response from daemon: No such image: {words[-1]}")
    print("1000" if "Size" in option(words, "--format") else "sha256:1")


def docker_pull(words: list[str], state: dict[str, Any]) -> None:
    if "pull" in faults():
        fail(faults()["pull"])
    state["images"].append(words[-1])
    save(state)


def docker_build(words: list[str], state: dict[str, Any]) -> None:
    reference = option(words, "--tag")
    print(f"#1 building {option(words, '--target')}", flush=True)
    if "build" in faults():
        fail(faults()["build"])
    Path(option(words, "--iidfile")).write_text("sha256:" + hashlib.sha256(reference.encode()).hexdigest())
    state["images"].append(reference)
    save(state)


def docker_push(words: list[str], state: dict[str, Any]) -> None:
    digest = "sha256:" + hashlib.sha256(f"manifest {words[-1]}".encode()).hexdigest()
    state["pushed"][words[-1]] = digest
    save(state)
    print(f"{words[-1].rpartition(':')[2]}: digest: {digest} size: 1234")


def docker_list(words: list[str], state: dict[str, Any]) -> None:
    wanted = option(words, "--filter").removeprefix("name=^").removesuffix("$")
    print("\n".join(one for one in dict.fromkeys(state[f"{words[0]}s"]) if one == wanted))


def docker_volume_rm(words: list[str], state: dict[str, Any]) -> None:
    state["volumes"] = [one for one in state["volumes"] if one != words[2]]
    save(state)


def docker_switch(words: list[str], state: dict[str, Any]) -> None:
    for one in state["containers"]:
        one["running"] = words[0] == "start" if one["name"] == words[-1] else one["running"]
    save(state)


def docker_ps(words: list[str], state: dict[str, Any]) -> None:
    key, _, value = option(words, "--filter").partition("=")
    if key == "publish":
        print(faults().get(f"publish {value}", ""))
        return
    cluster = value.removeprefix("k3d.cluster=")
    print("\n".join(one["name"] for one in state["containers"] if one["cluster"] == cluster))


DOCKER = {
    "version": docker_version,
    "info": lambda _words, _state: print(faults().get("root", str(HERE))),
    "buildx": lambda _words, _state: docker_buildx(),
    "image inspect": docker_inspect,
    "pull": docker_pull,
    "build": docker_build,
    "push": docker_push,
    "ps": docker_ps,
    "network ls": docker_list,
    "volume ls": docker_list,
    "volume rm": docker_volume_rm,
    "stop": docker_switch,
    "start": docker_switch,
}
"""Longer names before the names they begin with."""


def ingress(port: int) -> None:
    """Answer as the application does behind its ingress."""
    import http.server

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["Host"].startswith("app.") else 404)
            self.end_headers()

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()


def main() -> None:
    if sys.argv[1] == "ingress":
        ingress(int(sys.argv[2]))
    program, words = sys.argv[1], sys.argv[2:]
    with (HERE / "calls.jsonl").open("a") as log:
        log.write(json.dumps([program, *words]) + "\n")
    {"k3d": k3d, "docker": docker}[program](words)


if __name__ == "__main__":
    main()
