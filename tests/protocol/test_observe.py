"""A recorded loop is the same loop, and its transcript the one that our own parties leave; what cannot be recorded is
refused with a sentence.
"""

import contextlib
import copy
import gc
import threading
import weakref

import pytest
import torch
from torch import nn

from helpers.checks import noise, refused
from unsplit.attacks.labels import infer_from_handed_weights
from unsplit.experiment.traffic.truth import read_truth
from unsplit.knowledge import ClientLoss, HeadArchitecture, LabelSpace
from unsplit.models import build
from unsplit.protocol import Recorder, SplitConfig, load_transcript, split_training
from unsplit.protocol.kept_truth import keep_truth
from unsplit.protocol.observe import observe
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Setup

STEPS = 5


def layers(dropout=0.0):
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(144, 8), nn.ReLU(),
            nn.Linear(8, 10),
        )  # fmt: skip


def batches(steps=STEPS, size=6):
    inputs, labels = noise(steps * size, (1, 8, 8))
    return list(zip(inputs.split(size), labels.split(size), strict=True))


def crossing(samples=6, dtype=torch.float32):
    return torch.rand(samples, 4, generator=generator(0)).to(dtype).requires_grad_()


def step(server, received=None, **options):
    """One step of a server with next to no layers."""
    received = crossing() if received is None else received
    with server.step(received, **options):
        (received**2).sum().backward()
    return received


@pytest.fixture
def server(tmp_path):
    with observe(tmp_path / "traffic") as server:
        yield server


def foreign_loop(setup, model, training, folder):
    """The training of our parties in plain torch, recorded: plain autograd over the parts, one Adam each."""
    parts = {"a": (1, None), "b": (None, 2), "c": (1, 2)}[setup]
    config = SplitConfig(setup=Setup(setup), cut=1)
    bottom = model[: parts[0] + 1] if parts[0] is not None else None
    end = len(model) - 1 if parts[1] is not None else len(model)
    body, head = model[0 if bottom is None else parts[0] + 1 : end], model[end:]
    trained = [part for part in (bottom, body, head) if part is not None and len(part)]
    optimizers = [config.client_optimizer.build(part.parameters()) for part in trained]
    loss_fn = nn.CrossEntropyLoss()
    with observe(folder) as server:
        for number in range(STEPS):
            client = training.active(number)
            labels = client.labels_of(number)
            inputs = client.inputs_of(number)
            inputs = training.server.inputs_of(number, client.name) if inputs is None else inputs
            for optimizer in optimizers:
                optimizer.zero_grad()
            smashed = inputs if bottom is None else bottom(inputs)
            received = None if bottom is None else smashed.detach().requires_grad_()
            with server.step(received, labels=labels if setup == "a" else None) as noted:
                outputs = body(smashed if received is None else received)
                if setup == "a":
                    loss_fn(outputs, labels).backward()
                else:
                    noted.features(outputs)
                    arrived = outputs.detach().requires_grad_()
                    loss_fn(head(arrived), labels).backward()
                    noted.feature_gradient(arrived.grad)
                    outputs.backward(arrived.grad)
            if received is not None:
                smashed.backward(received.grad)
            for optimizer in optimizers:
                optimizer.step()


@pytest.mark.parametrize("setup", ["a", "b", "c"])
def test_a_foreign_loop_leaves_the_transcript_of_our_own_parties(setup, tmp_path):
    inputs, labels = noise(40)
    model = build("mnist-net", generator=generator(0))
    config = SplitConfig(setup=Setup(setup), cut=1, batch_size=8)
    training = split_training(copy.deepcopy(model), inputs, labels, config, generator=generator(1))
    ours = training.record(Recorder(observer="server"))
    training.run(STEPS)
    foreign_loop(setup, model, training, tmp_path)
    theirs = load_transcript(tmp_path)
    assert list(theirs.headers) == list(ours.transcript().headers)
    for one, other in zip(theirs, ours.transcript(), strict=True):
        assert one.tensor.dtype == other.tensor.dtype
        assert torch.equal(one.tensor, other.tensor), one.header


def train(folder=None, dropout=0.3):
    """A loop with dropout on both sides, recorded if there is a folder; returns weights and the generator's state."""
    model = layers(dropout)
    bottom, top = model[:3], model[3:]
    optimizer = torch.optim.Adam(model.parameters())
    server = None if folder is None else observe(folder)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for inputs, labels in batches():
            optimizer.zero_grad()
            smashed = bottom(inputs)
            received = smashed.detach().requires_grad_()
            around = None if server is None else server.step(received, labels=labels)
            version = received._version
            if around is not None:
                around.__enter__()
            nn.functional.cross_entropy(top(received), labels).backward()
            if around is not None:
                around.__exit__(None, None, None)
            assert received._version == version
            smashed.backward(received.grad)
            optimizer.step()
        state = torch.get_rng_state()
    if server is not None:
        server.close()
    return [*model.state_dict().values(), state]


