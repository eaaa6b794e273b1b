#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Projects outside the tree that build with CMake or pkg-config, from scratch:
# with the source as a subdirectory, with what is installed, and with the core
# alone, where there is no Abseil. Each runs the guide's first example, or a
# program on one entry, and must print what it should.

set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/ptage" "$work/core" "$work/all" "$work/sub"
cp -rL CMakeLists.txt cmake include "$work/ptage/"
cp -L examples/quick_start.cc "$work/all/"
cp -L examples/quick_start.cc "$work/sub/"
awk '/^```/ { if (inside) exit; inside = ($0 == "```text"); next } inside' \
  docs/guide/five_minutes.md > "$work/expected"
[ -s "$work/expected" ]
cd "$work"

# An entry is asked twice. A program on the core names no other header.
cat > core/core.cc <<'END'
#include "ptage/core.h"
int main() {
  using F = ptage::Ept;
  ptage::SpteCell<F> entry(
      F::MakeLeaf(ptage::Pfn{1}, ptage::Level{1}, ptage::Rights::kAll) |
      F::kAccessed);
  const bool first = ptage::TestClearYoungFastOnly<F>(entry).young;
  const bool second = ptage::TestClearYoungFastOnly<F>(entry).young;
  return first && !second ? 0 : 1;
}
END

# project FOLDER TARGET SOURCE HOW-TO-FIND-IT…
project() {
  local folder=$1 target=$2 source=$3
  shift 3
  cat > "$folder/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES CXX)
$*
add_executable(consumer $source)
target_link_libraries(consumer PRIVATE $target)
END
}

# build FOLDER CMAKE-ARGUMENT…
build() {
  local folder=$1
  shift
  cmake -S "$folder" -B "$folder/build" \
    -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Wconversion -Werror" "$@"
  cmake --build "$folder/build"
}

install_to() {
  local prefix=$1
  shift
  cmake -S ptage -B "$prefix-build" -DCMAKE_INSTALL_PREFIX="$prefix" "$@"
  cmake --install "$prefix-build"
}

{
  project sub ptage::ptage quick_start.cc "add_subdirectory(../ptage ptage)"
  build sub
  sub/build/consumer | diff expected -

  install_to "$work/everything"
  # What is installed does not know where it was installed.
  mv everything moved
  project all ptage::ptage quick_start.cc "find_package(ptage 0.1 REQUIRED)"
  build all -DCMAKE_PREFIX_PATH="$work/moved"
  all/build/consumer | diff expected -

  install_to "$work/alone" -DPTAGE_CORE_ONLY=ON \
    -DCMAKE_DISABLE_FIND_PACKAGE_absl=ON
  project core ptage::core core.cc \
    "find_package(ptage 0.1 REQUIRED COMPONENTS core)"
  build core -DCMAKE_PREFIX_PATH="$work/alone" \
    -DCMAKE_DISABLE_FIND_PACKAGE_absl=ON
  core/build/consumer

  # A version that is to come is not found.
  project core ptage::core core.cc \
    "find_package(ptage 0.2 REQUIRED COMPONENTS core)"
  if build core -DCMAKE_PREFIX_PATH="$work/alone"; then
    echo "found a version that does not exist"
    exit 1
  fi
} > log 2>&1 || { cat log; exit 1; }

# pkg-config, of what stands where it was installed.
export PKG_CONFIG_PATH=$work/installed/share/pkgconfig
install_to "$work/installed" > log 2>&1 || { cat log; exit 1; }
# shellcheck disable=SC2046 # pkg-config's words are words.
g++ -std=c++20 core/core.cc $(pkg-config --cflags ptage-core) -o core/program
core/program
# shellcheck disable=SC2046
g++ -std=c++20 all/quick_start.cc $(pkg-config --cflags --libs ptage) \
  -o all/program
all/program | diff expected -

# Every header, and the umbrellas' versions, went along.
diff <(cd ptage/include && find . -name '*.h' | sort) \
  <(cd installed/include && find . -type f | sort)
version=$(awk '/define PTAGE_VERSION_/ { printf "%s%s", dot, $3; dot = "." }' \
  ptage/include/ptage/config.h)
[ "$(pkg-config --modversion ptage)" = "$version" ]
