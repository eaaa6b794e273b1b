// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One function for each question that is answered by vectors, for
// neon_assembly.py to look at.

#include <cstdint>

#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/once/vector.h"

namespace {
using Word = std::uint64_t;
using Cells = ptage::Cell<Word>;
}  // namespace

extern "C" {

std::uint64_t AskWhereInRun(const Cells* cells, unsigned count, Word first,
                            Word stride) {
  return ptage::WhereInRun(cells, count, first, stride);
}

std::uint64_t AskWhereHasLacks(const Cells* cells, unsigned count, Word has,
                               Word lacks) {
  return ptage::WhereHasLacks(cells, count, has, lacks);
}

bool AskBlockInRun(const Cells* cells, Word first, Word stride) {
  return ptage::BlockInRun(cells, first, stride);
}

bool AskBlockHasLacks(const Cells* cells, Word has, Word lacks) {
  return ptage::BlockHasLacks(cells, has, lacks);
}

void AskSeeWords(const Cells* cells, unsigned count, Word any, Word also,
                 Word equal, ptage::WordsSeen* seen) {
  *seen = ptage::SeeWords(cells, count, any, also, equal);
}

void AskSeeOneBlock(const Cells* const (*blocks)[1], Word all, Word has,
                    ptage::BlockSeen (*seen)[1]) {
  ptage::SeeBlocks<1>(*blocks, all, has, *seen);
}

void AskSeeEightBlocks(const Cells* const (*blocks)[8], Word all, Word has,
                       ptage::BlockSeen (*seen)[8]) {
  ptage::SeeBlocks<8>(*blocks, all, has, *seen);
}

}  // extern "C"
