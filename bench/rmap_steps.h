// SPDX-License-Identifier: MIT OR Apache-2.0
//
// How far a scan goes: the slots that it reads, of those that can be reached
// from the head's word that it began with, while a writer changes the lists.
// Not more than all is what makes it wait-free: no update sends it on.

#ifndef PTAGE_BENCH_RMAP_STEPS_H_
#define PTAGE_BENCH_RMAP_STEPS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "bench/rmap_worlds.h"
#include "bench/window.h"
#include "ptage/config.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"

namespace ptage::bench {

struct ScanSteps {
  // Largest number of slots that a scan has read ÷ slots behind its word.
  double most = 0;
  // Scans of lists.
  std::uint64_t scans = 0;
  // Entries that the writer has added and taken out again meanwhile.
  std::uint64_t updates = 0;
};

// Scans at least so many lists, of a few entries to several chunks, and until
// the writer, a thread of its own, has made an update.
[[nodiscard]] inline ScanSteps StepsBesideAWriter(std::uint64_t scans,
                                                  std::uint64_t seed) {
  constexpr std::size_t kHeads = 64;
  constexpr std::size_t kPerHead = 14;
  // What the writer adds to a list at most, before it takes all of it out: the
  // list grows by a chunk or two.
  constexpr std::size_t kMore = 24;
  using World = LocklessWorld<7, 14>;
  ColdEntries entries(kHeads * kPerHead + kMore);
  World world(entries, HeadOfEach(kHeads, kPerHead, Layout::kShuffled, seed),
              kHeads);
  Cell<std::uint32_t> stop(0);
  Cell<std::uint64_t> updates(0);
  std::thread writer([&] {
    internal::SplitMix random(seed);
    while (ReadOnce(stop, kRelaxed) == 0) {
      RmapHead& head = world.heads()[random.Below(kHeads)];
      const std::size_t more = 1 + random.Below(kMore);
      for (std::size_t i = 0; i < more; ++i) {
        // Chunks come back late: none, now and then.
        if (world.rmaps().Add(head, entries[kHeads * kPerHead + i]) !=
            RmapAdd::kDone) {
          world.domain().Poll();
        }
      }
      for (std::size_t i = 0; i < more; ++i) {
        static_cast<void>(
            world.rmaps().Remove(head, entries[kHeads * kPerHead + i]));
      }
      FetchAdd(updates, std::uint64_t{more}, kRelaxed);
    }
  });
  ScanSteps steps;
  for (std::size_t i = 0;
       steps.scans < scans || ReadOnce(updates, kRelaxed) == 0;
       i = (i + 1) % kHeads) {
    const World::Domain::Section section = world.domain().Begin();
    const std::uintptr_t word = ReadOnce(world.heads()[i].word, kAcquire);
    if (ptage::internal::RmapWord(word).Many()) {
      const std::uint32_t read =
          World::List::Scan(word, [](SpteCell<Ept>&) { return true; });
      steps.most = std::max(
          steps.most, static_cast<double>(read) / World::SlotsBehind(word));
      ++steps.scans;
    }
    world.domain().End(section);
  }
  WriteOnce(stop, 1u, kRelaxed);
  writer.join();
  steps.updates = ReadOnce(updates, kRelaxed);
  return steps;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RMAP_STEPS_H_
