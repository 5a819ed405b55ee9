#!/usr/bin/env bash
# ml_dtypes 0.6.0 (the number types of JAX and TensorFlow) with numpy 2.4.6 and h5py 3.16.0: smashed data dumped in
# bfloat16 or float8, as a JAX client computes them.
#
# Guess, before running: h5py refuses these types with a TypeError, so that nobody saves what cannot be read; numpy
# writes bfloat16 as bytes and treats all of them alike.
#
# Seen: h5py writes bfloat16 and float8_e4m3fn without a word as opaque bytes and refuses float8_e5m2 alone. numpy
# writes all three: the first two come back as opaque bytes, and a file with float8_e5m2 cannot be read again.
#
#   bfloat16: numpy |V2, h5py |V2
#   float8_e4m3fn: numpy |V1, h5py |V1
#   float8_e5m2: numpy unreadable, h5py refused
#
# For unsplit: `unsplit import` and `--data` cannot know what such bytes mean and refuse them with a sentence. Turn them
# into float32 before saving, or save by safetensors, which keeps bfloat16.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed numpy==2.4.6 h5py==3.16.0 ml_dtypes==0.6.0
observed <<'PY'
import h5py
import ml_dtypes
import numpy as np
from still import still

seen = {}
for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
    smashed = np.array([1.5, -2, 0.25], dtype=getattr(ml_dtypes, name))
    np.savez("dump.npz", smashed=smashed)
    try:
        with np.load("dump.npz") as dump:
            by_numpy = dump["smashed"].dtype.str
    except ValueError:
        by_numpy = "unreadable"
    try:
        with h5py.File("dump.h5", "w") as dump:
            dump["smashed"] = smashed
            by_h5py = dump["smashed"].dtype.str
    except TypeError:
        by_h5py = "refused"
    seen[name] = (by_numpy, by_h5py)
    print(f"{name}: numpy {by_numpy}, h5py {by_h5py}")
still(
    seen == {"bfloat16": ("|V2", "|V2"), "float8_e4m3fn": ("|V1", "|V1"), "float8_e5m2": ("unreadable", "refused")}
)
PY
