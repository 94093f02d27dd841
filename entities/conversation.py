"""conversation: the durable entity that holds a conversation's state. It never calls the model and orders nothing.

A Python entity has no rollback: every operation makes its whole new state before it sets anything.
"""

from azure.durable_functions import DurableEntityContext

from chat.conversation import Conversation, FinishedTurn


def conversation(context: DurableEntityContext) -> None:
    """The entity. Operations: complete_turn (a finished turn as `FinishedTurn.to_dict`; answers whether it was new)."""
    state = Conversation.from_dict(context.get_state(lambda: None))
    match context.operation_name:
        case "complete_turn":
            new = state.complete_turn(FinishedTurn.from_dict(context.get_input()))
            if new:
                context.set_state(state.to_dict())
            context.set_result(new)
        case other:
            raise ValueError(f"Unknown operation {other!r}; known is complete_turn.")
