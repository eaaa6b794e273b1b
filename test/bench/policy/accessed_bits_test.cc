// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The policies that see accessed bits, against examples that were worked out by
// hand and second implementations, and on a machine.

#include "bench/policy/accessed_bits.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bench/policy/machine.h"
#include "bench/policy/ours.h"
#include "bench/policy/workloads.h"
#include "gtest/gtest.h"
#include "test/bench/policy/recorded.h"

namespace ptage::bench {
namespace {

// Bits that a test sets.
class Accessed {
 public:
  void Set(Page page) { young_.insert(page); }
  auto Take() {
    return [this](Page page) { return young_.erase(page) != 0; };
  }

 private:
  std::set<Page> young_;
};

template <class Policy>
Policy Filled(Page pages) {
  Policy policy(16, pages);
  for (Page page = 0; page < pages; ++page) policy.Insert(page);
  return policy;
}

TEST(ClockHandTest, TheHandClearsBitsAndTakesTheFirstWithout) {
  auto clock = Filled<ClockHand>(4);
  Accessed bits;
  bits.Set(0);
  bits.Set(1);
  EXPECT_EQ(clock.Evict(bits.Take()), 2u);
  EXPECT_EQ(clock.Evict(bits.Take()), 3u);
  EXPECT_EQ(clock.Evict(bits.Take()), 0u);
}

TEST(ClockHandTest, ABitInASampleIsAsGoodAsOneTheHandFinds) {
  auto clock = Filled<ClockHand>(3);
  Accessed bits;
  clock.Sampled(0);
  EXPECT_EQ(clock.Evict(bits.Take()), 1u);
  EXPECT_EQ(clock.Evict(bits.Take()), 2u);
}

TEST(GclockTest, APageGoesWhenItsCountIsUsedUp) {
  auto gclock = Filled<Gclock>(3);
  Accessed bits;
  for (int i = 0; i < 5; ++i) gclock.Sampled(0);  // three at most
  gclock.Sampled(1);
  // 0: 3, 1: 1, 2: 0, which goes. In the next turn 0: 2, 1: 0.
  EXPECT_EQ(gclock.Evict(bits.Take()), 2u);
  EXPECT_EQ(gclock.Evict(bits.Take()), 1u);
}

TEST(TwoListsTest, APageIsActiveOnItsSecondReference) {
  auto lists = Filled<TwoLists>(4);
  Accessed bits;
  lists.Sampled(0);
  lists.Sampled(0);  // active
  lists.Sampled(1);  // one turn more
  EXPECT_EQ(lists.Evict(bits.Take()), 2u);
  EXPECT_EQ(lists.Evict(bits.Take()), 3u);
  EXPECT_EQ(lists.Evict(bits.Take()), 1u);
}

TEST(GenerationsTest, TheOldestGenerationGoesFirst) {
  auto generations = Filled<Generations>(4);
  Accessed bits;
  // All are in one. 0 is found young, and goes to the youngest.
  bits.Set(0);
  EXPECT_EQ(generations.Evict(bits.Take()), 1u);
  generations.Sampled(2);
  EXPECT_EQ(generations.Evict(bits.Take()), 3u);
}

// --- On a machine.

template <class Bits>
std::uint64_t Misses(const Workload& workload, std::uint32_t frames,
                     Sampling sampling) {
  Machine machine(workload.pages, frames);
  BitsPolicy<Bits> policy(machine, frames);
  return machine.Run(policy, workload.references, sampling).misses;
}

// The hand goes round an array.
std::uint64_t NaiveClock(const Workload& workload, std::uint32_t frames) {
  std::vector<std::pair<Page, bool>> ring;
  std::size_t hand = 0;
  std::uint64_t misses = 0;
  for (const Page page : workload.references) {
    const auto found = std::find_if(ring.begin(), ring.end(), [&](auto& slot) {
      return slot.first == page;
    });
    if (found != ring.end()) {
      found->second = true;
      continue;
    }
    ++misses;
    if (ring.size() < frames) {
      ring.emplace_back(page, true);
      continue;
    }
    for (; ring[hand].second; hand = (hand + 1) % frames) {
      ring[hand].second = false;
    }
    ring[hand] = {page, true};
    hand = (hand + 1) % frames;
  }
  return misses;
}

Workload Folded(Workload workload) {
  workload.pages = 600;
  for (Page& page : workload.references) page = page % 600;
  return workload;
}

// zipf, scan and loop.
TEST(MachineTest, ClockMissesAsASecondImplementationDoesHoweverItIsSampled) {
  const std::vector<Workload> all = GeneratedWorkloads(4000);
  for (std::size_t i = 0; i < 3; ++i) {
    const Workload workload = Folded(all[i]);
    for (const std::uint32_t frames : {60u, 200u}) {
      const std::uint64_t naive = NaiveClock(workload, frames);
      for (const Sampling& sampling : kSamplings) {
        EXPECT_EQ(Misses<ClockHand>(workload, frames, sampling), naive)
            << workload.name << " " << sampling.name;
      }
    }
  }
}

TEST(MachineTest, ClockMissesAsASecondImplementationDoesOnRecordedTraces) {
  for (const Workload& workload : RecordedWorkloads()) {
    SCOPED_TRACE(workload.name);
    for (const std::uint32_t frames : {13u, 40u}) {
      const std::uint64_t naive = NaiveClock(workload, frames);
      EXPECT_GT(naive, workload.pages);
      for (const Sampling& sampling : kSamplings) {
        EXPECT_EQ(Misses<ClockHand>(workload, frames, sampling), naive)
            << sampling.name;
      }
    }
  }
}

TEST(MachineTest, WhereNothingIsSampledACountIsABit) {
  const Workload workload = Folded(GeneratedWorkloads(4000)[0]);
  EXPECT_EQ(Misses<Gclock>(workload, 100, kSamplings[0]),
            Misses<ClockHand>(workload, 100, kSamplings[0]));
}

TEST(MachineTest, OursMissesEachPageOnceWhereAllFit) {
  for (const Workload& whole : GeneratedWorkloads(4000)) {
    const Workload workload = Folded(whole);
    const std::set<Page> met(workload.references.begin(),
                             workload.references.end());
    Machine machine(workload.pages, workload.pages);
    OurPolicy policy(machine, OurOptions{.look_around = true, .filter = true});
    const PolicyCost cost =
        machine.Run(policy, workload.references, kDefaultSampling);
    EXPECT_EQ(cost.misses, met.size());
    EXPECT_EQ(cost.evictions, 0u);
  }
}

TEST(MachineTest, OursKeepsAPartOfALoop) {
  Workload loop{.name = "loop", .pages = 600};
  for (Page i = 0; i < 30'000; ++i) loop.references.push_back(i % 600);
  Machine machine(loop.pages, 300);
  OurPolicy policy(machine, OurOptions{});
  const PolicyCost cost =
      machine.Run(policy, loop.references, kDefaultSampling);
  // CLOCK misses always; the bound, half of the time.
  EXPECT_EQ(Misses<ClockHand>(loop, 300, kDefaultSampling), 30'000u);
  EXPECT_LT(cost.misses, 24'000u);
}

}  // namespace
}  // namespace ptage::bench
