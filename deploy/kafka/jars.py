"""Kafka's jars: fetched once by Maven, each checked against ``jars.sha256``, and kept outside the tree.

Maven's own settings say from where (``settings.xml``, ``MAVEN_ARGS``); wherever they come from, a file whose digest is
not the listed one is not used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
LISTED: Final = HERE / "jars.sha256"
POM: Final = HERE / "pom.xml"
LIBS_VARIABLE: Final = "CASEBRIDGE_KAFKA_LIBS"
PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
JAVA: Final = 17
FETCH_SECONDS: Final = 600

MISSING: Final = f"install Java {JAVA} or newer and Maven (Debian: apt-get install default-jdk-headless maven)"


class NoKafka(Exception):
    """Kafka does not run; the text says why."""


class Missing(NoKafka):
    """It cannot run here; the text says what to install."""


def listed() -> dict[str, str]:
    """File name to SHA-256 of every jar.

    Raises:
        Missing: the list is empty.
    """
    lines = (line.split("  ", 1) for line in LISTED.read_text("utf-8").splitlines() if line)
    sums = {name: digest for digest, name in lines}
    if not sums:
        raise Missing(f"{LISTED.name} lists nothing")
    return sums


def folder() -> Path:
    """Where the jars are kept: ``$CASEBRIDGE_KAFKA_LIBS``, or the user's cache."""
    given = os.environ.get(LIBS_VARIABLE)
    if given:
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "casebridge" / f"kafka-{hashlib.sha256(LISTED.read_bytes()).hexdigest()[:12]}"


def require_java() -> str:
    """The path of a Java that is new enough.

    Raises:
        Missing: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else None
    java = java or shutil.which("java")
    if java is None:
        raise Missing(f"no java here: {MISSING}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', said.stderr + said.stdout)
    if found is None or int(found[1]) < JAVA:
        raise Missing(f"{java} is too old: {MISSING}")
    return java


@cache
def missing() -> str:
    """What is to be installed before Kafka can run here; empty where nothing is. Fetches nothing."""
    try:
        require_java()
    except Missing as error:
        return str(error)
    if any(folder().glob("*.jar")) or shutil.which("mvn"):
        return ""
    return f"no mvn here: {MISSING}"


@cache
def ensure() -> Path:
    """The folder with all jars, fetched where they are not there yet; each is checked, once in a process.

    Raises:
        Missing: no Maven, no network, or a file that is not the listed one.
    """
    where, sums = folder(), listed()
    if wrong(where, sums):
        _fetch(where, sums)
    return where


def wrong(where: Path, sums: Mapping[str, str]) -> list[str]:
    """The names of jars that are not there, are not the listed ones, or are not listed."""
    found = {path.name for path in where.glob("*.jar")}
    return sorted(found ^ set(sums)) + sorted(name for name in found & set(sums) if _digest(where / name) != sums[name])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(where: Path, sums: Mapping[str, str]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing(f"Kafka's jars are not in {where} and there is no mvn to fetch them: {MISSING}")
    where.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where.parent) as name:
        made = Path(name) / "libs"
        command = [maven, "--batch-mode", "--quiet", "--file", str(POM), PLUGIN, f"-DoutputDirectory={made}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS)
        except subprocess.TimeoutExpired:
            raise Missing(f"Maven did not fetch Kafka's jars within {FETCH_SECONDS} s; try again") from None
        if done.returncode:
            raise Missing(f"Maven could not fetch Kafka's jars: {(done.stdout + done.stderr).strip()[-400:]}")
        bad = wrong(made, sums)
        if bad:
            raise Missing(f"what Maven fetched is not what {LISTED.name} lists: {', '.join(bad[:5])}")
        shutil.rmtree(where, ignore_errors=True)
        try:
            made.rename(where)
        except OSError:
            if wrong(where, sums):  # somebody else was first, and has all of it
                raise
