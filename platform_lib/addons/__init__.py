"""Which optional parts does a platform have, and how are they switched? By a commit, like everything else.

On means that ``gitops/apps`` of the platform's repository holds the add-on's Applications, which the root Application
reads anyway; neither bootstrap knows of add-ons. Which file answers your question?

    look      the catalogue, and where each add-on stands
    plan      what a switch would change, and why it may not be turned
    switch    the commit, and the wait for what follows

What may be switched where is decided in ``rules.addons``.
"""

from platform_lib.addons.look import Seen, catalogue, frame, look, state, verify
from platform_lib.addons.plan import plan_disable, plan_enable
from platform_lib.addons.switch import disable, enable

__all__ = [
    "Seen",
    "catalogue",
    "disable",
    "enable",
    "frame",
    "look",
    "plan_disable",
    "plan_enable",
    "state",
    "verify",
]
