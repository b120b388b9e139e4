"""What may somebody do? The reviews of authentication and authorization, computed and never stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from platform_lib.embedded import refusals
from platform_lib.embedded.auth import Attributes, Authenticator, Authorizer, User
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.metadata import check_type
from platform_lib.embedded.routes import Target
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.api import Api

_OPEN = frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"})
"""Reviews about oneself, which everybody may ask for."""


class Reviews:
    """Answers review requests."""

    def __init__(self, api: Api, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._api, self._authenticator, self._authorizer = api, authenticator, authorizer
        self._answers: dict[str, Callable[[Obj, Target, User], Obj]] = {
            "SelfSubjectAccessReview": self._own_access,
            "SubjectAccessReview": self._access,
            "LocalSubjectAccessReview": self._access,
            "SelfSubjectRulesReview": self._own_rules,
            "SelfSubjectReview": self._own_name,
            "TokenReview": self._token,
            "Binding": self._bind,
        }

    def is_open(self, target: Target, verb: str) -> bool:
        """Return whether everybody with a token may post this."""
        return verb == "create" and target.plural in _OPEN

    def create(self, kind: Kind, target: Target, body: Obj, user: User) -> Obj:
        """Answer a posted review."""
        check_type(kind, body)
        serve = self._answers.get(kind.kind)
        if serve is None:
            raise refusals.method_not_allowed(kind.gvr, "create")
        return serve(body, target, user)

    def _own_access(self, body: Obj, _: Target, user: User) -> Obj:
        return {**body, "status": self._judge(body, user)}

    def _access(self, body: Obj, target: Target, _: User) -> Obj:
        spec = body.get("spec") or {}
        subject = User(str(spec.get("user") or ""), tuple(spec.get("groups") or ()), str(spec.get("uid") or ""))
        wanted = (spec.get("resourceAttributes") or {}).get("namespace") or ""
        if target.namespace and wanted != target.namespace:
            text = f'Invalid value: "{wanted}": must match metadata.namespace'
            causes = [("spec.resourceAttributes.namespace", "FieldValueInvalid", text)]
            raise refusals.invalid(target.gvr, "LocalSubjectAccessReview", "", causes)
        return {**body, "status": self._judge(body, subject)}

    def _judge(self, body: Obj, user: User) -> Obj:
        """Return the status of an access review."""
        spec = body.get("spec") or {}
        path, resource = spec.get("nonResourceAttributes"), spec.get("resourceAttributes")
        if path:
            wanted = Attributes(str(path.get("verb") or ""), path=str(path.get("path") or "/"))
        elif resource:
            sub = resource.get("subresource")
            name = str(resource.get("resource") or "")
            wanted = Attributes(
                str(resource.get("verb") or ""),
                str(resource.get("group") or ""),
                f"{name}/{sub}" if sub else name,
                str(resource.get("namespace") or ""),
                str(resource.get("name") or ""),
            )
        else:
            text = "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified"
            causes = [("spec.resourceAttributes", "FieldValueInvalid", text)]
            raise refusals.invalid("authorization.k8s.io/v1/reviews", "SubjectAccessReview", "", causes)
        allowed = self._authorizer.allowed(user, wanted)
        return {"allowed": allowed} | ({"reason": "allowed by a rule of RBAC"} if allowed else {})

    def _own_rules(self, body: Obj, _: Target, user: User) -> Obj:
        namespace = str((body.get("spec") or {}).get("namespace") or "")
        if not namespace:
            raise refusals.bad_request("no namespace on request")
        rules = [*self._authorizer.rules(user, ""), *self._authorizer.rules(user, namespace)]
        names = ("verbs", "apiGroups", "resources", "resourceNames")
        paths = ("verbs", "nonResourceURLs")
        status = {
            "resourceRules": [{n: r[n] for n in names if n in r} for r in rules if r.get("resources")],
            "nonResourceRules": [{n: r[n] for n in paths} for r in rules if r.get("nonResourceURLs")],
            "incomplete": False,
        }
        return {**body, "status": status}

    def _own_name(self, body: Obj, _: Target, user: User) -> Obj:
        return {**body, "status": {"userInfo": _user_info(user)}}

    def _token(self, body: Obj, _: Target, __: User) -> Obj:
        token = str((body.get("spec") or {}).get("token") or "")
        found = self._authenticator.user(token, self._api.clock())
        if found is None:
            return {**body, "status": {"user": {}, "error": "token is unknown or over"}}
        return {**body, "status": {"authenticated": True, "user": _user_info(found)}}

    def _bind(self, body: Obj, target: Target, user: User) -> Obj:
        return self._api.create("v1/pods", body, target.namespace, user=user.name, sub="binding")


def _user_info(user: User) -> Obj:
    found: Obj = {"username": user.name, "groups": list(user.groups)}
    return found | ({"uid": user.uid} if user.uid else {})
