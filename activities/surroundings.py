"""Everything that an attempt at a turn, or its ending, talks to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from azure.durable_functions import DurableOrchestrationClient

from adapters import clients
from adapters.durable import DurableInstances
from chat.bells import Bells
from chat.conversation import Conversation
from chat.delivery import Browser
from chat.deployments import Deployments
from chat.journal import JournalStore
from chat.journal_writer import Clock
from chat.pace import Pace
from chat.quota import Quota
from chat.relay import ChatModel
from chat.send_line import SendLine

# A claimant that is silent for this long beyond any wait it announced is taken for dead by its followers.
SILENCE = 30.0


class Instances(Protocol):
    """The durable world."""

    async def conversation(self, conversation_key: str) -> Conversation:
        """The entity's state; it can be one operation behind."""

    async def exists(self, turn_id: str) -> bool:
        """Whether an instance of this id is known, in whatever status."""

    async def start(self, turn_id: str) -> None:
        """Start chat_turn; an instance that runs already means success."""

    async def wake(self, turn_id: str, ended_turn_id: str) -> None:
        """Tell a waiting turn that an earlier one has ended. Getting lost is allowed: a timer stands behind it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The neighbours of one activity; tests swap them."""

    store: JournalStore
    model: Callable[[], ChatModel]  # raises MissingSetting when none is configured
    browser: Browser
    instances: Instances
    quota: Quota
    clock: Clock
    new_id: Callable[[], str]
    system_prompt: str = ""
    deployments: Deployments = field(default_factory=Deployments)
    pace: Pace = field(default_factory=Pace)
    bells: Bells = field(default_factory=Bells)
    silence: float = SILENCE
    line: SendLine = field(default_factory=SendLine)


async def surroundings(client: DurableOrchestrationClient) -> Surroundings:
    """The app's own."""
    return Surroundings(
        store=clients.journal(),
        model=clients.chat_model,
        browser=clients.browser(),
        instances=DurableInstances(client),
        quota=clients.quota(),
        clock=clients.clock,
        new_id=clients.new_id,
        system_prompt=clients.settings().system_prompt,
        deployments=clients.deployments(),
        line=clients.send_line(),
        bells=clients.bells,
    )
