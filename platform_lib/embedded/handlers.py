"""What does the server do with one HTTP request? From the token to the answer; the rules are in ``api``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import web

from platform_lib.embedded import answers, negotiation, refusals, routes, streams
from platform_lib.embedded.api import Api
from platform_lib.embedded.auth import ANONYMOUS, Attributes, Authenticator, Authorizer, User
from platform_lib.embedded.documents import PUBLIC, Documents
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.listing import read_page
from platform_lib.embedded.options import WriteOptions
from platform_lib.embedded.podlog import PodLog
from platform_lib.embedded.reviews import Reviews
from platform_lib.embedded.routes import Target
from platform_lib.embedded.watching import Hub
from platform_lib.errors import ApiError
from platform_lib.model import Obj

log = logging.getLogger(__name__)

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a request body, as in kube-apiserver."""

Answer = web.StreamResponse
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_VALIDATION = ("Strict", "Warn", "Ignore")


class Handlers:
    """Serves requests; one instance for the whole server."""

    def __init__(
        self,
        api: Api,
        authenticator: Authenticator,
        authorizer: Authorizer,
        podlog: PodLog,
        schema_file: Path,
    ) -> None:
        self._api = api
        self._authenticator, self._authorizer = authenticator, authorizer
        self._hub = Hub(api.store)
        self._documents = Documents(api, schema_file)
        self._reviews = Reviews(api, authenticator, authorizer)
        self._podlog = podlog
        self._methods: dict[str, Callable[[web.BaseRequest, Target, Kind, User], Awaitable[Answer]]] = {
            "GET": self._read,
            "POST": self._post,
            "PUT": self._put,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }

    async def handle(self, request: web.BaseRequest) -> Answer:
        """Answer a request; whatever goes wrong becomes a Status, never a traceback."""
        try:
            return await self._route(request)
        except ApiError as error:
            return answers.refusal(error)
        except web.HTTPRequestEntityTooLarge:
            message = f"Request entity too large: limit is {BODY_LIMIT}"
            return answers.refusal(refusals.other(413, "RequestEntityTooLarge", message))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return answers.refusal(refusals.internal("unexpected failure, see the log of the API server"))

    async def _route(self, request: web.BaseRequest) -> Answer:
        """Find out who calls and what for."""
        path = request.rel_url.raw_path
        user = self._user(request, path)
        target = routes.parse(path)
        if target is None:
            return self._document(request, path, user)
        method = "GET" if request.method == "HEAD" else request.method
        serve = self._methods.get(method)
        if serve is None:
            raise refusals.other(405, "MethodNotAllowed", f"the server does not allow {request.method}")
        self._authorize(user, target, _verb(method, target, request.query))
        kind = self._api.registry.kind(target.gvr)
        if method != "GET" and not kind.stored and "create" not in kind.verbs:
            raise refusals.method_not_allowed(target.gvr, method)
        if target.sub and target.sub not in kind.subresources:
            raise refusals.no_route()
        if kind.namespaced and target.name and not target.namespace:
            raise refusals.no_route()
        if target.namespace and not kind.namespaced:
            raise refusals.no_route()
        return await serve(request, target, kind, user)

    def _user(self, request: web.BaseRequest, path: str) -> User:
        """Return who calls.

        Raises:
            Forbidden: 401.
        """
        header = request.headers.get("Authorization", "")
        user = None
        if header[:7].lower() == "bearer ":
            user = self._authenticator.user(header[7:].strip(), self._api.clock())
        if user is None:
            if not header and path.rstrip("/") in PUBLIC:
                return ANONYMOUS
            raise refusals.unauthorized()
        return user

    def _authorize(self, user: User, target: Target, verb: str) -> None:
        """Refuse what no rule allows.

        Raises:
            Forbidden: 403, with the sentence that names verb, resource and scope.
        """
        resource = f"{target.plural}/{target.sub}" if target.sub else target.plural
        wanted = Attributes(verb, target.group, resource, target.namespace, target.name)
        if self._authorizer.allowed(user, wanted) or self._reviews.is_open(target, verb):
            return
        scope = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
        why = f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{target.group}" {scope}'
        raise refusals.forbidden(target.gvr, target.name, why)

    def _document(self, request: web.BaseRequest, path: str, user: User) -> Answer:
        """Answer what is no resource: health, version, discovery, schemas."""
        found = self._documents.get(path, request.headers.get("Accept", ""))
        if found is None:
            if not self._authorizer.allowed(user, Attributes(request.method.lower(), path=path)):
                raise refusals.forbidden_path(user.name, request.method.lower(), path)
            raise refusals.no_route()
        if request.method not in ("GET", "HEAD"):
            raise refusals.other(405, "MethodNotAllowed", f"the server does not allow {request.method} on {path}")
        return found

    async def _read(self, request: web.BaseRequest, target: Target, kind: Kind, user: User) -> Answer:
        """Serve get, list, watch and the subresources that can be read."""
        if target.sub == "log":
            return await self._podlog.stream(request, self._api.get(target.gvr, target.name, target.namespace))
        if "get" not in kind.verbs:
            raise refusals.method_not_allowed(kind.gvr, "get")
        form = negotiation.wanted_form(request.headers.get("Accept", ""))
        if target.name:
            return self._get(target, kind, form, request.query)
        if request.query.get("watch") in ("true", "1"):
            if "watch" not in kind.verbs:
                raise refusals.method_not_allowed(kind.gvr, "watch")
            return await streams.watch(request, self._hub, self._api.store, kind, target.namespace, form)
        page = read_page(self._api.store, kind, target.namespace, request.query)
        return answers.page(kind, page, form, request.query.get("includeObject", ""))

    def _get(self, target: Target, kind: Kind, form: negotiation.Form, query: Mapping[str, str]) -> Answer:
        """Serve one object from its kept bytes."""
        if target.sub and target.sub != "status":
            return answers.document(self._api.get(target.gvr, target.name, target.namespace, sub=target.sub))
        found = self._api.store.entry(target.gvr, target.namespace, target.name)
        if found is None:
            raise refusals.not_found(target.gvr, target.name)
        return answers.one(kind, found.obj, form, found.raw, query.get("includeObject", ""))

    async def _post(self, request: web.BaseRequest, target: Target, kind: Kind, user: User) -> Answer:
        """Serve create, reviews, and posts to subresources."""
        if target.name and not target.sub:
            raise refusals.method_not_allowed(target.gvr, "POST to an object")
        body = negotiation.read_body(await request.read(), request.headers.get("Content-Type", ""), kind)
        if not kind.stored:
            return answers.document(self._reviews.create(kind, target, body, user), 201)
        options = write_options(request)
        made = self._api.create(
            target.gvr,
            body,
            target.namespace,
            user=user.name,
            sub=target.sub or None,
            name=target.name or None,
            params=options,
        )
        if target.sub:
            return answers.document(made, 201)
        return self._written(request, kind, made, options, 201)

    async def _put(self, request: web.BaseRequest, target: Target, kind: Kind, user: User) -> Answer:
        """Serve update."""
        if not target.name or not kind.stored:
            raise refusals.method_not_allowed(target.gvr, "PUT of a collection")
        body = negotiation.read_body(await request.read(), request.headers.get("Content-Type", ""), kind)
        metadata = body.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise refusals.bad_request("metadata must be an object")
        if metadata.setdefault("name", target.name) != target.name:
            raise refusals.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
            )
        options = write_options(request)
        made = self._api.update(
            target.gvr, body, target.namespace, user=user.name, sub=target.sub or None, params=options
        )
        return self._written(request, kind, made, options, 200)

    async def _patch(self, request: web.BaseRequest, target: Target, kind: Kind, user: User) -> Answer:
        """Serve the four patch types; an apply that creates answers 201."""
        if not target.name or not kind.stored:
            raise refusals.method_not_allowed(target.gvr, "PATCH of a collection")
        body, content_type = negotiation.read_patch(await request.read(), request.headers.get("Content-Type", ""))
        options = write_options(request)
        exists = self._api.store.entry(target.gvr, target.namespace, target.name) is not None
        made = self._api.patch(
            target.gvr,
            target.name,
            body,
            target.namespace,
            content_type=content_type,
            user=user.name,
            sub=target.sub or None,
            params=options,
        )
        return self._written(request, kind, made, options, 200 if exists else 201)

    async def _delete(self, request: web.BaseRequest, target: Target, kind: Kind, user: User) -> Answer:
        """Serve delete and deletecollection."""
        if target.sub or not kind.stored:
            raise refusals.method_not_allowed(target.gvr, "DELETE")
        body = negotiation.read_body(await request.read(), request.headers.get("Content-Type", ""))
        wanted = delete_options(body, request.query)
        params = WriteOptions(dry_run="All" in (wanted.get("dryRun") or ()))
        if not target.name:
            return self._delete_all(request, target, kind, user, wanted, params)
        gone = self._api.delete(
            target.gvr, target.name, target.namespace, user=user.name, options=wanted, params=params
        )
        left = self._api.store.get(target.gvr, target.namespace, target.name)
        if target.gvr != "v1/pods" and (left is None or left["metadata"]["uid"] != gone["metadata"]["uid"]):
            return answers.success(kind, gone)
        return answers.document(gone)

    def _delete_all(
        self,
        request: web.BaseRequest,
        target: Target,
        kind: Kind,
        user: User,
        wanted: Obj,
        params: WriteOptions,
    ) -> Answer:
        """Delete what the selectors choose and answer with the list of it."""
        gone = self._api.delete_collection(
            target.gvr,
            target.namespace,
            user=user.name,
            labels=request.query.get("labelSelector", ""),
            fields=request.query.get("fieldSelector", ""),
            options=wanted,
            params=params,
        )
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version}
        metadata = {"resourceVersion": str(self._api.store.version)}
        return answers.document({**head, "metadata": metadata, "items": list(gone)})

    def _written(self, request: web.BaseRequest, kind: Kind, made: Obj, options: WriteOptions, status: int) -> Answer:
        """Answer a write, from the kept bytes when the object was stored."""
        form = negotiation.wanted_form(request.headers.get("Accept", ""))
        metadata = made["metadata"]
        found = self._api.store.entry(kind.gvr, metadata.get("namespace"), metadata["name"])
        body = found.raw if found is not None and found.obj is made else None
        return answers.written(kind, made, form, options, status, body)


