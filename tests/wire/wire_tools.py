"""What the tests of the wire share: a desired state, git by hand, ports."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import replace
from pathlib import Path

from platform_lib.model import Platform

DEPLOYMENT = """\
# Why this file is written by hand: it is read more often than changed.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: sample-app
spec:
  template:
    metadata:
      labels:
        app.kubernetes.io/version: 1.0.0  # rewritten by a deploy
    spec:
      containers:
        - name: sample-app
          image: ghcr.io/apqx/sample-app@sha256:{digest}
          env:
            - name: IMAGE_DIGEST
              value: sha256:{digest}
"""


def git(*arguments: str, folder: Path) -> str:
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@localhost")
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def at_port(platform: Platform, port: int) -> Platform:
    return replace(platform, ingress_url=f"http://127.0.0.1:{port}")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
