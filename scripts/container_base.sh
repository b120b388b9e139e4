#!/bin/sh
# Make a stand-in for the base image python:3.11-slim, for machines that cannot pull: Debian 12 with its Python 3.11.
# Usage: scripts/container_base.sh BASE.tar [MIRROR]      (root, debootstrap; about a minute)
#   docker import -c 'ENV PATH=/usr/local/bin:/usr/bin:/bin' BASE.tar docker.io/library/python:3.11-slim
# The same tag and the same programs in the same places, not the same content: what is built on it tells how the
# Dockerfile behaves, and is never pushed anywhere but to a registry on loopback.
set -eu
out=${1:?usage: scripts/container_base.sh BASE.tar [MIRROR]}
mirror=${2:-$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -m 1 'debian$' || echo http://deb.debian.org/debian)}
refuse() { printf 'container_base: %s\n  next step: %s\n' "$1" "$2" >&2; exit 2; }
[ "$(id -u)" = 0 ] || refuse "uid is $(id -u), wanted 0: debootstrap changes root" "run it as root"
command -v debootstrap >/dev/null || refuse "debootstrap is not on PATH" "apt-get install debootstrap"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM
debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates bookworm "$root" "$mirror" >"$out.log" 2>&1 ||
    refuse "debootstrap failed: $(tail -n 1 "$out.log")" "read $out.log"
# As in the real one: `python` and `pip` in /usr/local/bin, and pip installs where it is told to.
ln -s /usr/bin/python3 "$root/usr/local/bin/python"
ln -s /usr/bin/pip3 "$root/usr/local/bin/pip"
rm -rf "$root/usr/lib/python3.11/EXTERNALLY-MANAGED" "$root"/var/lib/apt/lists/* "$root"/var/cache/* "$root"/var/log/*
# Device files are the engine's business.
rm -rf "$root"/dev/*
tar --create --file "$out.part" --directory "$root" --sort=name --numeric-owner .
mv "$out.part" "$out"
rm -f "$out.log"
