"""A split training written by hand, recorded: python hand_written.py."""

import torch
from network import digits, net
from torch import nn

from unsplit import keep_truth, observe

torch.manual_seed(0)
model, loader, loss_fn = net(), digits(), nn.CrossEntropyLoss()
bottom, top = model[:2], model[2:]
client_optimizer = torch.optim.Adam(bottom.parameters())
server_optimizer = torch.optim.Adam(top.parameters())

with observe("runs/traffic") as server, keep_truth("runs/truth.safetensors") as kept:
    for inputs, labels in loader:
        client_optimizer.zero_grad()
        server_optimizer.zero_grad()
        smashed = bottom(inputs)
        received = smashed.detach().requires_grad_()
        with server.step(received, labels=labels):
            loss = loss_fn(top(received), labels)
            loss.backward()
            server_optimizer.step()
        smashed.backward(received.grad)
        client_optimizer.step()
        kept.step(inputs, labels)
