# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Set-up shared by tests/demo, tests/run, tests/bench and tests/conformance; sourced by them, after `set -euo pipefail`.
# Gives: root, say, die, need_root, install_packages, build_release, build_debug.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Debian's own tools come first: another python3, clang or cmake in PATH is not what this was tested with.
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
export LC_ALL=C.UTF-8

packages=(
    # compilers and build
    build-essential cmake ninja-build pkg-config git
    clang libclang-rt-14-dev clang-format clang-tidy bpftool linux-libc-dev
    # libraries
    libbpf-dev libxdp-dev libdpdk-dev libnl-3-dev libnl-route-3-dev libsystemd-dev
    libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libspdlog-dev libfmt-dev libexpected-dev libabsl-dev
    prometheus-cpp-dev
    libgtest-dev libgmock-dev
    # what the lab runs; dpdk-dev is there for dpdk-testpmd
    dpdk-dev frr bird2 iperf3 tcpdump ethtool traceroute iputils-ping iproute2 python3 procps util-linux mount
    nftables iptables # iptables has both, -nft and -legacy
    prometheus # with promtool; the lab starts its own
)

# What tests/package needs as well, and tests/vm: its guests' own are downloaded and unpacked beside.
package_test_packages=(mmdebstrap systemd-container lintian dpkg-dev openssh-client kmod cpio xz-utils zstd e2fsprogs)

say() { printf '%s\n' "$@"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# logged NAME COMMAND...: runs it with the output in build/log/NAME.log; on failure shows the log's end.
logged() {
    local log="$root/build/log/$1.log"
    shift
    mkdir -p "${log%/*}"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 60 "$log" >&2
        die "'$1' failed; all of its output: $log"
    fi
}

need_root() {
    [[ $EUID -eq 0 ]] || die "${0##*/} must run as root: it installs packages and makes network namespaces"
}

missing_packages() {
    local p
    for p in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed ]] || printf '%s\n' "$p"
    done
}

# Packages bring services along. None is started while they are installed, and Prometheus not at the next boot either: the lab
# starts its own.
policy=/usr/sbin/policy-rc.d
start_no_services() {
    [[ -e $policy ]] || printf '#!/bin/sh\n# tests/lib/setup.sh\nexit 101\n' | install -m 755 /dev/stdin "$policy"
}
may_start_services() {
    if grep -qs tests/lib/setup.sh "$policy"; then rm -f "$policy"; fi
    if [[ " $* " == *" prometheus "* && -d /run/systemd/system ]]; then
        systemctl --quiet disable --now prometheus.service || true
    fi
}

# Installs what is missing; asks nothing. With everything there it needs neither network nor apt.
install_packages() {
    may_start_services # one that was killed may have left its policy
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]} == 0)); then
        say "packages: all ${#packages[@]} are installed"
        return
    fi
    command -v apt-get >/dev/null || die "apt-get not found: this set-up is for Debian 12"
    say "packages: installing ${#missing[@]} of ${#packages[@]}: ${missing[*]}" | fold -s -w 96
    export DEBIAN_FRONTEND=noninteractive
    logged apt-update apt-get -o DPkg::Lock::Timeout=300 update
    start_no_services
    # shellcheck disable=SC2064 # these packages, as they are now
    trap "may_start_services ${missing[*]}" EXIT
    logged apt-install apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold install -y --no-install-recommends "${missing[@]}"
    trap - EXIT
    may_start_services "${missing[@]}"
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || die "still not installed: ${missing[*]}"
}

# build_tree DIR TYPE CC CXX TARGET...: configures DIR and builds the targets, quiet unless something fails.
build_tree() {
    local dir=$1 type=$2 cc=$3 cxx=$4 start=$SECONDS
    shift 4
    say "build: $dir ($type, $("$cxx" --version | head -n 1))"
    # Lines are enough for ASan's and gdb's backtraces, and compile faster than all that -g tells.
    logged "cmake-$dir" cmake -S "$root" -B "$root/$dir" -G Ninja -DCMAKE_BUILD_TYPE="$type" \
        -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_CXX_FLAGS_DEBUG=-gline-tables-only
    logged "ninja-$dir" ninja -C "$root/$dir" "$@"
    say "build: $dir took $((SECONDS - start)) s"
}

# What the lab runs: the programs and the lab's own tools. GoogleTest programs are built in build-debug alone.
build_release() {
    build_tree build Release gcc g++ steering_bpf/all fib_sync/all dataplane/all systemd/all \
        tests/netns/all tests/benchmarks/all
}

# The tree with ASan and UBSan, in which unit, bpf, dataplane and fuzz tests run: these, and what they are linked with.
build_debug() {
    build_tree build-debug Debug clang clang++ tests/unit/all tests/bpf/all tests/dataplane/all tests/fuzz/all
}
