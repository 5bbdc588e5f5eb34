# Sourced by the scripts: goes to the root of the project and sets $python, the interpreter of a virtual environment
# that has everything pyproject.toml asks for. It is .venv, made from the first good Python on PATH, or .venv-3.X,
# made from PYTHON where that is set. UPGRADE=1 looks for newer packages too.
# shellcheck shell=sh

unset PYTHONHOME PYTHONPATH # they would reach into the environment

# Prints "3.X /full/path/to/python", or says what it is instead and fails.
probe() {
    "$1" -c '
import sys
name = "Python %d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11):
    sys.exit(name)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(name + " without its venv module (Debian, Ubuntu: apt install python3-venv)")
print(name[7:] + " " + sys._base_executable)  # outside of any environment: this one may be made anew' 2>&1
}

# Sets $found to what probe prints for the first good one of the names, or stops with what there is.
choose() {
    got=
    for name; do
        found=$(probe "$name") && return
        case $found in Python*) got="${got:+$got; }$name, which is $found" ;; esac # not what the shell says of a missing one
    done
    echo "Expected Python 3.11 or newer, got ${got:-none called $*}." >&2
    echo "Install it (https://www.python.org/downloads/), or point to it: PYTHON=/path/to/python3 $0" >&2
    exit 1
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
if [ -n "${PYTHON:-}" ]; then
    choose "$PYTHON"
    venv=$root/.venv-${found%% *}
else
    venv=$root/.venv
    found=$(probe "$venv/bin/python") || choose python3 python3.16 python3.15 python3.14 python3.13 python3.12 python3.11 python
fi
cd -- "$root" || exit
"${found#* }" scripts/_venv.py "$venv" ${UPGRADE:+--upgrade --upgrade-strategy=eager} || exit
# shellcheck disable=SC2034 # for the script that sources this
python=$venv/bin/python
