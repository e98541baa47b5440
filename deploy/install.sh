#!/usr/bin/env bash
# Installs the Debian 12 packages that Filigree is built with; with --tests also those that its tests need. Asks for root (or
# sudo) only where something is missing. CUDA is used where it is found and is not installed here.
set -euo pipefail

packages=(
  # toolchain
  build-essential cmake ninja-build pkg-config git ca-certificates ccache
  # kernels: SIMD, dense GEMM (oneDNN's CMake package asks for OpenCL's headers)
  libhwy-dev libdnnl-dev ocl-icd-opencl-dev
  # errors, command line, configuration, JSON, logs, hashes, regular expressions
  libabsl-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libspdlog-dev libfmt-dev
  libssl-dev libxxhash-dev libpcre2-dev
  # metrics, and the HTTP server that shows them
  prometheus-cpp-dev libcpp-httplib-dev
  # the journal of the coordinator
  libsqlite3-dev
  # ranks: messages by MPI and by Gloo
  libopenmpi-dev openmpi-bin libgloo-dev
  # the coordinator's wire
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  # tests are built with the rest
  libgtest-dev libgmock-dev
  # the default corpus: the source of Python's standard library
  libpython3.11-stdlib
)
tests=(
  # the look of the sources; how others read our files
  clang-format clang-tidy python3 python3-venv python3-numpy python3-torch
  # whoever reads metrics: the server and promtool
  prometheus
  # a browser for the coordinator's console
  chromium chromium-driver python3-selenium
  # shells that completion scripts are for
  zsh fish
  # several hosts on this one: network namespaces, with sshd between them
  iproute2 openssh-server openssh-client
  # a Slurm of one node
  slurmctld slurmd slurm-client munge
)

case "${1:-}" in
  "") ;;
  --tests) packages+=("${tests[@]}") ;;
  *) echo "install: unknown word '$1'; usage: install.sh [--tests]" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "install: all ${#packages[@]} packages are there"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install: needs root or sudo for: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
echo "install: ${#missing[@]} packages: ${missing[*]}"
"${apt[@]}" update -qq </dev/null
"${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
echo "install: done"
