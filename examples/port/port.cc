// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/port/port.h"

#include <cstdint>

namespace port {

bool Space::Fault(ptage::Gfn page, ptage::Rights access) {
  void* const memory = kernel::AllocatePage();
  if (memory == nullptr) return false;
  // It is born accessed: the access that wants it is about to be made.
  const Format::Word leaf = ptage::Used<Format>(
      Format::MakeLeaf(ptage::Pfn{kernel::FrameOf(memory)}, ptage::Level{1},
                       ptage::Rights::kAll),
      access);
  for (;;) {
    ptage::MapOutcome mapped;
    {
      const Walk walk(reclaimer_);
      mapped = tree_.Map(walk, page, ptage::Level{1}, leaf);
    }
    if (mapped == ptage::MapOutcome::kDone) return true;
    if (mapped != ptage::MapOutcome::kRetry) {
      kernel::FreePage(memory);
      return mapped == ptage::MapOutcome::kPresent;
    }
    kernel::Yield();
  }
}

ptage::AgeResult Space::Age(ptage::GfnRange range, ptage::Bitmap young) {
  // A section holds back what others have retired, and this CPU's other
  // threads: neither for longer than this.
  constexpr std::uint64_t kSectionNs = 50'000;
  // Entries between two looks at the clock.
  constexpr std::uint64_t kStep = 2048;
  const ptage::AgeOutput output{.begin = range.begin, .young = young};
  ptage::AgeResult result;
  ptage::WalkCursor cursor(range);
  while (!cursor.Done()) {
    {
      const Walk walk(reclaimer_);
      const std::uint64_t until = kernel::ClockNs() + kSectionNs;
      do {
        result |= ptage::HarvestSome(tree_, walk, cursor, kStep,
                                     ptage::AgeAction::kTestAndClear,
                                     ptage::AgeMode::kFastOnly, output);
      } while (!cursor.Done() && kernel::ClockNs() < until);
    }
    kernel::Yield();
  }
  return result;
}

std::uint64_t Space::Zap(ptage::GfnRange range) {
  std::uint64_t written = 0;
  const auto free = [&](const ptage::TakenLeaf<Format>& leaf) {
    // No CPU uses the page any more: it was flushed.
    if (ptage::IsDirty<Format>(leaf.word)) ++written;
    kernel::FreePage(kernel::PageAt(Format::FrameOf(leaf.word).value));
  };
  const Walk walk(reclaimer_);
  tree_.RemoveTables(walk, range, free);
  tree_.Zap(walk, range, ptage::ZapFlush::kEach, free);
  return written;
}

}  // namespace port