def test_the_training_is_not_changed_by_a_bit(tmp_path):
    assert all(torch.equal(one, other) for one, other in zip(train(tmp_path), train(), strict=True))
    assert load_transcript(tmp_path).steps == tuple(range(STEPS))


def test_nothing_of_the_loop_is_held(server):
    received = crossing()
    with server.step(received, labels=torch.zeros(6)) as noted:
        loss = (received**2).sum()
        loss.backward()
    held = [weakref.ref(value) for value in (received, loss)]
    del received, loss, noted
    gc.collect()
    assert [reference() for reference in held] == [None, None]


def test_what_is_changed_in_place_afterwards_was_noted_as_it_crossed(server, tmp_path):
    base = torch.rand(3, 4, generator=generator(0))
    sent = base.clone().requires_grad_()
    with server.step(sent):
        (2 * sent).sum().backward()
        with torch.no_grad():
            sent.zero_()
    sent.grad.zero_()
    server.close()
    view = load_transcript(tmp_path / "traffic")
    assert torch.equal(view.tensor(Kind.SMASHED), base)
    assert torch.equal(view.tensor(Kind.CUT_GRAD), torch.full((3, 4), 2.0))


def test_an_exception_drops_the_step_and_passes(server, tmp_path):
    step(server)
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), server.step(crossing()):
            raise error
    step(server, client="bob")
    server.close()
    headers = load_transcript(tmp_path / "traffic").of(Kind.SMASHED).headers
    assert [(header.step, header.sender, header.receiver) for header in headers] == [
        (0, "client0", "server"),
        (1, "bob", "server"),
    ]


def test_an_exception_in_the_loop_loses_nothing(tmp_path):
    with contextlib.suppress(ZeroDivisionError), observe(tmp_path) as server:
        step(server)
        raise ZeroDivisionError
    assert load_transcript(tmp_path).steps == (0,)


def test_it_streams_to_disk(tmp_path):
    """What waits in memory is bounded, so a killed process leaves all but the last shards."""
    server = observe(tmp_path)
    for _ in range(5):
        step(server, torch.rand(2**16, 32, generator=generator(0)).requires_grad_())  # 16 MiB there and back
    assert len(load_transcript(tmp_path).steps) >= 2
    server.close()
    assert load_transcript(tmp_path).steps == tuple(range(5))


def test_going_on(tmp_path):
    for number in range(3):
        with observe(tmp_path, resume=number > 0) as server:
            step(server)
            step(server)
    assert load_transcript(tmp_path).steps == tuple(range(6))
    assert "6 steps already" in refused(observe, tmp_path)
    with observe(tmp_path, resume=True, first_step=3) as server:
        step(server, crossing(2))
    view = load_transcript(tmp_path)
    assert view.steps == (0, 1, 2, 3)
    assert [len(message.tensor) for message in view.of(Kind.SMASHED)] == [6, 6, 6, 2]
    with observe(tmp_path, resume=True, first_step=9) as server:  # what a killed process lost leaves a gap
        step(server)
    assert load_transcript(tmp_path).steps == (0, 1, 2, 3, 9)


