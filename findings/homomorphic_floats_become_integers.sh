#!/usr/bin/env bash
# sf-heu 0.5.2b0: the homomorphic encryption of SecretFlow (vertical learning), Paillier on numpy arrays.
#
# Guess, before running: an array of floats is either refused or kept to about six decimals, rounded to the nearest;
# a product of two encrypted-and-plain arrays comes back in the units of its factors.
#
# Seen: without an encoder floats lose their fraction, towards zero and without a word: pixels from 0 to 1 are all zero.
# With the float encoder they keep six decimals, cut and not rounded, so a float32 0.0001 comes back as 0.000099 and a
# gradient of 9e-7 as 0. A matrix product decoded by the same encoder is a million times too large.
#
#   no encoder: [0, 0, 1, -1] for [0.5, -0.25, 1.7, -1.7]
#   float encoder: [9.9e-05, 0.0, -1e-06] for [1e-4 (float32), 9e-7, -1.6e-6]
#   [1, 2] times [[0.5], [1.0]]: 2500000.0
#
# For unsplit: where a vertical training sends encrypted activations or gradients, arrays recorded after decryption are
# cut to steps of 1e-6, small cut gradients are zero, and products carry the scale twice. Check the scale against one
# sample computed in the clear before an import; a constant factor alone changes no verdict, zeros do.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed numpy==1.26.4 sf-heu==0.5.2b0
observed <<'PY'
import numpy as np
from heu import numpy as encrypted
from heu import phe
from still import still

kit = encrypted.setup(phe.SchemaType.ZPaillier, 2048)
floats = kit.float_encoder()


def there_and_back(array: np.ndarray, *encoder: object) -> list[float]:
    sent = kit.encryptor().encrypt(kit.array(array, *encoder))
    return kit.decryptor().decrypt(sent).to_numpy(*encoder).ravel().tolist()


plain = there_and_back(np.array([0.5, -0.25, 1.7, -1.7]))
small = there_and_back(np.array([np.float32(1e-4), 9e-7, -1.6e-6], dtype=np.float64), floats)
product = kit.evaluator().matmul(
    kit.encryptor().encrypt(kit.array(np.array([[1.0, 2.0]]), floats)), kit.array(np.array([[0.5], [1.0]]), floats)
)
scaled = kit.decryptor().decrypt(product).to_numpy(floats).item()
print("no encoder:", plain, "for [0.5, -0.25, 1.7, -1.7]")
print("float encoder:", small, "for [1e-4 (float32), 9e-7, -1.6e-6]")
print("[1, 2] times [[0.5], [1.0]]:", scaled)
still(plain == [0, 0, 1, -1] and np.allclose(small, [9.9e-5, 0, -1e-6], atol=1e-12) and scaled == 2.5e6)
PY
