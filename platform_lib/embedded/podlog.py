"""Where does ``pods/log`` come from? From the node agent that runs the pod, passed on as it is written."""

from __future__ import annotations

import aiohttp
from aiohttp import web

from platform_lib.embedded import refusals
from platform_lib.embedded.kubelets import Kubelets
from platform_lib.model import Obj

_PASSED_ON = ("follow", "previous", "timestamps", "tailLines", "sinceSeconds", "sinceTime", "limitBytes")


class PodLog:
    """Passes logs on from the nodes."""

    def __init__(self, kubelets: Kubelets) -> None:
        self._kubelets = kubelets

    async def stream(self, request: web.BaseRequest, pod: Obj) -> web.StreamResponse:
        """Answer with the log of one container.

        Raises:
            Invalid: 400, which container is not clear, or it has not started.
            ApiError: 500, the node does not answer.
        """
        metadata = pod["metadata"]
        container = choose_container(pod, request.query.get("container", ""))
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            raise refusals.bad_request(f"pod {metadata['name']} does not have a host assigned")
        path = f"/containerLogs/{metadata['namespace']}/{metadata['name']}/{container}"
        wanted = {name: request.query[name] for name in _PASSED_ON if name in request.query}
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        try:
            async with self._kubelets.get(node, path, wanted) as source:
                if source.status != 200:
                    raise refusals.bad_request((await source.text())[:500].strip())
                await answer.prepare(request)
                async for chunk in source.content.iter_any():
                    await answer.write(chunk)
                await answer.write_eof()
        except (aiohttp.ClientError, TimeoutError) as error:
            if not answer.prepared:
                why = f"the node agent does not answer ({type(error).__name__})"
                raise refusals.internal(f"container log of node {node} - {why}; see kubectl get nodes") from error
            # The agent went away in the middle: what was sent stays true, the stream just ends.
            await answer.write_eof()
        return answer


def choose_container(pod: Obj, name: str) -> str:
    """Return the container meant; one may be left out only when there is just one.

    Raises:
        Invalid: 400, with the choices.
    """
    spec = pod.get("spec") or {}
    pod_name = pod["metadata"]["name"]
    names = [item["name"] for item in spec.get("containers") or ()]
    first = [item["name"] for item in spec.get("initContainers") or ()]
    if name:
        if name not in names + first:
            raise refusals.bad_request(f"container {name} is not valid for pod {pod_name}")
        return name
    if len(names) != 1:
        choices = f"choose one of: [{' '.join(names)}]"
        more = f" or one of the init containers: [{' '.join(first)}]" if first else ""
        raise refusals.bad_request(f"a container name must be specified for pod {pod_name}, {choices}{more}")
    return str(names[0])
