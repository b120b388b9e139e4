"""How does a request reach an API server? By the official client: TLS, kubeconfig, every kind of credentials.

Only its transport is used. It tells nobody when an exec plugin failed and goes on without credentials; here that is
an error with the plugin's own words.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from platform_lib import errors, redact
from platform_lib.wire import kubeconfig as kubeconfig_
from platform_lib.wire.kubeerrors import Origin


def transport(kubeconfig: Path, context: str, *, ours: bool) -> tuple[Callable[..., Any], Origin]:
    """Return the request function of the official dynamic client, without its discovery calls, and whom it asks."""
    import urllib3
    from kubernetes import client, config
    from kubernetes.dynamic import DynamicClient

    from platform_lib.wire.registry import is_loopback

    found = kubeconfig_.entry([kubeconfig], context)
    configuration = client.Configuration()
    try:
        config.load_kube_config(str(kubeconfig), context=context, client_configuration=configuration)
    except (config.ConfigException, OSError, ValueError) as error:
        raise errors.SettingsError(
            f"kubeconfig {kubeconfig} - context {context!r} cannot be used: {error}",
            hint="kubectl config view shows what it holds; apqx status names the kubeconfig in use",
        ) from error
    if found.bodies[2].get("exec") and not (configuration.api_key or configuration.cert_file):
        raise _plugin_failed(found)
    if not found.bodies[1].get("proxy-url") and is_loopback(urlsplit(found.server).netloc):
        configuration.proxy = None  # as kubectl does: HTTPS_PROXY is not for loopback, with or without NO_PROXY
    # A refused connection is tried again at once; an answer, whatever its status, is never repeated.
    configuration.retries = urllib3.Retry(
        total=2,
        connect=2,
        read=1,
        status=0,
        redirect=0,
        backoff_factor=0.05,
        respect_retry_after_header=False,
    )
    dynamic = DynamicClient(client.ApiClient(configuration), discoverer=lambda *_: None)
    request: Callable[..., Any] = dynamic.request
    return request, Origin(found.context, found.server, found.user, found.credentials, ours)


def _plugin_failed(found: kubeconfig_.Entry) -> errors.SettingsError:
    """Return why an exec plugin gave no credentials; the client only logs it, so the plugin is asked once more."""
    from kubernetes.config.exec_provider import ExecProvider
    from kubernetes.config.kube_config import ConfigNode

    cluster = ConfigNode("cluster", found.bodies[1])
    try:
        ExecProvider(ConfigNode("exec", found.bodies[2]["exec"]), str(found.files[2].parent), cluster).run()
        why = "answered without a token or certificate"
    except Exception as error:  # whatever plugin or package did, the reader has to see it
        why = redact.of_process().scrub(" ".join(str(error).split()))[:300]
    return errors.SettingsError(
        f"{found.credentials} of user {found.user!r} (context {found.context!r}) - {why}, expected credentials",
        hint="log in again with that tool, then try once more",
    )
