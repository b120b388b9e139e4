"""Syncs played through without a cluster: every object that is applied becomes what the play says."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from platform_lib.embedded.argocd import engine as e
from platform_lib.embedded.argocd.tasks import Task, order_tasks
from platform_lib.rules import manifests as m
from platform_lib.rules.health import HOOK_FINALIZER


def obj(kind, name, wave=0, **meta):
    api = "apps/v1" if kind == "Deployment" else "batch/v1" if kind == "Job" else "v1"
    annotations = {m.SYNC_WAVE_ANNOTATION: str(wave), **meta.pop("annotations", {})}
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": "n", "annotations": annotations, **meta},
    }


def apply(kind, name, wave=0, phase="Sync", *, hook=False, live=None, **meta):
    return Task(phase, wave, obj(kind, name, wave, **meta), live, hook=hook)


def gate(name, wave=0, *, ready):
    """A Service that is healthy when it is ready."""
    status = {"loadBalancer": {"ingress": [{}]}} if ready else {}
    return obj("Service", name, wave) | {"spec": {"type": "LoadBalancer"}, "status": status}


def ok(task):
    status = "Pruned" if task.prune else "Synced"
    return e.row_for(task, status, "done", e.SUCCEEDED if task.prune else e.RUNNING)


def bad(task, message="boom"):
    return e.row_for(task, "SyncFailed", message, e.FAILED)


def alive(tasks, **lives):
    """The tasks with their targets live; ``lives`` gives other forms by name."""
    return [replace(t, live=lives.get(t.key.name, t.live if t.prune else t.target)) for t in tasks]


def run(tasks, rows=None, outcome=ok):
    step = e.plan(tasks, rows or {})
    return step, e.conclude(tasks, step, [outcome(task) for task in step.run])


def test_a_single_wave_succeeds_right_after_the_apply():
    tasks = [apply("ConfigMap", "a"), apply("Service", "gate")]
    step, done = run(tasks)
    assert [t.key.name for t in step.run] == ["a", "gate"]
    assert step.final
    assert (done.phase, done.message) == ("Succeeded", "successfully synced (all tasks run)")
    assert {row.hook_phase for row in done.rows.values()} == {"Running"}


def test_nothing_to_do_succeeds():
    assert e.plan([], {}).message == "successfully synced (no more tasks)"


def test_the_next_wave_waits_for_health():
    tasks = order_tasks([apply("Service", "gate"), apply("ConfigMap", "later", 1)])
    step, done = run(tasks)
    assert [t.key.name for t in step.run] == ["gate"]
    assert (done.phase, done.message) == ("Running", "waiting for healthy state of /ConfigMap/later")
    waiting = e.plan(alive(tasks, gate=gate("gate", ready=False), later=None), done.rows)
    assert (waiting.run, waiting.message) == ((), "waiting for healthy state of /Service/gate")
    step, done = run(alive(tasks, gate=gate("gate", ready=True), later=None), waiting.rows)
    assert [t.key.name for t in step.run] == ["later"]
    assert done.phase == "Succeeded"


def test_several_that_are_waited_for_are_counted():
    tasks = order_tasks([apply("Service", "a"), apply("Service", "b"), apply("ConfigMap", "later", 1)])
    _, done = run(tasks)
    lives = {"a": gate("a", ready=False), "b": gate("b", ready=False), "later": None}
    assert (
        e.plan(alive(tasks, **lives), done.rows).message
        == "waiting for healthy state of /Service/a and 1 more resources"
    )


def test_a_degraded_object_fails_a_sync_with_waves():
    tasks = order_tasks([apply("Deployment", "web"), apply("ConfigMap", "later", 1)])
    _, done = run(tasks)
    stuck = obj("Deployment", "web") | {
        "status": {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}
    }
    step = e.plan(alive(tasks, web=stuck, later=None), done.rows)
    assert (step.phase, step.message) == ("Failed", "one or more synchronization tasks completed unsuccessfully")


def test_an_object_that_vanishes_while_waited_for_fails_the_sync():
    tasks = order_tasks([apply("Service", "gate"), apply("ConfigMap", "later", 1)])
    _, done = run(tasks)
    step = e.plan(alive(tasks, gate=None, later=None), done.rows)
    assert step.phase == "Failed"
    assert step.message.endswith("reason: Resource /Service/gate is missing, it might have been deleted")


def test_a_failed_apply_fails_the_sync_with_its_reasons():
    _, done = run([apply("ConfigMap", "a"), apply("Secret", "b")], outcome=bad)
    assert (done.phase, done.message) == ("Failed", "one or more objects failed to apply, reason: boom,boom")


def test_a_failure_runs_the_sync_fail_hooks_and_then_fails():
    tasks = [apply("ConfigMap", "a"), apply("Job", "alarm", phase="SyncFail", hook=True)]
    _, done = run(tasks, outcome=bad)
    assert done.failing
    assert [t.key.name for t in done.run] == ["alarm"]
    step = e.plan(tasks, done.rows)
    assert step.failing
    after = e.conclude(tasks, step, [ok(task) for task in step.run])
    assert after.phase == "Running"
    job = obj("Job", "alarm") | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    end = e.plan(alive(tasks, alarm=job), after.rows)
    assert (end.phase, end.message) == (
        "Failed",
        "one or more synchronization tasks completed unsuccessfully, reason: boom",
    )


def test_hooks_gate_even_the_last_wave_and_lose_their_finalizer():
    hook = apply("Job", "check", phase="PostSync", hook=True, finalizers=[HOOK_FINALIZER],
                 annotations={m.HOOK_DELETE_ANNOTATION: "HookSucceeded"})  # fmt: skip
    tasks = order_tasks([apply("ConfigMap", "a"), hook])
    _, done = run(tasks)
    assert done.message == "waiting for completion of hook batch/Job/check"
    step, done = run(alive(tasks, check=None), done.rows)
    assert [t.key.name for t in step.run] == ["check"]
    assert done.phase == "Running"
    complete = {**tasks[1].obj, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    end = e.plan(alive(tasks, check=complete), done.rows)
    assert (end.phase, end.message) == ("Succeeded", "successfully synced (no more tasks)")
    assert [m.name(hook) for hook in end.delete] == ["check"] == [m.name(hook) for hook in end.release]


def test_a_failed_hook_stops_the_sync():
    tasks = order_tasks([apply("Job", "before", phase="PreSync", hook=True), apply("ConfigMap", "a")])
    _, done = run(tasks)
    failed = {**tasks[0].obj, "status": {"conditions": [{"type": "Failed", "message": "exit 1"}]}}
    step = e.plan(alive(tasks, before=failed, a=None), done.rows)
    assert step.phase == "Failed"
    assert step.rows[tasks[0].id].message == "exit 1"


def test_termination_ends_running_hooks_and_undoes_nothing():
    tasks = order_tasks([apply("Job", "before", phase="PreSync", hook=True), apply("ConfigMap", "a")])
    _, done = run(tasks)
    end = e.terminate(alive(tasks, a=None), done.rows)
    assert (end.phase, end.message) == ("Failed", "Operation terminated")
    assert [m.name(gone) for gone in end.delete] == ["before"]


def test_the_next_wave_waits_for_pruned_objects_to_be_gone():
    old = Task("Sync", 0, None, obj("ConfigMap", "old"))
    tasks = order_tasks([old, apply("ConfigMap", "later", 1)])
    _, done = run(tasks)
    leaving = replace(old, live=obj("ConfigMap", "old", deletionTimestamp="2024-01-01T00:00:00Z"))
    assert e.plan([leaving, tasks[1]], done.rows).message == "waiting for deletion of /ConfigMap/old"
    assert [t.key.name for t in e.plan(tasks[1:], done.rows).run] == ["later"]


def test_rows_survive_the_resource():
    row = e.row_for(apply("Job", "j", phase="PreSync", hook=True), "Synced", "m", "Running")
    assert e.Row.from_json(row.to_json()) == row


waves = st.lists(st.tuples(st.integers(-2, 2), st.sampled_from(["ConfigMap", "Service", "Deployment"])), max_size=12)


@given(waves, st.randoms())
def test_every_sync_of_healthy_objects_ends_and_never_runs_a_wave_early(items, random):
    tasks = order_tasks(apply(kind, f"o{i}", wave) for i, (wave, kind) in enumerate(items))
    rows, live, ran = {}, {}, []
    for _ in range(50):
        now = [replace(t, live=live.get(t.id)) for t in tasks]
        step = e.plan(now, rows)
        done = e.conclude(now, step, [ok(t) for t in step.run]) if step.run else step
        ran += [t.wave for t in step.run]
        live |= {t.id: healthy(t.obj) for t in step.run}
        rows = done.rows
        if done.phase != "Running":
            break
    assert done.phase == "Succeeded"
    assert ran == sorted(wave for wave, _ in items)


def healthy(target):
    return {**target, "status": {"replicas": 0, "observedGeneration": 1}, "spec": {"replicas": 0}}
