#!/usr/bin/env bash
# Runs `make run` and `make test` from a clean clone inside a bare Debian 12: run.sh [run|test|both].
#
# Needs root and debootstrap (installed when missing). The folder $PARLEY_CLEAN_ROOT (default
# /var/tmp/parley-clean) becomes a minbase Debian; this machine's CA bundle and the settings of its
# package managers are carried in, since the network may need them. Models and builds are made anew in there.
# What runs inside cannot see this machine's files. The folder is left for a look; remove it when done.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/scripts/lib.sh"

what=${1:-both}
bare=${PARLEY_CLEAN_ROOT:-/var/tmp/parley-clean}
mirror=${PARLEY_CLEAN_MIRROR:-$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) bookworm main.*/\2/p; s/^URIs: *//p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)}
port=18080
[ "$(id -u)" -eq 0 ] || die "this needs root (debootstrap, chroot)"
[ -n "$mirror" ] || die "no Debian mirror found in /etc/apt; name one in PARLEY_CLEAN_MIRROR"

# This machine's certificates, under a name that installing ca-certificates in there does not overwrite.
bundle=/etc/parley-clean-ca.crt
certificate_settings=(PIP_CERT="$bundle" SSL_CERT_FILE="$bundle" CURL_CA_BUNDLE="$bundle" NODE_EXTRA_CA_CERTS="$bundle"
    REQUESTS_CA_BUNDLE="$bundle" GIT_SSL_CAINFO="$bundle")

make_bare() {
    [ -x "$bare/usr/bin/apt-get" ] && return
    command -v debootstrap >/dev/null || apt-get install -y -q debootstrap >&2
    say "making a bare Debian 12 in $bare"
    debootstrap --variant=minbase bookworm "$bare" "$mirror" >&2
}

carry_in() {
    mkdir -p "$bare/etc/apt/apt.conf.d"
    cp -L "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$bare$bundle"
    cp -L /etc/resolv.conf "$bare/etc/resolv.conf"
    cp -L /etc/hosts "$bare/etc/hosts"
    cp -r /etc/apt/apt.conf.d/. "$bare/etc/apt/apt.conf.d/"
    rm -f "$bare/etc/apt/sources.list" # debootstrap's; this machine's settings name the same
    cp -r /etc/apt/sources.list /etc/apt/sources.list.d "$bare/etc/apt/" 2>/dev/null || true
    local file
    for file in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" "$HOME/.npmrc"; do
        [ -f "$file" ] || continue
        case $file in
        *.npmrc) cp -L "$file" "$bare/root/.npmrc" ;;
        *) cp -L "$file" "$bare/etc/pip.conf" ;;
        esac
    done
    mountpoint -q "$bare/proc" || mount -t proc proc "$bare/proc"
    mountpoint -q "$bare/dev" || mount --bind /dev "$bare/dev"
    mountpoint -q "$bare/dev/pts" || mount --bind /dev/pts "$bare/dev/pts"
    mountpoint -q "$bare/dev/shm" || mount -t tmpfs shm "$bare/dev/shm"
    rm -rf "$bare/root/parley"
    git clone -q --no-hardlinks "$root" "$bare/root/parley"
}

unmount() {
    umount "$bare/dev/pts" "$bare/dev/shm" "$bare/dev" "$bare/proc" 2>/dev/null || true
}

inside() {
    env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        ${https_proxy+https_proxy="$https_proxy"} ${http_proxy+http_proxy="$http_proxy"} \
        ${no_proxy+no_proxy="$no_proxy"} "${certificate_settings[@]}" \
        chroot "$bare" /bin/bash -euc "cd /root/parley; $1"
}

# Starts `make run`, waits until the page answers, ends it. Prints how long that took.
try_run() {
    local started=${EPOCHREALTIME/[.,]/} pid
    inside "exec make run ARGS='--port $port'" &
    pid=$!
    until curl -fs -o /dev/null "http://127.0.0.1:$port/"; do
        kill -0 "$pid" 2>/dev/null || die "make run ended before the page answered"
        sleep 0.02
    done
    say "the page answered after $(((${EPOCHREALTIME/[.,]/} - started) / 1000)) ms"
    pkill -TERM -P "$pid" || kill "$pid"
    wait "$pid" || true
}

make_bare
trap unmount EXIT
carry_in
inside "command -v make >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends make; }" >&2
case $what in
run | both)
    say "make run, the first time"
    try_run
    say "make run, the second time"
    try_run
    ;;
esac
case $what in
test | both) inside "make test" ;;
esac
