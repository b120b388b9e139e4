from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.embedded.protobuf import MAGIC, decode, readable_kinds
from platform_lib.errors import ApiError, Invalid


def varint(value):
    out = b""
    while True:
        byte, value = value & 0x7F, value >> 7
        out += bytes([byte | (0x80 if value else 0)])
        if not value:
            return out


def message(*fields):
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def body(api_version, kind, *fields):
    head = message((1, api_version), (2, kind))
    return MAGIC + message((1, head), (2, message(*fields)), (3, ""), (4, ""))


ZERO_META = (1, message((1, "x"), (2, ""), (3, ""), (4, ""), (5, ""), (6, ""), (7, 0), (8, message())))


def test_a_config_map():
    raw = body("v1", "ConfigMap", ZERO_META, (2, message((1, "a"), (2, "b"))), (3, message((1, "c"), (2, b"\xff"))))
    assert decode(raw) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "data": {"a": "b"},
        "binaryData": {"c": "/w=="},
    }


def test_zero_values_of_go_are_left_out_but_set_zeros_stay():
    spec = message((1, 0), (5, 0), (7, 0))
    found = decode(body("apps/v1", "Deployment", ZERO_META, (2, spec), (3, message((1, 0)))))
    assert found["spec"] == {"replicas": 0}
    assert "status" not in found


def test_numbers_or_names():
    port = message((1, "http"), (2, "TCP"), (3, 80), (4, message((1, 0), (2, 8080), (3, ""))), (5, 0))
    named = message((3, 81), (4, message((1, 1), (2, 0), (3, "web"))))
    found = decode(body("v1", "Service", ZERO_META, (2, message((1, port), (1, named)))))
    assert found["spec"]["ports"] == [
        {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080},
        {"port": 81, "targetPort": "web"},
    ]


def test_an_empty_api_group_in_a_list_is_kept():
    rule = message((1, "get"), (2, ""), (3, "pods"))
    found = decode(body("rbac.authorization.k8s.io/v1", "Role", ZERO_META, (2, rule)))
    assert found["rules"] == [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]


def test_content_in_an_unknown_field_is_refused_not_dropped():
    raw = body("v1", "ConfigMap", ZERO_META, (9, "something"))
    with pytest.raises(ApiError) as caught:
        decode(raw)
    assert (caught.value.status, caught.value.reason) == (415, "UnsupportedMediaType")
    assert "field 9 of v1/ConfigMap" in str(caught.value)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ApiError) as caught:
        decode(body("v1", "PodTemplate", ZERO_META))
    assert caught.value.status == 415
    assert "v1/Secret" in readable_kinds()


@pytest.mark.parametrize(
    "raw", [b"", b"{}", MAGIC + b"\x0a\x7f", MAGIC + b"\xff" * 20, MAGIC + b"\x0d\x00\x00\x00\x00"]
)
def test_damaged_bytes_are_a_bad_request(raw):
    with pytest.raises(Invalid) as caught:
        decode(raw)
    assert caught.value.status == 400


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_refusal_or_an_object(raw):
    try:
        assert isinstance(decode(MAGIC + raw), dict)
    except ApiError as error:
        assert error.status in (400, 415)
