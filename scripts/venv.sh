# Shell functions for the scripts beside this file; it is sourced, not run.

say() { printf '%s\n' "$*" >&2; }

# Run a command as root if that is possible without asking; otherwise fail.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo -n "$@"
    else
        return 1
    fi
}

# Install a package with the package manager of this machine: $1 for Debian and Ubuntu, $2 for Homebrew.
install_package() {
    if command -v apt-get >/dev/null 2>&1; then
        as_root apt-get update -qq >&2 && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >&2
    elif command -v brew >/dev/null 2>&1; then
        brew install "$2" >&2
    else
        return 1
    fi
}

# Print the first Python that is new enough.
find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    say "Git-Theta needs Python 3.11 or newer: install it, or name it in the variable PYTHON."
    return 1
}

# Make a virtual environment in the folder $1, unless a working one is there.
make_venv() {
    if "$1/bin/python" -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    python=$(find_python) || return 1
    rm -rf "$1"
    if "$python" -m venv "$1" >/dev/null 2>&1; then
        return 0
    fi
    rm -rf "$1"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    say "This Python cannot make virtual environments; installing the package that lets it."
    if install_package "python$version-venv" python && "$python" -m venv "$1"; then
        return 0
    fi
    say "Install the package python$version-venv (or python3-venv) and try again."
    return 1
}
