"""A turn as a process that died left it: its journal is written by the test, everything after that is real."""

import secrets
import time

from adapters.blob_journal import BlobJournal
from chat import records
from chat.records import Begin, Claim, Frame, Record
from chat.turn import TurnRequest, conversation_key, turn_id, user_of
from tests.chat_client import ChatClient

ANSWER = "The sky is blue because air scatters short waves more."


class LeftBehind:
    """One turn of a visitor. `ago`: seconds since its last record."""

    def __init__(self, visitor: ChatClient, store: BlobJournal, *, ago: float) -> None:
        self._visitor = visitor
        self._store = store
        (session,) = [cookie.value for cookie in visitor.http.cookie_jar if cookie.key == "session"]
        self.owner = f"anonymous:{session.split('.')[0]}"
        self.conversation, self.key = "talk-" + secrets.token_hex(8), secrets.token_hex(8)
        self.conversation_key = conversation_key(self.owner, self.conversation)
        self.turn_id = turn_id(self.conversation_key, self.key, "")
        self.at = round(1000 * (time.time() - ago))
        self.prompt = f"#say {ANSWER}\n#speed 200\n#first 0"

    async def write(self, *more: Record) -> str:
        """Its journal: `begin`, and these."""
        request = TurnRequest(self.prompt, "gpt-4o-mini")
        user = user_of(self.owner)
        begin = Begin(self.turn_id, self.conversation, self.owner, user, request.to_dict(), request.hash, self.at)
        assert await self._store.create(self.conversation_key, self.turn_id)
        await self._store.append(self.conversation_key, self.turn_id, records.encode(begin, *more), 0)
        return self.turn_id

    async def start(self) -> None:
        """Its orchestration, started by the client's next try."""
        body = {"prompt": self.prompt, "deployment": "gpt-4o-mini"}
        status, answer = await self._visitor.post_turn(body, self.conversation, self.key)
        assert (status, answer["turnId"]) == (202, self.turn_id), answer

    def claim(self) -> Claim:
        return Claim("gone", 9, self.at)

    def frame(self, text: str) -> Frame:
        return Frame("gone", 1, 9, 1, 0, text, self.at)
