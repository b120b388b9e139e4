"""Who is calling, and may they do that? Bearer tokens and role-based access control.

Source: Kubernetes documentation "Authenticating" and "Using RBAC Authorization".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from platform_lib.embedded.config import Config
from platform_lib.embedded.store import Event, Store
from platform_lib.embedded.tokens import Tokens
from platform_lib.model import Obj

RBAC = "rbac.authorization.k8s.io/v1/"
ROLES, CLUSTER_ROLES = f"{RBAC}roles", f"{RBAC}clusterroles"
BINDINGS, CLUSTER_BINDINGS = f"{RBAC}rolebindings", f"{RBAC}clusterrolebindings"
ACCOUNTS = "v1/serviceaccounts"
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"


@dataclass(frozen=True, slots=True)
class User:
    """Who calls: a name, and the groups it belongs to."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request wants to do.

    ``resource`` includes the subresource (``pods/log``); ``path`` is set instead for requests to no resource.
    """

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """Return the user that a service account acts as."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid)


def component_users(config: Config) -> dict[str, User]:
    """Return the user behind each component's token (the token files are made before the API starts)."""
    users = {
        "admin": User("kubernetes-admin", (MASTERS, AUTHENTICATED)),
        "gitops": service_account("argocd", "argocd-application-controller"),
        "scrape": service_account("kube-system", "apqx-metrics"),
        "traefik": service_account("kube-system", "traefik"),
    }
    for node in config.nodes:
        users[f"node-{node.name}"] = User(f"system:node:{node.name}", ("system:nodes", AUTHENTICATED))
    return users


class Authenticator:
    """Turns bearer tokens into users."""

    def __init__(self, store: Store, users: dict[str, User], tokens: Tokens | None) -> None:
        self._store, self._users, self._tokens = store, users, tokens

    @classmethod
    def of(cls, config: Config, store: Store, tokens: Tokens) -> Authenticator:
        """Read the token files of a cluster."""
        users = {config.token(name): user for name, user in component_users(config).items()}
        return cls(store, users, tokens)

    def user(self, token: str, now: datetime) -> User | None:
        """Return the user of a token, or None when nobody has it or its service account is gone."""
        known = self._users.get(token)
        if known is not None or self._tokens is None or token.count(".") != 2:
            return known
        claims = self._tokens.check(token, now)
        if claims is None:
            return None
        account = self._store.get(ACCOUNTS, claims.namespace, claims.name)
        if account is None or account["metadata"]["uid"] != claims.uid:
            return None
        return service_account(claims.namespace, claims.name, claims.uid)


class Authorizer:
    """Evaluates Roles, ClusterRoles and their bindings; remembers each user's rules until one of them changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules: dict[tuple[User, str], Sequence[Obj]] = {}
        store.subscribe(self._forget)

    def allowed(self, user: User, wanted: Attributes) -> bool:
        """Return whether some rule allows the request."""
        if MASTERS in user.groups:
            return True
        matches = _covers_path if wanted.path else _covers
        if any(matches(rule, wanted) for rule in self.rules(user, "")):
            return True
        return bool(wanted.namespace) and any(matches(rule, wanted) for rule in self.rules(user, wanted.namespace))

    def rules(self, user: User, namespace: str) -> Sequence[Obj]:
        """Return the rules a user has cluster-wide (empty namespace) or from a namespace's own bindings."""
        key = (user, namespace)
        found = self._rules.get(key)
        if found is None:
            found = self._rules[key] = list(self._collect(user, namespace))
        return found

    def _collect(self, user: User, namespace: str) -> Iterable[Obj]:
        if MASTERS in user.groups:
            yield {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            yield {"verbs": ["*"], "nonResourceURLs": ["*"]}
        gvr = BINDINGS if namespace else CLUSTER_BINDINGS
        for binding in self._store.list(gvr, namespace or None):
            if any(_is(subject, user, namespace) for subject in binding.get("subjects") or ()):
                yield from self._role_rules(binding.get("roleRef") or {}, namespace)

    def _role_rules(self, reference: Obj, namespace: str) -> Sequence[Obj]:
        """Return the rules of a role; an aggregated ClusterRole has those of the roles it selects."""
        name = str(reference.get("name") or "")
        if reference.get("kind") == "Role":
            role = self._store.get(ROLES, namespace, name)
        else:
            role = self._store.get(CLUSTER_ROLES, "", name)
        if role is None:
            return []
        selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
        return [*(role.get("rules") or ()), *self._aggregated(selectors)]

    def _aggregated(self, selectors: Iterable[Obj]) -> Iterable[Obj]:
        from platform_lib.embedded.selectors import match_labels

        for selector in selectors:
            for role in self._store.list(CLUSTER_ROLES):
                if match_labels(selector, role["metadata"].get("labels")):
                    yield from role.get("rules") or ()

    def _forget(self, event: Event) -> None:
        if event.gvr.startswith(RBAC):
            self._rules.clear()


def _is(subject: Obj, user: User, namespace: str) -> bool:
    """Return whether a binding's subject is this user."""
    kind, name = subject.get("kind"), subject.get("name")
    if kind == "User":
        return name == user.name
    if kind == "Group":
        return name in user.groups
    where = subject.get("namespace") or namespace
    return kind == "ServiceAccount" and user.name == f"system:serviceaccount:{where}:{name}"


def _covers(rule: Obj, wanted: Attributes) -> bool:
    """Return whether a resource rule allows the request."""
    if not _in(wanted.verb, rule.get("verbs")) or not _in(wanted.group, rule.get("apiGroups")):
        return False
    resources = rule.get("resources") or ()
    sub = wanted.resource.partition("/")[2]
    if not (_in(wanted.resource, resources) or (sub and f"*/{sub}" in resources)):
        return False
    names = rule.get("resourceNames")
    return not names or wanted.name in names


def _covers_path(rule: Obj, wanted: Attributes) -> bool:
    """Return whether a non-resource rule allows the path."""
    if not _in(wanted.verb, rule.get("verbs")):
        return False
    return any(_path_matches(pattern, wanted.path) for pattern in rule.get("nonResourceURLs") or ())


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == path


def _in(value: str, allowed: Iterable[str] | None) -> bool:
    found = allowed or ()
    return value in found or "*" in found
