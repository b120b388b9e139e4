# ruff: noqa: E501
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from platform_lib.embedded.argocd.tasks import PHASES, Task, hook_tasks, order_tasks
from platform_lib.rules import manifests as m


def obj(kind, name="x", *, api="v1", ns="", wave=None, **annotations):
    found = {k.replace("__", "/"): v for k, v in annotations.items()}
    if wave is not None:
        found[m.SYNC_WAVE_ANNOTATION] = str(wave)
    meta = {"name": name} | ({"namespace": ns} if ns else {}) | ({"annotations": found} if found else {})
    return {"apiVersion": api, "kind": kind, "metadata": meta}


def apply(target, phase="Sync", live=None):
    return Task(phase, m.sync_wave(target), target, live)


def prune(live):
    return Task("Sync", m.sync_wave(live), None, live)


def shape(tasks):
    return [(t.phase, t.wave, t.key.kind, t.key.name, t.prune) for t in tasks]


def test_phase_goes_before_wave_before_kind_before_name():
    tasks = [
        apply(obj("Deployment", "a")),
        apply(obj("ConfigMap", "b")),
        apply(obj("ConfigMap", "a")),
        apply(obj("Pod", "p", wave=-1)),
        apply(obj("Pod", "p"), "PostSync"),
        apply(obj("Pod", "p", wave=9), "PreSync"),
    ]
    assert [(t.phase, t.wave, t.key.kind, t.key.name) for t in order_tasks(tasks)] == [
        ("PreSync", 9, "Pod", "p"),
        ("Sync", -1, "Pod", "p"),
        ("Sync", 0, "ConfigMap", "a"),
        ("Sync", 0, "ConfigMap", "b"),
        ("Sync", 0, "Deployment", "a"),
        ("PostSync", 0, "Pod", "p"),
    ]


def test_a_namespace_adopts_phase_and_wave_of_its_first_user():
    tasks = [apply(obj("Namespace", "n", wave=5)), apply(obj("Job", "j", ns="n"), "PreSync")]
    assert shape(order_tasks(tasks)) == [
        ("PreSync", 0, "Namespace", "n", False),
        ("PreSync", 0, "Job", "j", False),
    ]


def test_a_definition_adopts_the_wave_of_its_first_object():
    crd = obj("CustomResourceDefinition", "r.x.io", api="apiextensions.k8s.io/v1", wave=3)
    crd["spec"] = {"group": "x.io", "names": {"kind": "R"}}
    first, second = order_tasks([apply(crd), apply(obj("R", "r", api="x.io/v1", ns="n", wave=1))])
    assert (first.key.kind, first.wave, second.wave) == ("CustomResourceDefinition", 1, 1)


def test_prune_waves_are_mirrored():
    waves = order_tasks([prune(obj("ConfigMap", f"w{wave}", wave=wave)) for wave in (0, 1, 5)])
    assert [(t.key.name, t.wave) for t in waves] == [("w5", 0), ("w1", 1), ("w0", 5)]


def test_prune_last_comes_after_everything():
    late = prune(obj("ConfigMap", "old", wave=-3))
    ordered = order_tasks([late, apply(obj("Pod", "p", wave=4))], prune_last=True)
    assert [(t.key.name, t.wave) for t in ordered] == [("p", 4), ("old", 5)]


def test_one_object_can_ask_to_be_pruned_last():
    asked = prune(obj("ConfigMap", "asked", argocd__x="") | {})
    asked.live["metadata"]["annotations"] = {m.SYNC_OPTIONS_ANNOTATION: "PruneLast=true"}
    ordered = order_tasks([asked, prune(obj("ConfigMap", "other")), apply(obj("Pod", "p", wave=-2))])
    assert [t.key.name for t in ordered] == ["p", "other", "asked"]


def test_a_hook_runs_once_in_each_of_its_phases_under_its_own_name():
    hook = {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"generateName": "Check-", "annotations": {
        m.HOOK_ANNOTATION: "PreSync, PostSync,Wrong", m.TRACKING_ANNOTATION: "app:batch/Job:n/"}}}  # fmt: skip
    tasks = hook_tasks([hook], lambda key: None, revision="0123456789", started_at_unix=7)
    assert [(t.phase, t.key.name) for t in tasks] == [
        ("PreSync", "Check-0123456-presync-7"),
        ("PostSync", "Check-0123456-postsync-7"),
    ]
    assert m.tracked_by(tasks[0].obj | {}) == "app"


def test_skipped_objects_make_no_task():
    assert hook_tasks([obj("Pod", argocd_x="") | {"metadata": {"name": "x", "annotations": {m.HOOK_ANNOTATION: "Skip"}}}],
                      lambda key: None, revision="r", started_at_unix=0) == []  # fmt: skip


kinds = st.sampled_from(["Namespace", "ConfigMap", "Deployment", "Service", "Zebra"])
some_tasks = st.lists(
    st.builds(
        lambda kind, name, ns, wave, phase, pruned: (
            prune(obj(kind, name, ns=ns, wave=wave)) if pruned else apply(obj(kind, name, ns=ns, wave=wave), phase)
        ),
        kinds, st.text("abc", min_size=1, max_size=2), st.sampled_from(["", "a", "b"]),
        st.integers(-3, 3), st.sampled_from(PHASES), st.booleans(),
    ),
    max_size=15,
    unique_by=lambda task: task.id,
)  # fmt: skip


@given(some_tasks)
def test_ordering_keeps_every_task_and_never_steps_back(tasks):
    ordered = order_tasks(tasks)
    assert sorted(t.key for t in ordered) == sorted(t.key for t in tasks)
    steps = [t.step for t in ordered]
    assert steps == sorted(steps)


@given(some_tasks)
def test_a_namespace_is_never_applied_after_its_users(tasks):
    ordered = [t for t in order_tasks(tasks) if not t.prune]
    for index, task in enumerate(ordered):
        if task.key.kind == "Namespace" and task.key.group == "":
            assert all(before.key.namespace != task.key.name or before.key.kind == "Namespace"
                       for before in ordered[:index])  # fmt: skip


@given(some_tasks, st.randoms())
def test_the_order_does_not_depend_on_the_input_order(tasks, random):
    shuffled = list(tasks)
    random.shuffle(shuffled)
    assert [(t.id, t.step) for t in order_tasks(shuffled)] == [(t.id, t.step) for t in order_tasks(tasks)]
