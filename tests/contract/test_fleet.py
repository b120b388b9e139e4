"""A cluster joins the fleet for real: an account there, a cluster Secret here, and no token in anything printed."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path

import pytest
import yaml
from apiprocess import ApiServer

from platform_lib import fleet
from platform_lib.errors import GuardRefused, InvalidInput, SettingsError, WaitTimeout
from platform_lib.model import Platform
from platform_lib.rules import fleet as rules
from platform_lib.wire import kube

SERVER = "https://k3d-berlin-server-0:6443"
TOKEN = "a-token-that-nobody-may-see"


@pytest.fixture
def platform(api_server: ApiServer, namespace: str, tmp_path: Path) -> Platform:
    """Hub and member are the same server here; which objects go where is told apart by their namespaces."""
    config = api_server.config
    place = {"server": config.api_url, "certificate-authority": str(config.ca_file)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": place}, {"name": "odd", "cluster": {"server": SERVER}}],
        "users": [{"name": "u", "user": {"token": config.token("admin")}}],
        "contexts": [
            {"name": name, "context": {"cluster": "odd" if name == "odd" else "c", "user": "u"}}
            for name in ("apqx", "elsewhere", "odd")
        ],
        "current-context": "apqx",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return Platform("hub", "existing", path, "apqx", "", "", "", tmp_path, argocd_namespace=namespace)


def issue(platform: Platform) -> threading.Thread:
    """What a cluster's token controller does, a moment later; the API server here has none."""

    def fill() -> None:
        data = {"token": base64.b64encode(TOKEN.encode()).decode()}
        kube.connect(platform).patch("v1/secrets", rules.TOKEN, {"data": data}, rules.NAMESPACE)

    timer = threading.Timer(1.0, fill)
    timer.start()
    return timer


def register(platform: Platform, **more):
    order = {"name": "berlin", "context": "apqx", "kubeconfig": platform.kubeconfig, "server": SERVER} | more
    return fleet.register(platform, **order)


def test_a_cluster_joins_once_and_its_token_is_never_shown(platform: Platform) -> None:
    order = {"name": "berlin", "context": "apqx", "kubeconfig": platform.kubeconfig, "server": SERVER}
    plan = fleet.plan_register(platform, **order)
    assert len(plan.steps) == 6 and "Secret/cluster-berlin" in plan.steps[-1].target
    with pytest.raises(WaitTimeout, match=r"token of berlin not reached .* without a token"):
        register(platform, timeout_s=0.5)

    said: list[str] = []
    timer = issue(platform)
    outcome = register(platform, progress=said.append, timeout_s=20.0)
    timer.join()
    assert outcome.figures["changed"] and TOKEN not in f"{outcome} {plan} {said}"

    secret = kube.connect(platform).get("v1/secrets", "cluster-berlin", platform.argocd_namespace)
    plain = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert (plain["name"], plain["server"]) == ("berlin", SERVER)
    config = json.loads(plain["config"])
    assert config["bearerToken"] == TOKEN and base64.b64decode(config["tlsClientConfig"]["caData"]).startswith(b"---")
    labels = secret["metadata"]["labels"]
    assert labels["argocd.argoproj.io/secret-type"] == "cluster" and labels["apqx.dev/fleet"] == "true"

    assert fleet.plan_register(platform, **order).steps == ()
    assert not register(platform).figures["changed"]


def test_the_account_may_write_only_what_the_application_consists_of() -> None:
    (role,) = [obj for obj in rules.there() if obj["kind"] == "ClusterRole"]
    writing = [rule for rule in role["rules"] if set(rule["verbs"]) - {"get", "list", "watch"}]
    assert writing and all("*" not in rule["apiGroups"] + rule["resources"] for rule in writing)
    assert not any({"secrets", "clusterroles", "pods"} & set(rule["resources"]) for rule in writing)


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"context": "nowhere"}, SettingsError, "context 'nowhere' not readable"),
        ({"context": "elsewhere"}, GuardRefused, "not on the allow-list"),
        ({"name": "Berlin!"}, InvalidInput, "cluster name 'Berlin!'"),
        ({"server": ""}, InvalidInput, "cannot reach"),
        ({"server": "http://berlin:6443"}, InvalidInput, "expected an https address"),
        ({"context": "odd"}, InvalidInput, "no certificate authority"),
    ],
)
def test_what_could_not_work_is_refused_before_anything_is_made(
    platform: Platform, more: dict, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        register(platform, **{"name": "munich"} | more)
    assert kube.connect(platform).find("v1/secrets", "cluster-munich", platform.argocd_namespace) is None
