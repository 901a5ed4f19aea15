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

# build_jobs: how many compilers run at once. Some of llama.cpp's files take 1 GiB each; a machine with
# less memory than that for each core would otherwise end in the out-of-memory killer.
build_jobs() {
    local cores available room
    cores=$(nproc)
    available=$(awk '$1 == "MemAvailable:" { print int($2 / 1048576) }' /proc/meminfo)
    # A container's limit, less what it cannot give back.
    room=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
    if [ "$room" != max ]; then
        room=$(((room - $(awk '$1 == "anon" { print $2 }' /sys/fs/cgroup/memory.stat)) / 1073741824))
        [ "$room" -ge "$available" ] || available=$room
    fi
    [ "$available" -ge "$cores" ] || cores=$available
    echo $((cores > 1 ? cores : 1))
}

# with_lock NAME COMMAND…: one builder of a thing at a time, also across checkouts.
with_lock() {
    local lock="$cache/locks/$1"
    shift
    mkdir -p "$cache/locks"
    if ! flock -n "$lock" true; then say "waiting for another setup that holds $lock"; fi
    flock "$lock" "$@"
}

# fetch_sdist NAME VERSION SHA256 FILE: puts the pinned source package into downloads/ through pip and
# prints its path. What is already there with the right hash is not fetched again. pip reads a source
# package's metadata by running its build system: --no-build-isolation lets it take the ones pinned in
# tools/requirements.txt, where it would otherwise fetch whatever is newest.
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
        --no-build-isolation --no-binary "$name" --require-hashes -r "$work/requirements.txt" -d "$work" >&2; then
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

# fetch_npm NAME VERSION SHA256: the same with a package of npm's.
fetch_npm() {
    local name=$1 version=$2 sha256=$3
    local file="$name-$version.tgz" target work
    target="$cache/downloads/$file"
    if [ -f "$target" ] && [ "$(sha256_of "$target")" = "$sha256" ]; then
        echo "$target"
        return
    fi
    mkdir -p "$cache/downloads"
    work=$(mktemp -d "$cache/downloads/.fetch-XXXXXX")
    say "fetching $name $version (npm package, SHA-256 checked)"
    if ! (cd "$work" && npm pack --loglevel=error --ignore-scripts "$name@$version" >/dev/null) || [ ! -f "$work/$file" ]; then
        rm -rf "$work"
        die "npm could not fetch $name $version. Check the network and proxy settings, then run this again."
    fi
    if [ "$(sha256_of "$work/$file")" != "$sha256" ]; then
        rm -rf "$work"
        die "$file does not have the expected SHA-256 $sha256; it was thrown away"
    fi
    mv "$work/$file" "$target"
    rm -rf "$work"
    echo "$target"
}

# python_environment NAME FILE: a private Python with the packages that FILE pins by hash, made when it is
# missing or out of date. Prints its python3.
python_environment() {
    local name=$1 file=$2 key venv
    key=$( (cat "$root/$file"; python3 --version) | hash_text)
    venv="$cache/$name-python-$key"
    if [ ! -e "$venv/ready" ]; then
        say "installing Python packages ($file)"
        rm -rf "$venv"
        mkdir -p "$cache"
        python3 -m venv "$venv" || die "python3 -m venv failed; on Debian it needs the package python3-venv"
        "$venv/bin/python3" -m pip install --disable-pip-version-check --quiet --no-deps --only-binary :all: \
            --require-hashes -r "$root/$file" >&2 ||
            die "could not install $file. Check the network and proxy settings, then run this again."
        touch "$venv/ready"
    fi
    echo "$venv/bin/python3"
}
