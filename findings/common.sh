# Sourced by every finding: packages go into an environment that is removed when the script ends.

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

# Installs exactly the packages named, in an environment of their own ($PYTHON makes it; 3.11 suits all findings).
installed() {
    "${PYTHON:-python3}" -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}

# Runs the Python on standard input there. It prints what it sees and ends in `still(True or False)`, true while the
# behaviour is as the comments say; otherwise the script ends with status 1 and the sentence.
observed() {
    cat >"$place/observed.py"
    cat >"$place/still.py" <<'PY'
import sys


def still(as_seen: bool) -> None:
    sys.exit(None if as_seen else "The behaviour has changed: what this script and the documentation say of it is out of date.")
PY
    (cd "$place" && OMP_NUM_THREADS=1 "$place/venv/bin/python" "$place/observed.py")
}
