"""Milliseconds a step of the joint attack, and the share of them that the bare forward and backward passes take."""

import torch
from measure import paired, write

from unsplit.attacks.inversion import JointConfig, invert_jointly
from unsplit.data import load
from unsplit.knowledge import ClientArchitecture
from unsplit.models import build, split
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Transcript

STEPS = 300


def main() -> None:
    """Measure depths 1 to 6 with ten targets."""
    torch.set_num_threads(1)
    test = load("digits").test
    model = build("mnist-net", generator=generator(0))
    rows = []
    for depth, per_class in [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)]:
        targets = test.one_per_class(per_class)
        bottom, _ = split(model, depth)
        smashed = bottom(targets.images).detach()
        message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
        view = Transcript(observer="server", messages=(message,))
        architecture = ClientArchitecture.of(bottom, targets.input_shape)
        images = targets.images.clone().requires_grad_()
        weights = list(bottom.parameters())
        gradient = torch.ones_like(smashed)

        def attack(view=view, architecture=architecture):
            invert_jointly(view, architecture, JointConfig(steps=STEPS), generator=generator(1))

        def bare(bottom=bottom, images=images, weights=weights, gradient=gradient):
            for _ in range(STEPS):
                torch.autograd.grad(bottom(images), [images, *weights], gradient)

        ours, peer = paired(attack, bare)
        rows.append(
            {
                "what": f"depth {depth}, {len(targets)} targets",
                "ratio": round(peer / ours, 3),
                "ours": round(ours / STEPS * 1e3, 3),
                "peer": round(peer / STEPS * 1e3, 3),
                "unit": "ms/step, one thread; peer: the bare forward and backward passes",
            }
        )
    write("attack", rows)


if __name__ == "__main__":
    main()
