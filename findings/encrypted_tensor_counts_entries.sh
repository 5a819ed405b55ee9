#!/usr/bin/env bash
# tenseal 0.3.18: smashed data under CKKS, as vectors and as tensors.
#
# Guess, before running: a tensor of 8 samples with 16 features packs the samples, so it is about 16 ciphertexts; a
# vector's size on the wire says only how many ciphertexts it fills.
#
# Seen: a tensor is one ciphertext for every entry unless `batch=True` is given: 128 numbers are 42 MB on the wire, 128
# times what a vector of 4096 is. With `batch=True` the ciphertexts are the features and the samples disappear in them.
# Of a vector the size tells nothing, as guessed: 1 and 4096 numbers take as many bytes, within a percent (they are
# compressed).
#
#   vector of 1, 4096 numbers: 1, 1 ciphertexts
#   tensor 8 x 16: 128 ciphertexts; with batch=True: 16
#
# For unsplit: what is encrypted still tells shapes. Of an encrypted tensor a server reads the batch's size and the
# number of features off the message's length (and the shape stands in it in the clear), so last batches and clients
# with fewer samples show. Traffic grows 128 times, too, for nothing: pack samples with `batch=True` or send vectors.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed numpy==2.4.6 tenseal==0.3.18
observed <<'PY'
import numpy as np
import tenseal
from still import still

context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
context.global_scale = 2**40
one = len(tenseal.ckks_vector(context, [0.5]).serialize())


def ciphertexts(sent: object) -> int:
    """How many times as long as a vector of one number it is on the wire."""
    return round(len(sent.serialize()) / one)


vectors = [ciphertexts(tenseal.ckks_vector(context, [0.5] * length)) for length in (1, 4096)]
smashed = tenseal.plain_tensor(np.linspace(0, 1, 128).reshape(8, 16))
plain, packed = (ciphertexts(tenseal.ckks_tensor(context, smashed, batch=batch)) for batch in (False, True))
default = ciphertexts(tenseal.ckks_tensor(context, smashed))
print(f"vector of 1, 4096 numbers: {vectors[0]}, {vectors[1]} ciphertexts")
print(f"tensor 8 x 16: {default} ciphertexts; with batch=True: {packed}")
still(vectors == [1, 1] and default == plain == 128 and packed == 16)
PY