def test_resuming_nothing_begins(tmp_path):
    observe(tmp_path, observer="hub").close()
    observe(tmp_path, observer="hub").close()  # nothing was kept, so nothing is in the way
    with observe(tmp_path, resume=True, observer="hub") as server:
        step(server)
    assert load_transcript(tmp_path).observer == "hub"
    assert "of hub, not of server" in refused(observe, tmp_path, resume=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_stored_as_single(dtype, server, tmp_path):
    received = crossing(dtype=dtype)
    received = received.detach().requires_grad_()
    step(server, received, labels=torch.arange(6, dtype=torch.uint8))
    server.close()
    view = load_transcript(tmp_path / "traffic")
    for kind, value in ((Kind.SMASHED, received), (Kind.CUT_GRAD, received.grad)):
        assert view.tensor(kind).dtype is torch.float32
        assert torch.equal(view.tensor(kind), value.detach().float())
    assert torch.equal(view.tensor(Kind.LABELS), torch.arange(6))


def test_channels_last_is_stored_in_order(server, tmp_path):
    images = torch.rand(2, 3, 4, 4, generator=generator(0))
    step(server, images.to(memory_format=torch.channels_last).requires_grad_())
    server.close()
    assert torch.equal(load_transcript(tmp_path / "traffic").tensor(Kind.SMASHED), images)


def test_a_step_that_overflows_is_left_out_and_told(tmp_path):
    server = observe(tmp_path)
    for scale in (1.0, float("inf"), 1.0):
        received = crossing()
        with server.step(received):
            (scale * received).sum().backward()
    with pytest.warns(UserWarning, match="1 steps held NaN"):
        server.close()
    view = load_transcript(tmp_path)
    assert view.steps == (0, 2)
    assert len(list(view)) == 4


def test_what_is_used_and_not_trained(server, tmp_path):
    with torch.no_grad(), server.step(torch.ones(2, 3), gradient=False):
        pass
    with server.step(gradient=False) as noted:
        noted.features(torch.ones(2, 3))
    server.close()
    assert [header.kind for header in load_transcript(tmp_path / "traffic").headers] == [Kind.SMASHED, Kind.FEATURES]


def test_weights_that_are_handed_over_give_away_labels(tmp_path):
    """A client's head passes through the server after every step; its bottom's steps are not needed for that."""
    with seeded(0):
        head = nn.Sequential(nn.Linear(8, 4))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    features, labels = torch.rand(40, 8, generator=generator(1)), torch.randint(4, (40,), generator=generator(2))
    with observe(tmp_path) as server:
        for sent, hidden in zip(features.split(8), labels.split(8), strict=True):
            optimizer.zero_grad()
            with server.step() as noted:
                arrived = sent.clone().requires_grad_()
                noted.features(arrived)
                nn.functional.cross_entropy(head(arrived), hidden).backward()
                noted.feature_gradient(arrived.grad)
            optimizer.step()
            server.weights(head=head)
    view = load_transcript(tmp_path)
    assert view.of(Kind.WEIGHTS).headers[-1] == (4, "client0", "server", Kind.WEIGHTS)
    found = infer_from_handed_weights(view, HeadArchitecture.of(head), LabelSpace(classes=4), ClientLoss())
    assert torch.equal(found.labels[8:], labels[8:])


def test_clients_at_the_same_time(tmp_path):
    """A server that serves each client in a thread: every step is whole, and has one number."""
    with observe(tmp_path) as server:

        def serve(client):
            for _ in range(20):
                received = torch.full((2, 3), float(client)).requires_grad_()
                with server.step(received, client=f"client{client}"):
                    (received * client).sum().backward()

        threads = [threading.Thread(target=serve, args=(client,)) for client in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    view = load_transcript(tmp_path)
    assert view.steps == tuple(range(80))
    for smashed, gradient in zip(view.of(Kind.SMASHED), view.of(Kind.CUT_GRAD), strict=True):
        assert (smashed.step, smashed.sender) == (gradient.step, gradient.receiver)
        assert torch.equal(smashed.tensor, gradient.tensor)


def on_the_graph(server):
    received = crossing() * 2
    with server.step(received):
        received.sum().backward()


def without_backward(server):
    with server.step(crossing()):
        pass


def without_the_gradient_of_features(server):
    with server.step() as noted:
        noted.features(torch.ones(2, 3))


def with_labels_in_a_u_shape(server):
    with server.step(crossing(), labels=torch.zeros(6)) as noted:
        noted.features(torch.ones(6, 3))


def with_a_gradient_alone(server):
    with server.step(crossing()) as noted:
        noted.feature_gradient(torch.ones(6, 3))


def with_a_gradient_of_another_shape(server):
    with server.step() as noted:
        noted.features(torch.ones(6, 3))
        noted.feature_gradient(torch.ones(6, 2))


def with_nothing(server):
    with server.step():
        pass


class Odd:
    """A server with passes of other names."""

    def train_step(self, acts):
        return acts


REFUSED = {
    "still part of the client's autograd graph": on_the_graph,
    "call loss.backward() inside the block": without_backward,
    "call feature_gradient() inside the block": without_the_gradient_of_features,
    "leave labels= out": with_labels_in_a_u_shape,
    "the features is not noted": with_a_gradient_alone,
    "(6, 2) and the features has (6, 3)": with_a_gradient_of_another_shape,
    "Nothing crossed in this step": with_nothing,
    "write received = smashed.detach().requires_grad_()": lambda server: server.step(torch.ones(2, 3)),
    "has 3 samples, and not all that was noted in": lambda server: server.step(crossing(), labels=torch.ones(3)),
    "complex numbers": lambda server: server.step(torch.ones(2, 3, dtype=torch.complex64)),
    "a single number": lambda server: server.step(torch.tensor(1.0, requires_grad=True)),
    "not that of the server": lambda server: server.step(crossing(), client="server"),
    "after the first step": lambda server: server.weights(head=layers()),
    "has no method 'forward_pass'": lambda server: server.watch(Odd()),
    "last is 0": lambda server: keep_truth(server._writer._folder / "truth", last=0),
    "first_step is -1": lambda server: observe(server._writer._folder, resume=True, first_step=-1),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_recorded_gets_a_sentence(reason, server, tmp_path):
    assert reason in refused(REFUSED[reason], server)
    step(server)
    server.close()
    assert load_transcript(tmp_path / "traffic").steps == (0,)


class Watched:
    """A server with a forward and a backward pass."""

    def __init__(self):
        self.top = layers()[3:]

    def forward_pass(self, acts, labels):
        self.acts = acts
        self.loss = nn.functional.cross_entropy(self.top(acts), labels)

    def backward_pass(self):
        self.loss.backward()
        return self.acts.grad


def test_watching_an_object(tmp_path):
    bottom, server = layers()[:3], Watched()
    with observe(tmp_path) as traffic:
        assert traffic.watch(server, client=lambda: f"client{traffic.steps}") is server
        for inputs, labels in batches():
            sent = bottom(inputs).detach().requires_grad_()
            with torch.no_grad():
                server.forward_pass(bottom(inputs), labels)  # validation: nothing goes back
            server.forward_pass(labels=labels, acts=sent)
            assert server.backward_pass() is sent.grad
        with pytest.raises(TypeError):
            server.forward_pass(sent)
    assert "forward_pass" not in vars(server)
    server.forward_pass(sent, labels)
    server.backward_pass()
    view = load_transcript(tmp_path)
    assert view.steps == tuple(range(STEPS))
    assert [header.kind for header in view.headers[:3]] == [Kind.SMASHED, Kind.LABELS, Kind.CUT_GRAD]
    assert [header.sender for header in view.of(Kind.LABELS).headers] == [f"client{n}" for n in range(STEPS)]
    assert torch.equal(view.of(Kind.SMASHED).messages[0].tensor, bottom(batches()[0][0]))


def test_a_tuple_gets_a_sentence(server):
    watched = server.watch(Watched())
    assert "The value noted for the smashed is a tuple, and one tensor is expected" in refused(
        watched.forward_pass, (crossing(),), crossing()
    )


def test_an_objects_own_methods_come_back(tmp_path):
    server = Watched()
    server.backward_pass = own = lambda: None
    with observe(tmp_path / "one") as one, observe(tmp_path / "two") as two:
        one.watch(server)
        two.watch(server)
        inputs, labels = batches()[0]
        received = layers()[:3](inputs).detach().requires_grad_()
        server.forward_pass(received, labels)
        server.loss.backward()
        server.backward_pass()
    assert server.backward_pass is own
    for name in ("one", "two"):
        assert torch.equal(load_transcript(tmp_path / name).tensor(Kind.CUT_GRAD), received.grad)


def test_truth_of_the_last_steps(tmp_path):
    path = tmp_path / "client" / "truth.safetensors"
    with contextlib.suppress(ZeroDivisionError), keep_truth(path, last=2, first_step=7) as kept:
        for inputs, labels in batches():
            kept.step(inputs, labels)
        raise ZeroDivisionError
    truth = read_truth(path)
    inputs, labels = (torch.cat(parts) for parts in zip(*batches()[-2:], strict=True))
    assert torch.equal(truth.inputs, inputs)
    assert torch.equal(truth.labels, labels)
    assert truth.steps.tolist() == [10] * 6 + [11] * 6


def test_truth_by_number_and_without_inputs(tmp_path):
    path = tmp_path / "truth.safetensors"
    with keep_truth(path) as kept:
        kept.step(None, torch.tensor([1, 2]), number=4)
        kept.step(None, torch.tensor([3, 0]))
        assert "of all steps or of none" in refused(kept.step, torch.ones(2, 2), torch.tensor([0, 1]))
    with keep_truth(tmp_path / "none") as other:
        assert "2 inputs and 1 labels" in refused(other.step, torch.ones(2, 2), torch.tensor([0]))
        assert "in floating point" in refused(other.step, torch.ones(1, 2, dtype=torch.uint8), torch.tensor([0]))
    assert not (tmp_path / "none").exists()
    truth = read_truth(path)
    assert truth.inputs is None
    assert truth.steps.tolist() == [4, 4, 5, 5]


def test_the_names_of_both_are_those_of_the_package():
    import unsplit

    assert (unsplit.observe, unsplit.keep_truth) == (observe, keep_truth)
