"""What attacks make of rows of six public tables, beside the best guess.

    python benchmarks/tables.py

Five tables come with scikit-learn, one with mlxtend: breast cancer, wine, iris, diabetes, digits as rows of 64 numbers,
and cars (auto-mpg, with the country of origin as three columns). The client is a dense network of 64, 32 and as many
units as there are outputs, with ReLU between them, trained for 50 epochs, and cut behind its first (1) and its second
ReLU (3). The server has no row (`joint`), knows 10 of the client's rows, or the columns' quantiles and covariance. Each
figure is the mean over three seeds, of the client and of the attack. `joint` sees the targets alone, the others a
training's rows beside them, as in `unsplit audit`. `map` is the error that is left after the affine map of the columns
which is best by the truth: what smashed data tell of the rows.

It takes about 10 minutes on two cores.
"""

import statistics
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from measure import write
from mlxtend.data import autompg_data
from sklearn import datasets
from torch import Tensor, nn

from unsplit.attacks import silent
from unsplit.attacks.rows import RowsConfig
from unsplit.attacks.rows.latent import latent_rows
from unsplit.data import Dataset, Scaling, Splits
from unsplit.experiment import AuditConfig
from unsplit.experiment.auditing.fitting import loss_for
from unsplit.experiment.inversion import Evaluation, more_inputs, observe_inference, run_inversion
from unsplit.experiment.server_knowledge import ServerKnowledge
from unsplit.knowledge import ClientArchitecture
from unsplit.metrics import mse
from unsplit.models import build, split
from unsplit.protocol import SplitConfig, split_training
from unsplit.randomness import generator, own_stream

SEEDS = (0, 1, 2)
EPOCHS = 50
TARGETS = 20
CPU = torch.device("cpu")
KNOWS = ServerKnowledge(known_rows=10)
Loaded = tuple[np.ndarray, np.ndarray]


def cars() -> Loaded:
    """Miles per gallon of 392 cars; the number of the origin becomes three columns, the empty column goes."""
    values, target = autompg_data()
    origin = values[:, 6:7] == np.array([1, 2, 3])
    return np.concatenate([values[:, :6], origin], 1), target


def shipped(name: str) -> Callable[[], Loaded]:
    """A table of scikit-learn's."""
    return lambda: getattr(datasets, f"load_{name}")(return_X_y=True)


TABLES: dict[str, Callable[[], Loaded]] = {
    "breast cancer": shipped("breast_cancer"),
    "wine": shipped("wine"),
    "iris": shipped("iris"),
    "diabetes": shipped("diabetes"),
    "digits as rows": shipped("digits"),
    "cars": cars,
}


def table(name: str, seed: int) -> Splits:
    """A table, four fifths of it to train on, scaled by these to 0 to 1."""
    values, labels = (torch.as_tensor(np.asarray(part)) for part in TABLES[name]())
    regression = name in ("diabetes", "cars")
    order = torch.randperm(len(values), generator=generator(seed))
    kept = order[len(order) // 5 :]
    scaling = Scaling.of(values[kept].double(), each=True)
    aims = labels.float() if regression else labels.long()
    if regression:
        aims = (aims - aims[kept].mean()) / aims[kept].std()
    classes = () if regression else tuple(str(number) for number in range(int(labels.max()) + 1))
    train, test = (
        Dataset(name=name, images=scaling.to_unit(values[rows].double()).float(), labels=aims[rows], classes=classes)
        for rows in (kept, order[: len(order) // 5])
    )
    return Splits(train=train, test=test)


def network(columns: int, outputs: int, seed: int) -> nn.Sequential:
    """The client's and the server's layers."""
    layers = [nn.Linear(columns, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, outputs)]
    named = OrderedDict((str(number), layer) for number, layer in enumerate(layers))
    return build(lambda: nn.Sequential(named), generator=generator(seed), input_shape=(columns,))


def measured(cell: tuple[str, int]) -> dict[tuple[str, int, str], float]:
    """The errors at one table and seed: by table, cut and attack."""
    torch.set_num_threads(1)
    name, seed = cell
    splits = table(name, seed)
    train = splits.train
    model = network(train.input_shape[0], train.outputs, seed)
    plan = SplitConfig(cut=1, batch_size=64, loss=loss_for(AuditConfig(), splits))
    training = split_training(model, train.images, train.labels, plan, generator=generator(seed))
    training.run(EPOCHS * -(-len(train) // 64))
    trained = training.model()
    evaluation = Evaluation(
        targets=splits.test.subset(torch.arange(TARGETS)),
        test=splits.test,
        mean_input=train.images.mean(0),
        others=more_inputs(train),
    )
    found: dict[tuple[str, int, str], float] = {}
    for cut in (1, 3):
        row, _ = run_inversion(trained, cut, "joint", evaluation, state="after", seed=seed, device=CPU)
        found[name, cut, "joint"], found[name, cut, "guess"] = row.mse, row.mse_best_trivial
        for attack in ("known-rows", "statistics"):
            row, _ = run_inversion(trained, cut, attack, evaluation, state="after", seed=seed, device=CPU, server=KNOWS)
            found[name, cut, attack] = row.mse
        found[name, cut, "map"] = up_to_a_map(trained, cut, evaluation, seed)
    return found


def up_to_a_map(model: nn.Sequential, cut: int, evaluation: Evaluation, seed: int) -> float:
    """The error of the latent rows after the best affine map of their columns."""
    assert evaluation.others is not None
    view = observe_inference(model, cut, evaluation.targets, CPU, evaluation.others[:2000])
    architecture = ClientArchitecture.of(split(model, cut)[0], evaluation.targets.input_shape)
    drawn = own_stream(generator(seed), "attacker")
    values = latent_rows(view, architecture, RowsConfig(), generator=drawn, progress=silent).values
    rows: Tensor = torch.cat([evaluation.targets.images, evaluation.others[:2000]])
    known = torch.cat([values, values.new_ones(len(values), 1)], 1).double()
    nearest = known @ torch.linalg.lstsq(known, rows.double(), driver="gelsd").solution
    number = len(evaluation.targets)
    return mse(nearest[:number].clamp(0, 1).float(), rows[:number])


def main() -> None:
    """Print a line for each table and cut."""
    cells = [(name, seed) for name in TABLES for seed in SEEDS]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(measured, cells))
    rows: list[dict[str, object]] = []
    print(f"{'table':16}{'rows':>6}{'columns':>9}{'cut':>5}" + "".join(f"{name:>12}" for name in ATTACKS))
    for name in TABLES:
        count, columns = TABLES[name]()[0].shape
        for cut in (1, 3):
            of_seeds = {
                attack: [part[name, cut, attack] for part in found if (name, cut, attack) in part] for attack in ATTACKS
            }
            mean = {attack: statistics.mean(values) for attack, values in of_seeds.items()}
            print(f"{name:16}{count:6}{columns:9}{cut:5}" + "".join(f"{mean[attack]:12.4f}" for attack in ATTACKS))
            rows += [
                {
                    "table": name, "rows": count, "columns": columns, "cut": cut, "attack": attack,
                    "ratio": mean["guess"] / max(mean[attack], 1e-12), "ours": mean[attack], "peer": mean["guess"],
                    "unit": "mean squared error of columns from 0 to 1; peer: the best trivial guess",
                    "seeds": of_seeds[attack],
                }
                for attack in ATTACKS[1:]
            ]  # fmt: skip
    write("tables", rows)


ATTACKS = ("guess", "joint", "known-rows", "statistics", "map")

if __name__ == "__main__":
    main()
