"""Flower's nodes in one process. Imported by tests that have seen that Flower is installed."""

import warnings
from collections.abc import Iterable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from flwr.app import Context, Message, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.common.serde import context_from_proto, context_to_proto, message_from_proto, message_to_proto
    from flwr.serverapp import Grid


class Nodes(Grid):
    """A grid whose nodes answer at once, in this process; all that moves goes through Flower's wire format."""

    def __init__(self, app: ClientApp, node_configs: Iterable[dict[str, int | str]]) -> None:
        self.contexts = {
            100 + number: Context(1, 100 + number, dict(config), RecordDict(), {})
            for number, config in enumerate(node_configs)
        }
        self.sent = 0
        self.lost = self.unanswered = 0
        self._app = app
        self._replies: dict[str, Message] = {}

    def set_run(self, run) -> None:
        """Nothing to know."""

    # A grid must have these; a server of ours never calls them.

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        raise NotImplementedError

    def send_and_receive(self, messages, *, timeout=None):
        raise NotImplementedError

    def get_node_ids(self) -> list[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        names = []
        for message in messages:
            self.sent += 1
            names.append(str(self.sent))
            message.metadata.__dict__["_message_id"] = names[-1]
            if self.sent == self.lost:
                continue
            node = message.metadata.dst_node_id
            context = context_from_proto(context_to_proto(self.contexts[node]))
            reply = self._app(message_from_proto(message_to_proto(message)), context)
            self.contexts[node] = context
            if self.sent != self.unanswered:
                self._replies[names[-1]] = message_from_proto(message_to_proto(reply))
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(name) for name in list(message_ids) if name in self._replies]
