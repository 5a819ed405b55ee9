"""The numbers and claims that the paper prints."""

PAPER_SETS = ("mnist", "fashion-mnist", "cifar-10")
"""Its data sets."""

TABLE2: dict[str, dict[int, tuple[float, float, float]]] = {
    "mnist": {
        1: (0.077, 0.054, 0.9745),
        2: (0.084, 0.056, 0.9569),
        3: (0.084, 0.060, 0.9375),
        4: (0.099, 0.119, 0.7627),
        5: (0.109, 0.096, 0.6527),
        6: (0.108, 0.137, 0.633),
    },
    "fashion-mnist": {
        1: (0.146, 0.127, 0.8611),
        2: (0.153, 0.144, 0.8434),
        3: (0.157, 0.147, 0.8124),
        4: (0.168, 0.084, 0.6617),
        5: (0.180, 0.147, 0.1154),
        6: (0.177, 0.131, 0.1612),
    },
    "cifar-10": {
        1: (0.039, 0.062, 0.5803),
        2: (0.065, 0.071, 0.5402),
        3: (0.098, 0.052, 0.5515),
        4: (0.099, 0.068, 0.4369),
        5: (0.109, 0.092, 0.4675),
        6: (0.089, 0.083, 0.1854),
        7: (0.087, 0.088, 0.1630),
        8: (0.092, 0.070, 0.2212),
    },
}
"""By data set and depth: mean squared error before and after training, and the clone's test accuracy."""

TABLE3: dict[str, dict[int, float]] = {
    "mnist": {1: 1.0, 2: 0.091},
    "fashion-mnist": {1: 1.0, 2: 0.102},
    "cifar-10": {1: 1.0, 2: 0.081},
}
"""By data set and depth of the head: label inference accuracy."""

TABLE5: dict[str, tuple[float, ...]] = {
    "mnist": (3.61, 7.81, 9.50, 7.05, 9.06, 9.38),
    "fashion-mnist": (2.11, 3.89, 9.66, 9.50, 9.51, 9.50),
    "cifar-10": (7.04, 8.42, 9.48, 8.64, 9.82, 9.34),
}
"""By data set, depths 1 to 6: black-box queries until UnSplit's error is reached."""

WHITE_BOX_BETTER = 0.38
"""Section 5.2: the white box's estimates are so much more accurate than UnSplit's, on average."""

UNSPLIT_BETTER = 0.32
"""Section 5.2: UnSplit's estimates are so much more accurate than the query-free attack's."""

HIJACK_LIKE_UNTIL = 1000
"""Section 5.2: UnSplit compares with the hijacking attack until about so many of its iterations."""

HE_PSNR: dict[str, dict[int, float]] = {
    "mnist": {0: 39.7, 4: 15.1},
    "cifar-10": {0: 37.6, 8: 19.5, 13: 13.4},
}
"""What He et al. (2019) print for their white box, by data set and depth: after the first convolution, and after the
second (MNIST), fourth and sixth (CIFAR-10) ReLU.
"""
