// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Who else is at work in the reclaim soak: evictors, agers, those who look
// around, and those who unmap.

#ifndef PTAGE_TEST_SOAK_RECLAIM_ROLES_H_
#define PTAGE_TEST_SOAK_RECLAIM_ROLES_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <thread>

#include "ptage/lru.h"
#include "ptage/lru/eviction.h"
#include "ptage/lru/look_around.h"
#include "ptage/lru/page_word.h"
#include "ptage/mmu.h"
#include "ptage/types.h"
#include "test/soak/reclaim/pages.h"
#include "test/soak/reclaim/tallies.h"
#include "test/soak/reclaim/uses.h"
#include "test/soak/reclaim/world.h"

namespace ptage::reclaim_soak {

// Of one thread.
class Role {
 public:
  Role(World& world, std::uint64_t seed) : world_(world), random_(seed) {}
  [[nodiscard]] Tallies& tallies() { return tallies_; }

 protected:
  std::uint64_t Below(std::uint64_t n) { return random_() % n; }
  std::size_t AnyPage() { return Below(kPages); }

  World& world_;
  std::mt19937_64 random_;
  Tallies tallies_;
};

class Evictor : public Role {
 public:
  using Role::Role;

  // Evicts a page, one that the LRU says or any.
  void Turn() {
    std::optional<LruPage> page;
    if (Below(2) == 0) {
      page = world_.lru.Claim();
    } else {
      const auto any = static_cast<LruPage>(AnyPage());
      if (world_.lru.Claim(any) == ClaimOutcome::kClaimed) page = any;
    }
    if (!page.has_value()) return;
    if (!world_.pages.Take(*page)) {
      // Two have claimed it. It stays with the other.
      ++tallies_.corrupt;
      return;
    }
    EvictClaimed(*page);
  }

  // A few frames are to be free at any time.
  [[nodiscard]] bool MayRest() { return world_.pages.free_frames() > 24; }

 private:
  void EvictClaimed(LruPage page) {
    Uses& uses = world_.uses;
    const std::uint64_t claim = world_.claims.Begin(page);
    // Much may happen between a claim and the first freeze.
    if (Below(4) == 0) std::this_thread::yield();
    const bool judges = uses.NobodyAsks();
    const Eviction done = Evict(
        world_.process.mmu, RangeOf(page), world_.marks,
        [&](const ZappedLeaf& leaf) {
          // It is not taken of an entry that is young.
          tallies_.lost_young += leaf.accessed ? 1 : 0;
        },
        [&](bool dirty) {
          if (world_.claims.MarkedIn(page) == claim) {
            ++tallies_.lost_young;
          } else if (judges) {
            Judge(page);
          }
          world_.pages.Store(page, dirty, tallies_);
        });
    // It is out, or its users are told of.
    uses.Told(page);
    world_.claims.End(page);
    if (done.outcome == EvictOutcome::kEvicted) {
      ++tallies_.evicted;
      world_.lru.Release(page, EvictionVerdict::kEvicted);
      world_.pages.PutOut(page);
      return;
    }
    ++tallies_.aborted;
    world_.pages.Keep(page);
    world_.lru.Release(page, EvictionVerdict::kYoung);
  }
  // A page that is gone: was it in use?
  void Judge(std::size_t page) {
    const std::uint64_t owed = world_.uses.Owed(page);
    if (!world_.uses.NobodyAsks()) return;
    ++tallies_.judged;
    // Who asked in between has told.
    if (owed != 0 && world_.uses.Owed(page) == owed) ++tallies_.lost_young;
  }
};

// What an AgingClient asks: the process, and who is found young is told of.
class Asked {
 public:
  explicit Asked(World& world) : world_(world) {}

  AgeResult TestClearYoungFastOnly(GfnRange range, const AgeOutput& output) {
    const Uses::Asking asking(world_.uses);
    const AgeResult result =
        world_.process.mmu.TestClearYoungFastOnly(range, output);
    for (std::uint64_t i = 0; i < range.Frames(); ++i) {
      if (!output.young.Test(i)) continue;
      world_.uses.Told(PageOf(range.begin + i));
      ++tallies_.aged;
    }
    return result;
  }
  [[nodiscard]] Tallies& tallies() { return tallies_; }

 private:
  World& world_;
  Tallies tallies_;
};

class LooksAround : public Role {
 public:
  using Role::Role;

  void Turn() {
    const std::size_t page = AnyPage();
    {
      const Uses::Asking asking(world_.uses);
      const LookedAround seen = LookAround(world_.process.mmu, Gfn{page});
      if (seen.page.young) Tell(page);
      for (std::uint64_t i = 0; i < seen.asked.Frames(); ++i) {
        const std::size_t other = PageOf(seen.asked.begin + i);
        if (other != page && (seen.young >> i & 1) != 0) Tell(other);
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(Below(400)));
  }

 private:
  void Tell(std::size_t page) {
    if (page >= kPages) return;
    world_.uses.Told(page);
    world_.lru.Promote(static_cast<LruPage>(page));
    ++tallies_.looked_at;
  }
};

// Unmaps, of the process and of the nested guest; takes slots and mappings away
// and gives them back.
class Changer : public Role {
 public:
  using Role::Role;

  void Turn() {
    const auto hand_over = [&](const ZappedLeaf& leaf) {
      world_.HandOver(leaf);
      ++tallies_.unmapped;
    };
    const std::size_t page = AnyPage();
    const GfnRange some = kAll.Clip({Gfn{page}, Gfn{page + 1 + Below(8)}});
    const std::uint64_t what = Below(256);
    if (what == 0) {
      Change([&] { return world_.vm.RemoveMemslot(kSecondSlot, hand_over); },
             [&] { return world_.AddSlot(kSecondSlot); });
    } else if (what == 1) {
      constexpr GfnRange kMapping = World::Process::kOrdinary;
      auto& mmu = world_.process.mmu;
      Change([&] { return mmu.RemoveMapping(kMapping, hand_over); },
             [&] { return mmu.AddMapping(kMapping, Rights::kAll).ok(); });
    } else if (what < 96) {
      const NestedGfn name{page + kNameStep * (1 + Below(kNames))};
      (void)world_.vm.InvalidateNested({name, name + some.Frames()}, hand_over,
                                       [] {});
    } else {
      (void)world_.process.mmu.Unmap(some, hand_over);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(Below(300)));
  }

 private:
  template <class Remove, class Add>
  void Change(Remove&& remove, Add&& add) {
    const bool removed = remove().ok();
    std::this_thread::sleep_for(std::chrono::microseconds(Below(1000)));
    if (!removed || !add()) ++tallies_.corrupt;
    ++tallies_.slot_changes;
  }
};

}  // namespace ptage::reclaim_soak

#endif  // PTAGE_TEST_SOAK_RECLAIM_ROLES_H_
