"""Engines that are applications of Ray Serve: by URL, which its dashboard tells, or by a handle.

A handle asks a deployment from inside the cluster, without HTTP. Its deployment has the one call that
`InProcessEngine` asks of an object: `generate(request_id, prompt_ids=..., sampling_params=...)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from codec_agents.exceptions import BatchError

SCHEME = "serve+"
"""`serve+http://HEAD:8265/APPLICATION` names an application by the dashboard's address."""

PATH = "/api/serve/applications/"
"""Serve's documented API."""

WITHIN = 30.0
"""Seconds in which the dashboard has to answer."""

WILDCARDS = ("0.0.0.0", "::", "", None)  # noqa: S104 - compared, not listened at
"""Addresses of proxies that listen at every address of their machine. None, which is not stated: in what the
dashboard answers with (`HTTPOptionsSchema`), the default is 0.0.0.0."""


class _Proxy(msgspec.Struct):
    status: str
    node_ip: str = ""


class _Application(msgspec.Struct):
    status: str
    route_prefix: str | None = None


class _HttpOptions(msgspec.Struct):
    host: str | None = None
    port: int = 8000
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None


class _Details(msgspec.Struct):
    """The part of the dashboard's answer that is read."""

    applications: dict[str, _Application]
    proxies: dict[str, _Proxy] = {}
    http_options: _HttpOptions | None = None


class HandleClient:
    """A client for `InProcessEngine` that asks a deployment by its handle."""

    def __init__(self, handle: Any) -> None:
        """Take a handle: `serve.get_app_handle("llm")`."""
        self._handle = handle

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> Any:
        """Return the answer to a prompt."""
        return await self._handle.generate.remote(
            request_id, prompt_ids=prompt_ids, sampling_params=sampling_params
        )


def resolved(urls: Iterable[str]) -> list[str]:
    """Return URLs of servers: those of an application in place of a URL that names one.

    Raises:
        BatchError: An application is not there, or cannot be asked for.
    """
    return [found for url in urls for found in (_urls_of(url) if url.startswith(SCHEME) else [url])]


def _urls_of(url: str) -> list[str]:
    name, found = _asked(url)
    application = found.applications.get(name)
    if application is None:
        known = ", ".join(sorted(found.applications)) or "none"
        raise BatchError(f"Ray Serve at {url} has no application {name!r}; its applications: {known}")
    # Without a route, an application is for handles alone.
    if application.status != "RUNNING" or application.route_prefix is None:
        raise BatchError(
            f"the application {name!r} of Ray Serve cannot be asked over HTTP: its status is "
            f"{application.status}, and its route {application.route_prefix}"
        )
    options = found.http_options or _HttpOptions()
    healthy = sorted(proxy.node_ip for proxy in found.proxies.values() if proxy.status == "HEALTHY")
    # Proxies that listen at one address of their machine are not reached by the address of a node. That of
    # `serve.start` is 127.0.0.1 by default, which leads to a proxy on the caller's machine, or to none.
    hosts = healthy if options.host in WILDCARDS else [str(options.host)]
    if not healthy:
        raise BatchError(f"Ray Serve at {url} has no proxy that is healthy; see `serve status`")
    prefix = application.route_prefix.rstrip("/")
    # As Serve's proxies do: TLS needs both files.
    scheme = "https" if options.ssl_keyfile and options.ssl_certfile else "http"
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{options.port}{prefix}" for host in hosts]


def _asked(url: str) -> tuple[str, _Details]:
    """Return the name of the application that a URL names, and what the dashboard says."""
    import httpx

    try:
        dashboard = httpx.URL(url.removeprefix(SCHEME))
        answer = httpx.get(dashboard.copy_with(path=PATH), timeout=WITHIN)
        answer.raise_for_status()
        # `default` is Serve's name for an application that was deployed without one.
        return dashboard.path.strip("/") or "default", msgspec.json.decode(answer.content, type=_Details)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BatchError(
            f"Ray's dashboard does not answer at {url}: {error}; name it as serve+http://HEAD:8265/APPLICATION"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BatchError(f"{url} is not the dashboard of Ray: {error}") from error
