"""What k3d is told: complete, on loopback, and valid by k3d's own schema."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.errors import SettingsError
from platform_lib.providers.k3d import config
from platform_lib.sections import K3dSettings
from platform_lib.settings import Settings, settings

SCHEMA = json.loads((Path(__file__).parent / "k3d-v1alpha5.schema.json").read_text())


def made(**k3d: Any) -> Settings:
    return settings(cluster_name="lab", k3d=K3dSettings(**k3d))


def valid(document: dict[str, Any]) -> None:
    """Check as k3d does, and as it reads the file: after YAML."""
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load(config.to_yaml(document)))


def test_the_default_is_the_promised_cluster() -> None:
    document = config.render(made())
    valid(document)
    assert (document["apiVersion"], document["kind"]) == ("k3d.io/v1alpha5", "Simple")
    assert (document["servers"], document["agents"]) == (1, 2)
    assert document["image"] == "docker.io/rancher/k3s:v1.35.5-k3s1"
    ports = {entry["port"]: entry["nodeFilters"] for entry in document["ports"]}
    wanted = ("127.0.0.1:8080:80", "127.0.0.1:8443:443", "127.0.0.1:9100:9100", "127.0.0.1:9090:9090")
    assert ports == {port: ["loadbalancer"] for port in wanted}
    assert document["options"]["kubeconfig"] == {"updateDefaultKubeconfig": False, "switchCurrentContext": False}
    assert document["options"]["k3d"] == {"wait": True, "timeout": "300s"}


def test_nothing_listens_beyond_loopback() -> None:
    document = config.render(made())
    assert document["kubeAPI"]["hostIP"] == "127.0.0.1"
    assert document["registries"]["create"]["host"] == "127.0.0.1"
    assert all(entry["port"].startswith("127.0.0.1:") for entry in document["ports"])


def test_traefik_gets_its_metrics_port_by_a_helm_chart_config() -> None:
    entry = config.render(made())["files"][0]
    assert entry["destination"].startswith("/var/lib/rancher/k3s/server/manifests/")
    assert entry["nodeFilters"] == ["server:*"]
    assert "\n" in entry["source"], "k3d takes one line for the name of a file"
    manifest = yaml.safe_load(entry["source"])
    assert (manifest["kind"], manifest["metadata"]) == (
        "HelmChartConfig",
        {"name": "traefik", "namespace": "kube-system"},
    )
    values = yaml.safe_load(manifest["spec"]["valuesContent"])
    assert values["ports"]["metrics"] == {"port": 9100, "exposedPort": 9100, "expose": {"default": True}}


def test_the_images_outlive_the_cluster_in_a_named_volume() -> None:
    registry = config.render(made(registry_port=5999, registry_image="mirror.example/registry:2"))["registries"]
    assert registry["create"] == {
        "name": "k3d-lab-registry",
        "host": "127.0.0.1",
        "hostPort": "5999",
        "volumes": ["k3d-lab-registry-data:/var/lib/registry"],
        "image": "mirror.example/registry:2",
    }


def test_every_setting_arrives() -> None:
    document = config.render(
        made(
            servers=3,
            agents=0,
            servers_memory="2g",
            extra_args=("--disable=metrics-server", "--node-label=a=b@agent:0;agent:1"),
            volumes=("/data:/data", "/x:/y@agent:*"),
        )
    )
    valid(document)
    assert (document["servers"], document["agents"]) == (3, 0)
    assert document["options"]["runtime"] == {"serversMemory": "2g"}
    assert document["options"]["k3s"]["extraArgs"] == [
        {"arg": "--disable=metrics-server", "nodeFilters": ["server:*"]},
        {"arg": "--node-label=a=b", "nodeFilters": ["agent:0", "agent:1"]},
    ]
    assert document["volumes"] == [
        {"volume": "/data:/data", "nodeFilters": ["all"]},
        {"volume": "/x:/y", "nodeFilters": ["agent:*"]},
    ]


@given(
    servers=st.integers(1, 9),
    agents=st.integers(0, 32),
    port=st.integers(20000, 29999),
    memory=st.sampled_from(["", "512m", "4G"]),
    args=st.lists(st.from_regex(r"--[a-z]{1,9}=[a-z]{1,9}(@(server|agent):(\*|[0-9]))?", fullmatch=True), max_size=3),
)
def test_whatever_the_settings_allow_is_valid(
    servers: int, agents: int, port: int, memory: str, args: list[str]
) -> None:
    valid(
        config.render(
            made(servers=servers, agents=agents, registry_port=port, agents_memory=memory, extra_args=tuple(args))
        )
    )


def test_the_schema_refuses_what_k3d_would_refuse() -> None:
    document = config.render(made())
    with pytest.raises(jsonschema.ValidationError):
        valid(document | {"worker": 2})
    with pytest.raises(jsonschema.ValidationError):
        valid(document | {"kubeAPI": {"hostPort": 6443}})


def test_two_services_on_one_port_are_named() -> None:
    with pytest.raises(SettingsError, match=r"APQX_K3D_REGISTRY_PORT - 8080 is also APQX_PORT_WEB"):
        config.render(made(registry_port=8080))


@pytest.mark.parametrize("text", ["@server:*", "--a=b@", "--a=b@server:*;"])
def test_a_filter_without_a_value_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="expected VALUE or VALUE@FILTER"):
        config.render(made(extra_args=(text,)))


def test_differences_name_the_field_and_both_values() -> None:
    before, after = config.render(made()), config.render(made(agents=3, create_timeout_s=600))
    assert config.differences(before, after) == ["agents is 2, wanted 3"]
    assert config.differences(before, before) == []
    added = config.render(made(servers_memory="1g"))
    assert config.differences(before, added) == ["options.runtime.serversMemory is absent, wanted 1g"]


def test_the_file_says_the_same_as_the_document() -> None:
    document = config.render(made(volumes=("/a:/b",)))
    assert yaml.safe_load(config.to_yaml(document)) == document


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("APQX_K3D_IMAGE", "rancher/k3s:latest", "not one that moves"),
        ("APQX_K3D_IMAGE", "rancher/k3s", "APQX_K3D_IMAGE"),
        ("APQX_K3D_SERVERS", "0", "APQX_K3D_SERVERS"),
        ("APQX_K3D_AGENTS", "two", "APQX_K3D_AGENTS"),
        ("APQX_K3D_AGENTS_MEMORY", "lots", "APQX_K3D_AGENTS_MEMORY"),
        ("APQX_K3D_SERVER", "1", "did you mean APQX_K3D_SERVERS"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=said):
        settings()


def test_table_and_variables_say_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "apqx.toml").write_text("[k3d]\nagents = 4\nregistry_port = 5123\n")
    assert (settings().k3d.agents, settings().k3d.registry_port) == (4, 5123)
    monkeypatch.setenv("APQX_K3D_AGENTS", "1")
    assert (settings().k3d.agents, settings().k3d.registry_port) == (1, 5123)
