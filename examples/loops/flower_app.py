"""Split learning as a plain app of Flower, recorded at its server: python flower_app.py.

Each client keeps its own first layers, in the context that Flower keeps for it; the server has the rest.
"""

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from network import digits, net
from torch import Tensor, nn

from unsplit import observe

STEPS = 40
client, server = ClientApp(), ServerApp()


@server.main()
def main(grid: Grid, _: Context) -> None:
    """The server's part of every step."""
    top, loss_fn = net()[2:], nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(top.parameters(), lr=0.1)
    nodes = sorted(grid.get_node_ids())
    with observe("runs/flower") as traffic:
        for number in range(STEPS):
            node = nodes[number % len(nodes)]
            sent = ask(grid, node, "forward", number)
            received, labels = sent["smashed"].requires_grad_(), sent["labels"]
            with traffic.step(received, labels=labels, client=f"node{node}"):
                optimizer.zero_grad()
                loss_fn(top(received), labels).backward()
                optimizer.step()
            ask(grid, node, "backward", number, gradient=received.grad)


def ask(grid: Grid, node: int, action: str, number: int, **tensors: Tensor) -> dict[str, Tensor]:
    """Have a client do its part, and get what it sends back."""
    content = RecordDict({"tensors": ArrayRecord(tensors), "step": ConfigRecord({"number": number})})
    (reply,) = grid.send_and_receive([Message(content, dst_node_id=node, message_type=f"train.{action}")])
    return reply.content.array_records["tensors"].to_torch_state_dict()


def forward_pass(message: Message, context: Context) -> tuple[nn.Module, Tensor, Tensor]:
    """The client's layers as its context has them, what they make of the step's batch, and its labels."""
    bottom = net()[:2]
    if "bottom" in context.state:
        bottom.load_state_dict(context.state.array_records["bottom"].to_torch_state_dict())
    context.state["bottom"] = ArrayRecord(bottom.state_dict())
    inputs, labels = batch(int(message.content.config_records["step"]["number"]))
    return bottom, bottom(inputs), labels


def batch(number: int) -> tuple[Tensor, Tensor]:
    """The batch of a step, which a client must find again in another process."""
    data, start = digits().dataset, 32 * number
    return data[start : start + 32]


@client.train("forward")
def forward(message: Message, context: Context) -> Message:
    """Send smashed data and labels."""
    _, smashed, labels = forward_pass(message, context)
    return answer(message, smashed=smashed.detach(), labels=labels)


@client.train("backward")
def backward(message: Message, context: Context) -> Message:
    """Take the gradient back through the layers, and a step."""
    bottom, smashed, _ = forward_pass(message, context)
    smashed.backward(message.content.array_records["tensors"].to_torch_state_dict()["gradient"])
    torch.optim.SGD(bottom.parameters(), lr=0.1).step()
    context.state["bottom"] = ArrayRecord(bottom.state_dict())
    return answer(message)


def answer(message: Message, **tensors: Tensor) -> Message:
    """A reply that carries tensors."""
    return Message(RecordDict({"tensors": ArrayRecord(tensors)}), reply_to=message)


if __name__ == "__main__":
    from flwr.simulation import run_simulation

    run_simulation(
        server,
        client,
        num_supernodes=2,
        backend_config={"init_args": {"address": "local", "num_cpus": 1}, "client_resources": {"num_cpus": 1}},
    )
