"""The same in a U-shape, where the client keeps its labels and the last layer: python u_shape.py."""

import torch
from network import digits, net
from torch import nn

from unsplit import keep_truth, observe

torch.manual_seed(0)
model, loader, loss_fn = net(), digits(), nn.CrossEntropyLoss()
bottom, body, head = model[:2], model[2:5], model[5:]
optimizers = [torch.optim.Adam(part.parameters()) for part in (bottom, body, head)]

with observe("runs/u-shape") as server, keep_truth("runs/u-truth.safetensors") as kept:
    for inputs, labels in loader:
        for optimizer in optimizers:
            optimizer.zero_grad()
        smashed = bottom(inputs)
        received = smashed.detach().requires_grad_()
        with server.step(received) as step:
            features = body(received)
            step.features(features)

            arrived = features.detach().requires_grad_()  # at the client
            loss_fn(head(arrived), labels).backward()

            step.feature_gradient(arrived.grad)
            features.backward(arrived.grad)
        smashed.backward(received.grad)
        for optimizer in optimizers:
            optimizer.step()
        kept.step(inputs, labels)
