"""How is one drill carried out, step by step, and what is kept of it however it ends?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from platform_lib import journal
from platform_lib.drills import chaostoolkit, judge, measure, score, steady, undo
from platform_lib.drills.faults import Fault
from platform_lib.drills.faults.base import OnApp
from platform_lib.drills.scenario import Scenario
from platform_lib.drills.watch import Watch
from platform_lib.errors import DrillAborted, PlatformError, UndoFailed
from platform_lib.model import App, Check, Outcome, Platform, ProbeResult, Verdict, to_json
from platform_lib.rules.downtime import Samples
from platform_lib.settings import settings
from platform_lib.wait import Deadline, monotonic, now, pause
from platform_lib.wire.probe import Probe, start_probe

Progress = Callable[[str], None]
WARMUP_S = 3.0
SETTLE_S = 2.0
LOOK_S = 0.1
NOTICE_S = 10.0
"""An operator acts only on what was noticed; a fault that nobody notices is acted on after this."""

_ENDED: dict[str, chaostoolkit.Status] = {
    "aborted": "aborted",
    "interrupted": "interrupted",
    "undo_failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What a drill that came to its end left."""

    outcome: Outcome
    verdict: Verdict
    probe: ProbeResult
    samples: Any
    marks: list[tuple[str, datetime]]
    result: score.Result


