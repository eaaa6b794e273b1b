#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# build.sh COMPILER LEVELS OUT [FOLDER]: builds the kernel, from the top of the
# repository, by g++ or clang++-19, for 4 or 5 levels of tables. A file in FOLDER,
# by its path from the top, is taken instead of the one of the repository.

set -euo pipefail
compiler=$1
levels=$2
out=$3
folder=${4:-.}

sources=()
for source in boot.S kernel.cc runtime.cc; do
  source=examples/bare_metal/$source
  [ ! -e "$folder/$source" ] || source=$folder/$source
  sources+=("$source")
done
# No registers but the general ones: an exception need not save others.
"$compiler" -std=c++20 -O2 -ffreestanding -fno-exceptions -fno-rtti -nostdlib \
  -static -fno-pic -mno-red-zone -mgeneral-regs-only -fno-stack-protector \
  -fno-threadsafe-statics -fno-asynchronous-unwind-tables \
  -Wall -Wextra -Wconversion -Wshadow -Werror \
  -DKERNEL_LEVELS="$levels" \
  -I"$folder/include" -I"$folder" -Iinclude -I. \
  -Wl,-T,examples/bare_metal/kernel.ld -Wl,--build-id=none \
  -Wl,--no-warn-rwx-segments "${sources[@]}" -o "$out"
