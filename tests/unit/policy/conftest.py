"""The installed policy, read once for all tests of this folder."""

from __future__ import annotations

import json

import pytest

from broker.policy.decide import Policy
from broker.policy.domain import Domain, load_domain
from broker.policy.load import AUTHORITY, Files, read_files
from broker.policy.matrix import Matrix, compute
from broker.policy.prove import Authority


@pytest.fixture(scope="session")
def files() -> Files:
    """The files of the installed folder."""
    return read_files()


@pytest.fixture(scope="session")
def domain() -> Domain:
    """The domain that the released schemas span."""
    return load_domain()


@pytest.fixture(scope="session")
def policy(files: Files) -> Policy:
    """The installed policy."""
    return Policy.load(files)


@pytest.fixture(scope="session")
def matrix(policy: Policy, domain: Domain) -> Matrix:
    """The whole matrix of the installed policy."""
    return compute(policy, domain)


@pytest.fixture(scope="session")
def authority(files: Files) -> Authority:
    """The installed authority table."""
    table: Authority = json.loads(files[AUTHORITY])
    return table
