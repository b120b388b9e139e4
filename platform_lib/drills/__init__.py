"""Disaster drills: scenario files (data), faults (actions), the engine (order and undo), measures (figures)."""

from platform_lib.drills.engine import DrillRecord, headline, plan_drill, run_drill
from platform_lib.drills.scenario import Scenario, load, names

__all__ = ["DrillRecord", "Scenario", "headline", "load", "names", "plan_drill", "run_drill"]