def write_options(request: web.BaseRequest) -> WriteOptions:
    """Read the options of a write from the query.

    Raises:
        Invalid: 422, a value Kubernetes does not know.
    """
    query = request.query
    validation = query.get("fieldValidation") or "Warn"
    if validation not in _VALIDATION:
        text = f'Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"'
        raise _bad_option("fieldValidation", text)
    manager = query.get("fieldManager") or request.headers.get("User-Agent", "unknown").split("/")[0]
    if request.method == "PATCH" and "apply-patch" in request.headers.get("Content-Type", ""):
        manager = query.get("fieldManager", "")
    return WriteOptions(
        dry_run=_dry_run(query.getall("dryRun", [])),
        field_validation=validation,
        manager=manager,
        force=query.get("force") in ("true", "1"),
    )


def delete_options(body: Obj, query: Mapping[str, str]) -> Obj:
    """Join DeleteOptions from the body and the query.

    Raises:
        Invalid: 400 or 422, a value that cannot be read.
    """
    found = dict(body)
    grace = query.get("gracePeriodSeconds")
    if grace is not None and found.get("gracePeriodSeconds") is None:
        if not grace.lstrip("-").isdigit():
            raise refusals.bad_request(f'gracePeriodSeconds: Invalid value: "{grace}": must be a number')
        found["gracePeriodSeconds"] = int(grace)
    if query.get("propagationPolicy") and not found.get("propagationPolicy"):
        found["propagationPolicy"] = query["propagationPolicy"]
    if query.get("orphanDependents") and found.get("orphanDependents") is None:
        found["orphanDependents"] = query["orphanDependents"] == "true"
    if query.get("dryRun"):
        found["dryRun"] = [query["dryRun"]]
    if found.get("dryRun"):
        _dry_run(found["dryRun"])
    return found


def _dry_run(values: list[str]) -> bool:
    if any(value != "All" for value in values):
        raise _bad_option("dryRun", f'Unsupported value: "{values[0]}": supported values: "All"')
    return bool(values)


def _bad_option(name: str, text: str) -> ApiError:
    causes = [(name, "FieldValueNotSupported", text)]
    return refusals.invalid("meta.k8s.io/v1/options", "Options", "", causes)


def _verb(method: str, target: Target, query: Mapping[str, str]) -> str:
    """Return the RBAC verb of a request."""
    if method == "GET":
        if target.name:
            return "get"
        return "watch" if query.get("watch") in ("true", "1") else "list"
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return _VERBS[method]
