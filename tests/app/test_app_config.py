from __future__ import annotations

import pytest
from sample_app.config import ConfigError, Faults, load


def test_an_empty_environment_gives_the_defaults_with_every_fault_off():
    settings = load({})
    assert (settings.bind_address, settings.port, settings.faults) == ("0.0.0.0", 8080, Faults())
    assert settings.keepalive_s > 1, "must outlive the idle time of the proxy in front"


def test_empty_values_mean_the_default():
    assert load({"PORT": "", "FAULT_ERROR_RATIO": " ", "BIND_ADDRESS": ""}) == load({})


def test_every_variable_is_read():
    settings = load(
        {
            "BIND_ADDRESS": "127.42.1.10",
            "PORT": "8181",
            "THREADS": "4",
            "POD_NAME": "p",
            "POD_NAMESPACE": "n",
            "NODE_NAME": "node",
            "IMAGE_DIGEST": f"sha256:{'0a' * 32}",
            "DRAIN_S": "1.5",
            "GRACEFUL_S": "30",
            "KEEPALIVE_S": "60",
            "FAULT_ERROR_RATIO": "0.25",
            "FAULT_LATENCY_MS": "150",
            "FAULT_NEVER_READY": "true",
            "FAULT_CRASH_AFTER_S": "3",
            "FAULT_LEAK_MB_PER_S": "8",
        }
    )
    assert (settings.bind_address, settings.port, settings.threads) == ("127.42.1.10", 8181, 4)
    assert (settings.pod, settings.namespace, settings.node) == ("p", "n", "node")
    assert (settings.drain_s, settings.graceful_s, settings.keepalive_s) == (1.5, 30, 60)
    assert settings.faults == Faults(0.25, 150, True, 3, 8)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("FAULT_ERROR_RATIO", "1.5", "from 0 to 1"),
        ("FAULT_ERROR_RATIO", "-0.1", "from 0 to 1"),
        ("FAULT_ERROR_RATIO", "nan", "from 0 to 1"),
        ("FAULT_ERROR_RATIO", "half", "from 0 to 1"),
        ("FAULT_LATENCY_MS", "inf", "from 0 to 60000"),
        ("FAULT_NEVER_READY", "maybe", "true or false"),
        ("FAULT_CRASH_AFTER_S", "-1", "from 0 to 86400"),
        ("FAULT_LEAK_MB_PER_S", "1e9", "from 0 to 1024"),
        ("PORT", "0", "a whole number from 1 to 65535"),
        ("PORT", "80.5", "a whole number"),
        ("BIND_ADDRESS", "localhost", "an IPv4 or IPv6 address"),
        ("IMAGE_DIGEST", "latest", "64 hexadecimal digits"),
    ],
)
def test_an_unusable_value_is_refused_with_its_name_and_what_is_wanted(name, value, wanted):
    with pytest.raises(ConfigError) as error:
        load({name: value})
    text = str(error.value)
    assert name in text
    assert value.lower() in text
    assert wanted in text
    assert "Deployment" in text, "the message must say where to correct it"
