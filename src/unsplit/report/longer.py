"""What a longer run of an audit adds: the options that were left out, with what they would tell."""

from unsplit.experiment import AuditConfig
from unsplit.results import AuditResult
from unsplit.settings import flags_of, in_options


def longer(result: AuditResult) -> tuple[tuple[str, str], ...]:
    """Options and what they add, of an audit that trained; none of an audit of recorded traffic. Where a program in
    Python made the audit, they are settings of `AuditConfig`.
    """
    training = result.training
    if training is None:
        return ()
    presets = {row.preset for row in result.inversion}
    pictures = len(training.input_shape) == 3
    classes = training.score == "accuracy"
    found = (
        (
            pictures and bool(presets) and "strong" not in presets,
            "`presets=('strong',)`",
            "the strongest attack, from more samples, steps and restarts: closer pictures at deeper cuts",
        ),
        (bool(presets), "`cuts`", "more cuts: how deep is deep enough"),
        (bool(presets) and classes, "`targets_per_class=10`", "ten inputs of each class: a score that is surer"),
        (
            pictures and classes and not presets & {"sdar", "fora"},
            "`auxiliary='test'`",
            "attacks by a server with data of its own",
        ),
        (classes and result.whole is None, "`u_shape=(1, 1)`", "inputs, model and labels at once from the U-shape"),
        (training.dataset == "digits", "`data='mnist'`", "all of a data set in place of the embedded digits"),
    )
    flags = flags_of(AuditConfig) if result.provenance.command.startswith("unsplit ") else {}
    return tuple((in_options(option, flags).strip("`"), adds) for applies, option, adds in found if applies)
