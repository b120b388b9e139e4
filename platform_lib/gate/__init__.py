"""May this version stay? Deploy it under load, judge it while it rolls out, take it back when the evidence says so.

``deploy`` is the gate. ``rehearse`` is the same gate with a version that is known to be bad: there, finding it
and taking it back is the pass. ``detection`` says when a fault could be seen and was, ``proof`` what shows that
users have their service back, ``record`` what a caller gets.

A verdict is one of four, and only one of them changes anything back:

- ``pass``: the version stays.
- ``fail``: the version is reverted in git, the recovery is proven by the probe, and all of it is timed.
- ``not_enough_data``: the version stays; the reason names what would be enough.
- ``inconclusive``: the version stays; for example when the service was failing before the change already.
"""

from platform_lib.gate.detection import Detection, detect
from platform_lib.gate.live import deploy
from platform_lib.gate.record import GateRecord, headline
from platform_lib.gate.rehearsal import rehearse

__all__ = ["Detection", "GateRecord", "deploy", "detect", "headline", "rehearse"]