class Conduct:
    """One drill on one fault.

    Args:
        platform: Where.
        app: Whose service is measured.
        drill: The scenario.
        fault: Its chosen fault.
        rate_rps: Probe rate.
        timeout_s: Deadline for the recovery.
        batch: Joins drills in the score; default is the drill's own id.
        progress: Receives one line per step.
    """

    def __init__(
        self,
        platform: Platform,
        app: App,
        drill: Scenario,
        fault: Fault,
        *,
        rate_rps: float,
        timeout_s: float,
        batch: str,
        progress: Progress,
    ) -> None:
        self.platform, self.app, self.drill, self.fault = platform, app, drill, fault
        self.rate_rps, self.timeout_s, self.progress = rate_rps, timeout_s, progress
        self.objective = measure.Objective()
        self.started = now()
        self.id = f"{self.started:%Y%m%dT%H%M%S.%fZ}-{drill.name}"
        self.batch = batch or self.id
        self.log = chaostoolkit.Record(drill, fault.target(), platform=platform.name, app=app.name)
        self.marks: list[tuple[str, datetime]] = []
        self.timed_out, self.own, self._clock = "", False, monotonic()
        self.after: tuple[Check, ...] = ()
        self.watch: Watch | None = None
        self.probe: Probe | None = None

    def run(self) -> Found:
        """Carry the drill out; whatever happens, the fault is undone and a result is kept."""
        before = steady.require(self.platform, self.app, self.drill)
        self.log.steady("before", before)
        try:
            with undo.terminable():
                self._measured()
        except UndoFailed as error:
            self._end("undo_failed", error.message)
            raise
        except PlatformError as error:
            self._end("aborted", error.message)
            raise
        except KeyboardInterrupt:
            self._end("interrupted", "interrupted by the operator; the fault is undone")
            raise
        return self._finish()

    # -- the drill ---------------------------------------------------------------------------------------

    def _measured(self) -> None:
        """Strike while probe and watch run; verify the steady state after the undo."""
        self.probe = start_probe(self.platform, self.app, rate_rps=self.rate_rps)
        self.watch = Watch(self.platform, self.app, self.drill, self.fault.target())
        with self.probe, self.watch:
            self.progress(f"steady state holds; probing at {self.rate_rps:g} requests/s")
            pause(WARMUP_S)
            self._strike(self.watch, self.probe)
            self.progress("verifying the steady state")
            self.after = steady.again(self.platform, self.app, self.drill, self.timeout_s)
            self.log.steady("after", self.after)
            pause(SETTLE_S)

    def _strike(self, watch: Watch, probe: Probe) -> None:
        """Inject, restore, wait for the recovery; undo whatever happens."""
        entry = undo.entry_of(self.id, self.drill.name, self.drill.fault, self.fault, self.platform, self.app)
        home = self.platform.home
        undo.register(entry, home)
        try:
            with self.log.activity("prepare"):
                self.fault.prepare()
            entry = undo.renew(entry, self.fault, home)
            self._inject(watch)
            deadline = Deadline(self.timeout_s)
            self._hold(watch)
            self._restore()
            self._wait_recovered(watch, deadline)
            self._wait_service(watch, probe, deadline)
            self.log.steady("during", self._guarded(watch))
        finally:
            self.progress(f"undo: {self.drill.undo.text}")
            with self.log.activity("undo", rollback=True):
                undo.carry_out(entry, self.fault, home, self.drill.undo.text)

    def _inject(self, watch: Watch) -> None:
        """Break it; from here on, differences count."""
        self.progress(f"fault: {self.drill.title}")
        self._mark("fault", action=self.drill.fault.action, incident="opened")
        watch.arm()
        with self.log.activity("inject"):
            self.fault.inject()
        self._mark("injected")

    def _hold(self, watch: Watch) -> None:
        """Leave the fault alone as long as the scenario says; an operator must also have noticed it."""
        clock = Deadline(max(self.drill.limits.hold_s, NOTICE_S))
        while True:
            self._guard(watch)
            noticed = not self._operated or self._noticed(watch)
            if clock.waited_s >= self.drill.limits.hold_s and (noticed or clock.expired()):
                return
            pause(LOOK_S)

    def _restore(self) -> None:
        """Do what an operator does; the decision is the moment it begins."""
        if self._operated:
            self._mark("decided", by="operator")
        with self.log.activity("restore"):
            self.fault.restore(self.progress)

    def _wait_recovered(self, watch: Watch, deadline: Deadline) -> None:
        """Look until the fault struck and is over, or the deadline passed."""
        last = ""
        with self.log.activity("recover") as entry:
            while True:
                self._guard(watch)
                done, seen = self._look()
                if seen != last:
                    self.progress(seen)
                entry["output"] = last = seen
                self.own = self.own or not done
                if done:
                    self._mark("recovered", seen=seen, incident="mitigated")
                    return
                if deadline.expired():
                    self.timed_out = seen
                    return
                pause(LOOK_S)

    def _wait_service(self, watch: Watch, probe: Probe, deadline: Deadline) -> None:
        """Look until clients get answers in a row after the recovery; that verifies it."""
        if self.timed_out:
            return
        since = dict(self.marks)["recovered"]
        while True:
            self._guard(watch)
            good = probe.samples(since=since).good[-measure.GOOD_IN_A_ROW :]
            if len(good) == measure.GOOD_IN_A_ROW and good.all():
                self._mark("verified", incident="resolved")
                return
            if deadline.expired():
                self.timed_out = f"the service does not answer {measure.GOOD_IN_A_ROW} times in a row"
                return
            pause(LOOK_S)

    # -- looks -------------------------------------------------------------------------------------------

    @property
    def _operated(self) -> bool:
        """Whether somebody has to restore: the fault brings an action of its own."""
        return getattr(type(self.fault), "restore", None) is not OnApp.restore

    def _look(self) -> tuple[bool, str]:
        """Ask the fault whether it is over; no answer is a no."""
        try:
            return self.fault.recovered()
        except PlatformError as error:
            return False, error.message

    def _noticed(self, watch: Watch) -> bool:
        """Whether somebody noticed, and every eye that must be shut was found shut."""
        return watch.detected() is not None and set(self.drill.expect.blind) <= set(watch.notes.blind)

    def _guard(self, watch: Watch) -> None:
        """Note who noticed; stop when something outside the drill broke.

        Raises:
            DrillAborted: A safeguard was breached; the fault is undone on the way out.
        """
        found = watch.detected()
        if found is not None and "detected" not in dict(self.marks):
            self._mark("detected", moment=found[0], by=found[1], seen=found[2], incident="detected")
        if watch.breach:
            self.log.steady("during", self._guarded(watch))
            raise DrillAborted(
                f"drill {self.drill.name} - stopped: {watch.breach}", hint="see apqx status", undone=True
            )

    def _guarded(self, watch: Watch) -> tuple[Check, ...]:
        """Say for each safeguard whether it held."""
        troubles = dict(watch.notes.trouble)
        return tuple(
            Check(name, "fail" if name in troubles else "pass", troubles[name][1] if name in troubles else "fine",
                  "must not break", "")
            for name in self.drill.safeguards
        )  # fmt: skip

    def _mark(self, name: str, *, incident: str = "", moment: datetime | None = None, **data: Any) -> None:
        """Note a moment, in the journal too; a drill is an incident that somebody made."""
        at, record, app = moment or now(), journal.current(), self.app.name
        self.marks.append((name, at))
        record.append("drill", name, self.drill.name, cause=self.id, at=at, **data)
        if incident:
            record.append("incident", incident, app, cause=self.id, at=at, incident=self.id, service=app)

    # -- what is kept ------------------------------------------------------------------------------------

    def _finish(self) -> Found:
        """Judge and keep a drill that came to its end."""
        assert self.watch is not None and self.probe is not None
        samples, figures = self._figures()
        noticed = {source: seen for source, (_, seen) in self.watch.notes.noticed.items()} | self._client(samples)
        evidence = judge.Evidence(
            figures, noticed, self.own and not self.timed_out, self.watch.blind_s(), self.timed_out, self.after,
            self.fault.checks(),
        )  # fmt: skip
        verdict = judge.judge(self.drill, evidence, self.timeout_s)
        journal.current().append(
            "drill", "measured", self.drill.name, cause=self.id, figures=figures, verdict=verdict.status
        )
        outcome = Outcome(
            operation=f"drill {self.drill.name}",
            ok=verdict.ok,
            started_at=self.started,
            finished_at=now(),
            figures=figures,
            message=f"{self.drill.title}: {verdict.reason}",
            verdict=verdict,
        )
        result = self._keep(verdict.status, verdict.reason, figures, verdict.checks, samples)
        return Found(outcome, verdict, self.probe.result(), self.probe.frame(), self._ordered(), result)

    def _figures(self) -> tuple[Samples, dict[str, Any]]:
        """Measure from all samples; who noticed first may turn out only now."""
        assert self.watch is not None and self.probe is not None
        samples, marks = self.probe.samples(), dict(self.marks)
        seen = [one for one in (self.watch.detected(), *self._first_client(samples)) if one is not None]
        if seen:
            first = min(seen)
            marks["detected"] = first[0]
        reacted = self.watch.notes.reacted
        if reacted is not None and "decided" not in marks:
            marks["decided"] = reacted[0]
        self.marks = list(marks.items())
        figures = {
            "scenario": self.drill.name,
            **measure.figures(samples, marks, rate_rps=self.rate_rps, objective=self.objective),
            "detected_by": min(seen)[1] if seen else None,
            "blind_s": self.watch.blind_s(),
            **self.fault.figures(marks["fault"]),
            "total_s": round(monotonic() - self._clock, 3),
        }
        return samples, figures

    def _first_client(self, samples: Samples) -> list[tuple[datetime, str, str]]:
        """When a client noticed, as the watch would say it."""
        found = measure.client_noticed(samples, dict(self.marks)["fault"])
        return [] if found is None else [(found[0], "probe", found[1])]

    def _client(self, samples: Samples) -> dict[str, str]:
        """What a client noticed, by source."""
        return {source: seen for _, source, seen in self._first_client(samples)}

    def _ordered(self) -> list[tuple[str, datetime]]:
        """Moments in the order of time."""
        return sorted(self.marks, key=lambda mark: mark[1])

    def _end(self, status: score.Status, reason: str) -> None:
        """Keep a drill that did not come to its end: what had been measured until then counts."""
        figures: dict[str, Any] = {}
        samples = self.probe.samples() if self.probe is not None else None
        if samples is not None and "fault" in dict(self.marks) and self.watch is not None:
            samples, figures = self._figures()
        self._keep(status, reason, figures, (), samples)

    def _note_blindness(self) -> None:
        """Record which source was blind, from when to when."""
        for witness, spans in dict(self.watch.notes.blind if self.watch else {}).items():
            for start, end in spans:
                journal.current().append(
                    "drill", "blind", self.drill.name, cause=self.id, at=start, witness=witness, until=end
                )

    def _keep(
        self,
        status: score.Status,
        reason: str,
        figures: dict[str, Any],
        checks: tuple[Check, ...],
        samples: Samples | None,
    ) -> score.Result:
        """Write the result and the journal other tools read."""
        self._note_blindness()
        if status in _ENDED and status != "undo_failed":
            journal.current().append("drill", "aborted", self.drill.name, cause=self.id, reason=reason)
        self.log.status = _ENDED.get(status, "completed")
        fault = dict(self.marks).get("fault")
        drill = self.drill
        result = score.Result(
            id=self.id,
            batch=self.batch,
            scenario=drill.name,
            title=drill.title,
            why=drill.why,
            expected=drill.expect.text,
            weight=drill.weight,
            status=status,
            reason=reason,
            proved=score.proof(drill.expect.text, status, reason, figures),
            started_at=to_json(self.started),
            finished_at=to_json(now()),
            figures=to_json(figures),
            checks=[asdict(check) for check in checks],
            marks=[(name, round((at - fault).total_seconds(), 3)) for name, at in self._ordered()] if fault else [],
            bins=measure.bins(samples, fault) if samples is not None and fault else [],
            platform=self.platform.name,
        )
        score.keep(result, self.platform.home)
        document = self.log.document(deviated=status == "fail", figures=figures)
        chaostoolkit.write(document, self.platform.home / "drills" / "journals" / self.id)
        run_dir = settings().run_dir
        if run_dir is not None:
            chaostoolkit.write(document, run_dir)
        return result
