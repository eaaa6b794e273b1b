// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/memslot.h"

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/spte/ept.h"

namespace ptage {
namespace {

using Domain = EpochDomain<>;
constexpr Gfn kLimit{1 << 20};

TEST(MemslotTest, FramesFollowTheBase) {
  const Memslot<Ept> slot({Gfn{100}, Gfn{200}}, Pfn{7000}, Rights::kAll);
  EXPECT_EQ(slot.FrameOf(Gfn{100}), Pfn{7000});
  EXPECT_EQ(slot.FrameOf(Gfn{199}), Pfn{7099});
}

TEST(MemslotTest, ThereIsOneHeadForEachFrameAndLevel) {
  Memslot<Ept> slot({Gfn{500}, Gfn{1100}}, Pfn{500}, Rights::kAll);
  EXPECT_NE(&slot.HeadOf(Gfn{500}, Level{1}), &slot.HeadOf(Gfn{501}, Level{1}));
  EXPECT_EQ(&slot.HeadOf(Gfn{512}, Level{2}),
            &slot.HeadOf(Gfn{1023}, Level{2}));
  // 500 … 511 lie in another large page than 512 … 1,023.
  EXPECT_NE(&slot.HeadOf(Gfn{511}, Level{2}), &slot.HeadOf(Gfn{512}, Level{2}));
  EXPECT_EQ(&slot.HeadOf(Gfn{500}, Level{3}),
            &slot.HeadOf(Gfn{1099}, Level{3}));
  EXPECT_EQ(ReadOnce(slot.HeadOf(Gfn{1099}, Level{1}).word, kRelaxed), 0u);
}

TEST(MemslotTest, ALargePageLiesInsideAndIsAlignedInBoth) {
  // 2 MiB pages begin at multiples of 512 frames, 1 GiB ones of 262,144.
  const Memslot<Ept> aligned({Gfn{512}, Gfn{2000}}, Pfn{1024}, Rights::kAll);
  EXPECT_EQ(aligned.LargestLevel(Gfn{700}, Level{3}), Level{2});
  EXPECT_EQ(aligned.LargestLevel(Gfn{700}, Level{1}), Level{1});
  EXPECT_EQ(aligned.LargestLevel(Gfn{1999}, Level{3}), Level{1});
  const Memslot<Ept> shifted({Gfn{512}, Gfn{2000}}, Pfn{1025}, Rights::kAll);
  EXPECT_EQ(shifted.LargestLevel(Gfn{700}, Level{3}), Level{1});
  const Memslot<Ept> huge({Gfn{0}, Gfn{262144}}, Pfn{262144}, Rights::kAll);
  EXPECT_EQ(huge.LargestLevel(Gfn{5}, Level{3}), Level{3});
}

TEST(MemslotsTest, SlotsAreFoundByFrame) {
  Domain domain;
  Memslots<Ept, Domain> slots(domain);
  const LocklessWalk walk(domain);
  EXPECT_EQ(slots.Find(walk, Gfn{5}), nullptr);
  ASSERT_TRUE(slots.Add({Gfn{50}, Gfn{60}}, Pfn{1}, Rights::kAll, kLimit).ok());
  ASSERT_TRUE(slots.Add({Gfn{10}, Gfn{20}}, Pfn{2}, Rights::kAll, kLimit).ok());
  EXPECT_EQ(slots.Find(walk, Gfn{9}), nullptr);
  EXPECT_EQ(slots.Find(walk, Gfn{10})->FrameOf(Gfn{10}), Pfn{2});
  EXPECT_EQ(slots.Find(walk, Gfn{59})->FrameOf(Gfn{50}), Pfn{1});
  EXPECT_EQ(slots.Find(walk, Gfn{60}), nullptr);
  std::vector<GfnRange> parts;
  slots.ForEach(walk, {Gfn{15}, Gfn{55}},
                [&](Memslot<Ept>&, GfnRange part) { parts.push_back(part); });
  EXPECT_THAT(parts, testing::ElementsAre(GfnRange{Gfn{15}, Gfn{20}},
                                          GfnRange{Gfn{50}, Gfn{55}}));
}

TEST(MemslotsTest, BadRangesAreNamedInTheError) {
  Domain domain;
  Memslots<Ept, Domain> slots(domain);
  const auto add = [&](std::uint64_t begin, std::uint64_t end) {
    return slots.Add({Gfn{begin}, Gfn{end}}, Pfn{0}, Rights::kAll, Gfn{1000});
  };
  EXPECT_EQ(add(5, 5).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(add(6, 5).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(add(900, 1000).ok());
  const absl::Status beyond = add(800, 1001);
  EXPECT_EQ(beyond.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(beyond.message(), testing::HasSubstr("1001"));
  EXPECT_EQ(add(999, 1000).code(), absl::StatusCode::kAlreadyExists);
}

// An address has 52 bits in EPT.
TEST(MemslotsTest, WhatNoEntryCanSayIsNamedInTheError) {
  Domain domain;
  Memslots<Ept, Domain> slots(domain);
  constexpr std::uint64_t kHostFrames = std::uint64_t{1} << 40;
  const auto add = [&](std::uint64_t gfn, std::uint64_t base, Rights rights) {
    return slots.Add({Gfn{gfn}, Gfn{gfn + 10}}, Pfn{base}, rights, kLimit);
  };
  EXPECT_TRUE(add(0, kHostFrames - 10, Rights::kAll).ok());
  for (const std::uint64_t base :
       {kHostFrames - 9, kHostFrames, ~std::uint64_t{0} - 3}) {
    const absl::Status status = add(10, base, Rights::kAll);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), testing::HasSubstr(std::to_string(base)));
  }
  for (const Rights rights :
       {Rights::kNone, Rights::kWrite, Rights::kWrite | Rights::kExecute}) {
    const absl::Status status = add(10, 5, rights);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(
        status.message(),
        testing::HasSubstr(std::to_string(static_cast<unsigned>(rights))));
  }
  EXPECT_TRUE(add(10, 5, Rights::kExecute).ok());
}

TEST(MemslotsTest, ARemovedSlotIsNotFoundAndItsFramesAreFree) {
  Domain domain;
  Memslots<Ept, Domain> slots(domain);
  ASSERT_TRUE(slots.Add({Gfn{10}, Gfn{20}}, Pfn{1}, Rights::kAll, kLimit).ok());
  ASSERT_TRUE(slots.Add({Gfn{20}, Gfn{30}}, Pfn{2}, Rights::kAll, kLimit).ok());
  // The frames have to be a slot's, all of them and no others.
  for (const GfnRange frames :
       {GfnRange{Gfn{10}, Gfn{30}}, GfnRange{Gfn{10}, Gfn{19}},
        GfnRange{Gfn{0}, Gfn{5}}}) {
    EXPECT_EQ(slots.Holds(frames).code(), absl::StatusCode::kNotFound);
    const absl::Status removed = slots.Remove(frames);
    EXPECT_EQ(removed.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(removed.message(),
                testing::HasSubstr(std::to_string(frames.end.value)));
  }
  EXPECT_TRUE(slots.Holds({Gfn{10}, Gfn{20}}).ok());
  EXPECT_TRUE(slots.Remove({Gfn{10}, Gfn{20}}).ok());
  const LocklessWalk walk(domain);
  EXPECT_EQ(slots.Find(walk, Gfn{19}), nullptr);
  EXPECT_EQ(slots.Find(walk, Gfn{20})->base(), Pfn{2});
  EXPECT_TRUE(slots.Add({Gfn{5}, Gfn{20}}, Pfn{3}, Rights::kAll, kLimit).ok());
}

TEST(MemslotsTest, AMovedSlotHasItsMemoryElsewhere) {
  Domain domain;
  Memslots<Ept, Domain> slots(domain);
  const GfnRange frames{Gfn{10}, Gfn{20}};
  ASSERT_TRUE(slots.Add(frames, Pfn{100}, Rights::kRead, kLimit).ok());
  ASSERT_TRUE(slots.Add({Gfn{40}, Gfn{50}}, Pfn{2}, Rights::kAll, kLimit).ok());
  // Asked, refused, and still where it was.
  const auto refused = [&](Gfn to) {
    const absl::Status asked = slots.CanMove(frames, to, kLimit);
    EXPECT_EQ(asked, slots.Move(frames, to, kLimit));
    EXPECT_EQ(slots.Find(LocklessWalk(domain), Gfn{15})->frames(), frames);
    return asked.code();
  };
  EXPECT_EQ(refused(Gfn{31}), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(refused(Gfn{kLimit.value - 9}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused(Gfn{~std::uint64_t{0} - 3}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(slots.Move({Gfn{10}, Gfn{21}}, Gfn{60}, kLimit).code(),
            absl::StatusCode::kNotFound);
  // Over its own frames too.
  EXPECT_TRUE(slots.CanMove(frames, Gfn{15}, kLimit).ok());
  EXPECT_TRUE(slots.Move(frames, Gfn{15}, kLimit).ok());
  const LocklessWalk walk(domain);
  EXPECT_EQ(slots.Find(walk, Gfn{14}), nullptr);
  const Memslot<Ept>* const moved = slots.Find(walk, Gfn{24});
  ASSERT_NE(moved, nullptr);
  EXPECT_EQ(moved->frames(), (GfnRange{Gfn{15}, Gfn{25}}));
  EXPECT_EQ(moved->FrameOf(Gfn{15}), Pfn{100});
  EXPECT_EQ(moved->rights(), Rights::kRead);
}

TEST(MemslotsTest, ASlotThatWasFoundStaysUntilTheWalkEnds) {
  Domain domain;
  Memslots<Ept, Domain> slots(domain);
  const GfnRange frames{Gfn{10}, Gfn{20}};
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(slots.Add(frames, Pfn{7}, Rights::kAll, kLimit).ok());
    const LocklessWalk walk(domain);
    Memslot<Ept>* const found = slots.Find(walk, Gfn{10});
    std::thread([&] { ASSERT_TRUE(slots.Remove(frames).ok()); }).join();
    // A sanitizer would see that it is gone.
    EXPECT_EQ(found->FrameOf(Gfn{19}), Pfn{16});
    EXPECT_EQ(ReadOnce(found->HeadOf(Gfn{19}, Level{1}).word, kRelaxed), 0u);
  }
}

TEST(MemslotsTest, ASlotStaysWhereItIsWhileOthersAreAdded) {
  Domain domain;
  Memslots<Ept, Domain> slots(domain);
  ASSERT_TRUE(slots.Add({Gfn{0}, Gfn{8}}, Pfn{0}, Rights::kAll, kLimit).ok());
  std::atomic<bool> stop{false};
  std::atomic<int> looks{0};
  std::thread reader([&] {
    Memslot<Ept>* first = nullptr;
    while (!stop.load()) {
      const LocklessWalk walk(domain);
      Memslot<Ept>* const found = slots.Find(walk, Gfn{3});
      ASSERT_NE(found, nullptr);
      if (first == nullptr) first = found;
      ASSERT_EQ(found, first);
      looks.fetch_add(1);
    }
  });
  for (std::uint64_t i = 1; i < 100 || looks.load() < 1000; ++i) {
    ASSERT_TRUE(
        slots
            .Add({Gfn{8 * i}, Gfn{8 * i + 8}}, Pfn{8 * i}, Rights::kAll, kLimit)
            .ok());
    if (i > 500) std::this_thread::yield();
  }
  stop.store(true);
  reader.join();
}

}  // namespace
}  // namespace ptage
