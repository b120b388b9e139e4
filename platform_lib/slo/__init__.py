"""Do we keep our promises? Objectives from git, their budget now, their alert rules, and how good those would be.

Which file answers your question?

    spec       the specification files (Sloth's format) and the rules generated from them
    live       budget, burn rate and the four rules at this moment; is an objective sound?
    history    counts over time, labelled incidents, and the back-test of the rules

The arithmetic is in ``rules.slo``, the form of the rules in ``rules.slorules``, the replay in ``rules.backtest``.
"""

from platform_lib.rules.slo import Objective, budget_burned, budget_left, burn_rate, time_to_exhaustion_s
from platform_lib.slo.history import Backtest, backtest, history, incidents
from platform_lib.slo.live import SloStatus, check, status
from platform_lib.slo.spec import load, one, parse, rule_files, rules_manifest

__all__ = [
    "Backtest",
    "Objective",
    "SloStatus",
    "backtest",
    "budget_burned",
    "budget_left",
    "burn_rate",
    "check",
    "history",
    "incidents",
    "load",
    "one",
    "parse",
    "rule_files",
    "rules_manifest",
    "status",
    "time_to_exhaustion_s",
]
