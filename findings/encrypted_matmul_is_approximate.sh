#!/usr/bin/env bash
# concrete-ml-extensions 0.2.0: a client sends an encrypted matrix of integers, the server multiplies it by its own in
# the clear (private inference and fine-tuning of split language models).
#
# Guess, before running: integers in, integers out; the product decrypts to exactly the integers that numpy gives.
#
# Seen: every entry is off by up to some tens, whatever its size. Sums of a few hundred thousand are right to four
# digits; a sum of sixteen zeros and ones is lost in the noise. The same message twice gives two answers. What is sent
# has the same size for 16 columns and for 256.
#
#   entries up to 255: values near 200000, off by about 20
#   entries up to 1: values near 5, off by about 30
#   bytes of 2 x 16 and 2 x 256: equal
#
# For unsplit: features recorded behind such a layer carry an error that is fixed in size, so its weight depends on how
# the client scaled its activations; use the whole range of integers before judging what an attack can or cannot read.
# It is no defence: the noise is gone at the scale that makes the network work at all. On the wire the number of rows
# shows, the number of columns (up to the polynomial's size) does not.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed numpy==2.4.6 concrete-ml-extensions==0.2.0
observed <<'PY'
import concrete_ml_extensions as fhe
import numpy as np
from still import still

settings = fhe.MatmulCryptoParameters.deserialize(fhe.default_params())
private, compression = fhe.create_private_key(settings)
drawn = np.random.default_rng(0)


def product(top: int) -> tuple[np.ndarray, np.ndarray]:
    left, right = drawn.integers(0, top + 1, (2, 16)), drawn.integers(0, top + 1, (16, 8))
    answer = fhe.matrix_multiplication(
        fhe.encrypt_matrix(private, settings, left.astype(np.uint64)), right.astype(np.uint64), compression
    )
    opened = np.array(fhe.decrypt_matrix(answer, private, settings, right.shape[1])).astype(np.int64)
    return left @ right, opened


errors = {}
for top in (255, 1):
    exact, opened = product(top)
    errors[top] = np.abs(opened - exact).max()
    print(f"entries up to {top}: values near {exact.mean():.0f}, off by up to {errors[top]}")
sizes = {
    len(fhe.encrypt_matrix(private, settings, np.ones((2, columns), np.uint64)).serialize()) for columns in (16, 256)
}
print("bytes of 2 x 16 and 2 x 256:", sizes)
still(all(2 < error < 500 for error in errors.values()) and len(sizes) == 1)
PY
