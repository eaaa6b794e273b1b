// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What must hold of the reclaim soak's world when no thread is at work.

#ifndef PTAGE_TEST_SOAK_RECLAIM_CHECKS_H_
#define PTAGE_TEST_SOAK_RECLAIM_CHECKS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptage/lru/page_word.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/soak/reclaim/pages.h"
#include "test/soak/reclaim/tallies.h"
#include "test/soak/reclaim/world.h"

namespace ptage::reclaim_soak {

// What all entries of a page say together.
struct Mapped {
  bool present = false;
  bool young = false;
  bool dirty = false;
};

class Checks {
 public:
  explicit Checks(World& world) : world_(world) {}

  // `written(cpu, page)`: what the CPU knows that its lane holds. Returns what
  // was wrong.
  template <class Written>
  [[nodiscard]] Tallies Run(Written&& written) {
    wrong_ = Tallies();
    const LocklessWalk walk(world_.machine.domain);
    const LocklessWalk process_walk(world_.process.domain);
    std::uint64_t in = 0;
    std::uint64_t nested = 0;
    for (std::size_t page = 0; page < kPages; ++page) {
      Mapped mapped;
      Look<X86_64>(
          world_.process.mmu.own().tree().Lookup(process_walk, Gfn{page}), page,
          mapped);
      Look<Ept>(world_.vm.tdp().tree().Lookup(walk, Gfn{page}), page, mapped);
      for (std::uint64_t i = 1; i <= kNames; ++i) {
        const FoundEntry<Ept> found =
            world_.vm.shadow().tree().Lookup(walk, Gfn{page + kNameStep * i});
        Look<Ept>(found, page, mapped);
        if (!Ept::IsPresent(found.word)) continue;
        ++nested;
        CheckInRmap(walk, *found.entry, page);
      }
      CheckPage(page, mapped);
      in += world_.pages.IsIn(page) ? 1 : 0;
      for (std::size_t cpu = 0; cpu < kCpus; ++cpu) {
        Expect(world_.pages.Value(page, cpu) == written(cpu, page),
               wrong_.lost_write);
      }
    }
    // As many entries are in rmaps as there are: so no others are.
    std::uint64_t entries = 0;
    for (std::size_t page = 0; page < kPages; ++page) {
      Memslot<Ept>* const slot = world_.vm.memslots().Find(walk, Gfn{page});
      Expect(slot != nullptr, wrong_.corrupt);
      if (slot == nullptr) continue;
      entries += world_.vm.shadow().CountEntries(*slot, Gfn{page}, Level{1});
    }
    Expect(entries == nested, wrong_.corrupt);
    Expect(world_.vm.shadow().live() == nested, wrong_.corrupt);
    Expect(world_.pages.free_frames() + in == kFrameLimit, wrong_.corrupt);
    return wrong_;
  }

 private:
  static void Expect(bool holds, std::uint64_t& wrong) {
    wrong += holds ? 0 : 1;
  }

  template <SpteFormat F>
  void Look(const FoundEntry<F>& found, std::size_t page, Mapped& mapped) {
    Expect(!IsFrozen<F>(found.word), wrong_.corrupt);
    if (!F::IsPresent(found.word)) return;
    mapped.present = true;
    mapped.young = mapped.young || IsYoung<F>(found.word);
    mapped.dirty = mapped.dirty || (found.word & F::kDirty) == F::kDirty;
    Expect(F::FrameOf(found.word) == World::Process::kFirst + page,
           wrong_.corrupt);
  }
  template <class Walk>
  void CheckInRmap(const Walk& walk, SpteCell<Ept>& entry, std::size_t page) {
    const Gfn gfn{page};
    Memslot<Ept>* const slot = world_.vm.memslots().Find(walk, gfn);
    Expect(
        slot != nullptr &&
            RecordedFrame<Ept>(world_.machine.arena, entry) == gfn &&
            world_.machine.rmaps.Contains(slot->HeadOf(gfn, Level{1}), entry),
        wrong_.corrupt);
  }
  void CheckPage(std::size_t page, const Mapped& mapped) {
    Pages& pages = world_.pages;
    const bool in = pages.IsIn(page);
    Expect(in || pages.IsOut(page), wrong_.corrupt);
    Expect(in || !mapped.present, wrong_.corrupt);
    const PageState state = world_.lru.Read(static_cast<LruPage>(page)).state();
    Expect(state == (in ? PageState::kResident : PageState::kAbsent),
           wrong_.corrupt);
    // What was written since it was stored, an entry or a mark says.
    Expect(pages.IsStored(page) || mapped.dirty || pages.IsMarkedDirty(page),
           wrong_.lost_write);
    // A use that nobody was told of, an entry tells of.
    Expect(world_.uses.Owed(page) == 0 || mapped.young, wrong_.lost_young);
  }

  World& world_;
  Tallies wrong_;
};

}  // namespace ptage::reclaim_soak

#endif  // PTAGE_TEST_SOAK_RECLAIM_CHECKS_H_
