"""The main path on one screen: ``publish``, ``dispatch``, ``receive``. A newcomer starts here.

    publish:  event -> plan -> seal -> sign -> outbox -> stream (casebridge.events)
    dispatch: check -> accept -> cut -> stream (casebridge.in.<agency>); record
    receive:  verify (numbered checks) -> judge -> keep, still sealed -> open

Everything that decides is below: ``authority`` and ``policy`` say who may, ``seal`` makes and checks the bytes. What is
durable, and when, is said where it is kept: ``adapters.outbox``, ``adapters.inbox``, ``broker.stream.protocol``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker.authority.model import Plan
from broker.authority.state import CaseState
from broker.clock import Random
from broker.dispatch import Accepted, Broker, Quarantined, deliver, judge
from broker.event.model import Event
from broker.names import CaseRef
from broker.receive import Judge, Judged, judge_slice
from broker.seal.compose import Materials, Place, compose
from broker.seal.open import receive_slice
from broker.seal.seal import Sealed, seal
from broker.seal.secrets import OpeningSecrets, SealingSecrets
from broker.stream.protocol import Stored


def publish(
    event: Event, plan: Plan, place: Place, materials: Materials, *, secrets: SealingSecrets, random: Random
) -> Sealed:
    """Seals an event as it was planned; ``broker.seal.seal.sign`` then signs what waits in the outbox, as one batch.

    Raises:
        Invalid: check SIZE: over a limit.
        InputError: too many readers.
    """
    return seal(compose(event, plan, place, materials, random=random), secrets=secrets, random=random)


async def dispatch(broker: Broker, batch: Sequence[Stored]) -> list[Accepted | Quarantined]:
    """Checks, accepts, cuts and delivers values of one partition; returns when all of it is durable.

    The caller commits the position afterwards. After an exception it starts again from the last committed position:
    dispatching again gives the same statements.

    Raises:
        StreamError: not known to be delivered.
    """
    verdicts = [
        judge(stored, topic_id=broker.topic_id, ground=broker.ground, verified=broker.verified) for stored in batch
    ]
    await deliver(broker, verdicts)
    return verdicts


def receive(data: bytes, judge: Judge, *, secrets: OpeningSecrets, state: Callable[[CaseRef], CaseState]) -> Judged:
    """Verifies a slice as its recipient and judges it against what is known of its case (``state``).

    Raises:
        Invalid: the check that failed; the slice goes to quarantine with its number.
        Pending: it waits for something that is on its way.
        KeyUnavailable: the prekey is not, or no longer, here.
    """
    received = receive_slice(
        data, recipient=judge.recipient, secrets=secrets, ground=judge.ground, verified=judge.verified
    )
    return judge_slice(received, judge, state(received.slice.header.case_ref))
