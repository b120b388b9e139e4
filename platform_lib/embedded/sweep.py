"""How is everything ended at once, whoever still lives? For a drill that loses the cluster, and for repair.

Works from ``processes.json`` and the pods' own records, so it ends only processes of this platform.
"""

from __future__ import annotations

import signal

from platform_lib.embedded import identity as ids
from platform_lib.embedded.config import Config
from platform_lib.embedded.identity import Identity
from platform_lib.embedded.loop import Loop
from platform_lib.embedded.processes import kill_pods
from platform_lib.embedded.record import read_record

WAIT_S = 2.0


def sweep(config: Config) -> None:
    """Kill the guardian, the supervisor, every component and every pod, without a chance to react.

    Guardian and supervisor are frozen first: each would start the other again.
    """
    record = read_record(config)
    keepers = [Identity.from_json(record.get(name)) for name in ("guardian", "supervisor")]
    components = [Identity.from_json(c) for c in record.get("components", {}).values()]
    for keeper in keepers:
        ids.send(keeper, signal.SIGSTOP)
    everyone = [who for who in (*keepers, *components) if who is not None]
    for who in everyone:
        ids.send(who, signal.SIGKILL)
    for node in config.nodes:
        kill_pods(config, node.name)
    loop = Loop((), lambda _number: None)
    for who in everyone:
        loop.on_exit(who, lambda: None)
    loop.run(lambda: not any(map(ids.alive, everyone)), timeout_s=WAIT_S)
