# Shared by the setup scripts: messages, the cache folder, hashes, pinned downloads.
# Sourced (`. scripts/lib.sh`), never run; expects bash with `set -eu` and the repository root in $root.

# Where downloads, third-party builds and models are kept: outside git, shared by all checkouts.
cache=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
export PARLEY_CACHE="$cache"

say() { printf '[setup] %s\n' "$*" >&2; }

die() {
    printf '[setup] error: %s\n' "$*" >&2
    exit 1
}

# sha256_of FILE: the hash alone.
sha256_of() { sha256sum "$1" | cut -d' ' -f1; }

# hash_text: a short key for whatever comes on standard input.
hash_text() { sha256sum | cut -c1-16; }

# with_lock NAME COMMAND…: one builder of a thing at a time, also across checkouts.
with_lock() {
    local lock="$cache/locks/$1"
    shift
    mkdir -p "$cache/locks"
    if ! flock -n "$lock" true; then say "waiting for another setup that holds $lock"; fi
    flock "$lock" "$@"
}

# fetch_sdist NAME VERSION SHA256 FILE: puts the pinned source package into downloads/ through pip and
# prints its path. What is already there with the right hash is not fetched again.
fetch_sdist() {
    local name=$1 version=$2 sha256=$3 file=$4
    local target="$cache/downloads/$file" work
    if [ -f "$target" ] && [ "$(sha256_of "$target")" = "$sha256" ]; then
        echo "$target"
        return
    fi
    mkdir -p "$cache/downloads"
    work=$(mktemp -d "$cache/downloads/.fetch-XXXXXX")
    echo "$name==$version --hash=sha256:$sha256" >"$work/requirements.txt"
    say "fetching $name $version (source package, SHA-256 checked)"
    if ! "$("$root/scripts/python-tools")" -m pip download --disable-pip-version-check --no-deps --no-cache-dir \
        --no-binary "$name" --require-hashes -r "$work/requirements.txt" -d "$work" >&2; then
        rm -rf "$work"
        die "could not fetch $name $version. Check the network and proxy settings, then run this again."
    fi
    if [ "$(sha256_of "$work/$file")" != "$sha256" ]; then
        rm -rf "$work"
        die "$file does not have the expected SHA-256 $sha256; it was thrown away"
    fi
    mv "$work/$file" "$target"
    rm -rf "$work"
    echo "$target"
}
