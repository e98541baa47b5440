#!/usr/bin/env bash
# Installs every Debian 12 package that Filigree builds and runs with. Needs root (or sudo); does nothing where all are there.
set -euo pipefail

packages=(
  # toolchain
  build-essential cmake ninja-build pkg-config git ca-certificates ccache clang-format clang-tidy
  # kernels: SIMD, dense GEMM (oneDNN's CMake package asks for OpenCL's headers), threads
  libhwy-dev libdnnl-dev ocl-icd-opencl-dev
  # errors, command line, configuration, JSON, logs, hashes, regular expressions
  libabsl-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libspdlog-dev libfmt-dev
  libssl-dev libxxhash-dev libpcre2-dev
  # tests
  libgtest-dev libgmock-dev python3 python3-venv
)

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
echo "install: ${#missing[@]} packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "install: done"
