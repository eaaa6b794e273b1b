// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/once.h"

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <set>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::RunThreads;
using test::Stress;

// --- What may be shared.

struct Struct {
  std::uint64_t value;
};

static_assert(Shareable<std::uint32_t> && Shareable<std::uint64_t>);
static_assert(Shareable<std::int32_t> && Shareable<int*>);
static_assert(!Shareable<bool> && !Shareable<std::uint8_t>);
static_assert(!Shareable<std::uint16_t>);
static_assert(!Shareable<double> && !Shareable<Struct>);
static_assert(!Shareable<int&>);

// --- The page that the hardware walks.

template <class T>
constexpr bool kLooksLikeItsValue =
    sizeof(Cell<T>) == sizeof(T) && alignof(Cell<T>) == sizeof(T) &&
    std::is_trivially_copyable_v<Cell<T>> &&
    std::is_standard_layout_v<Cell<T>> &&
    std::is_trivially_default_constructible_v<Cell<T>>;

static_assert(kLooksLikeItsValue<std::uint32_t>);
static_assert(kLooksLikeItsValue<std::uint64_t>);
static_assert(kLooksLikeItsValue<int*>);
static_assert(sizeof(Cell<std::uint64_t>[512]) == 4096);

// A value does not turn into a shared word by accident, nor back.
static_assert(!std::is_convertible_v<std::uint64_t, Cell<std::uint64_t>>);
static_assert(!std::is_convertible_v<Cell<std::uint64_t>, std::uint64_t>);

// The compiler may not repeat, merge or invent accesses.
static_assert(
    std::is_same_v<decltype(std::declval<Cell<std::uint64_t>&>().Raw()),
                   volatile std::uint64_t*>);

// --- Values.

template <class T>
class CellTest : public ::testing::Test {};
using Words = ::testing::Types<std::uint32_t, std::uint64_t>;
TYPED_TEST_SUITE(CellTest, Words);

TYPED_TEST(CellTest, ReadsWhatWasWritten) {
  Cell<TypeParam> cell(7u);
  EXPECT_EQ(ReadOnce(cell, kRelaxed), 7u);
  WriteOnce(cell, 8u, kRelaxed);
  EXPECT_EQ(ReadOnce(cell, kAcquire), 8u);
  WriteOnce(cell, static_cast<TypeParam>(~TypeParam{0}), kRelease);
  EXPECT_EQ(ReadOnce(cell, kRelaxed), static_cast<TypeParam>(~TypeParam{0}));
  WriteOnce(cell, 9u, kSeqCst);
  EXPECT_EQ(ReadOnce(cell, kSeqCst), 9u);
}

TYPED_TEST(CellTest, ACompareAndSwapThatSucceedsChangesTheWord) {
  Cell<TypeParam> cell(7u);
  EXPECT_TRUE(TryCmpxchg(cell, 7u, 8u, kRelaxed));
  EXPECT_TRUE(TryCmpxchg(cell, 8u, 9u, kAcquire));
  EXPECT_TRUE(TryCmpxchg(cell, 9u, 10u, kRelease));
  EXPECT_TRUE(TryCmpxchg(cell, 10u, 11u, kAcqRel));
  EXPECT_EQ(ReadOnce(cell, kRelaxed), 11u);
}

TYPED_TEST(CellTest, ACompareAndSwapThatFailsLeavesTheWord) {
  Cell<TypeParam> cell(7u);
  EXPECT_FALSE(TryCmpxchg(cell, 6u, 9u, kAcqRel));
  EXPECT_EQ(ReadOnce(cell, kRelaxed), 7u);
}

TYPED_TEST(CellTest, FetchAddReturnsTheValueBefore) {
  Cell<TypeParam> cell(7u);
  EXPECT_EQ(FetchAdd(cell, 5u, kAcqRel), 7u);
  EXPECT_EQ(FetchAdd(cell, 0u, kRelaxed), 12u);
  EXPECT_EQ(ReadOnce(cell, kRelaxed), 12u);
}

TYPED_TEST(CellTest, AWordHasAllItsBits) {
  const TypeParam top =
      static_cast<TypeParam>(TypeParam{1} << (8 * sizeof(TypeParam) - 1));
  Cell<TypeParam> cell(top);
  EXPECT_FALSE(TryCmpxchg(cell, 0u, 1u, kRelaxed));
  EXPECT_TRUE(TryCmpxchg(cell, top, static_cast<TypeParam>(top | 1), kRelaxed));
  EXPECT_EQ(ReadOnce(cell, kRelaxed), static_cast<TypeParam>(top | 1));
}

TEST(CellTest, HoldsAPointer) {
  int a = 0;
  int b = 0;
  Cell<int*> cell(&a);
  EXPECT_TRUE(TryCmpxchg(cell, &a, &b, kAcqRel));
  EXPECT_EQ(ReadOnce(cell, kAcquire), &b);
  WriteOnce(cell, nullptr, kRelease);
  EXPECT_EQ(ReadOnce(cell, kRelaxed), nullptr);
}

TEST(PlainTest, HoldsWhatWasSet) {
  Plain<int> plain(3);
  EXPECT_EQ(plain.Get(), 3);
  plain.Set(4);
  EXPECT_EQ(plain.Get(), 4);
  static_assert(sizeof(Plain<int>) == sizeof(int));
}

// --- Threads.

TEST(OnceStressTest, NoAdditionIsLost) {
  Cell<std::uint64_t> sum(0u);
  std::uint64_t added[3] = {};
  const auto adder = [&](std::uint64_t& mine) {
    return [&sum, &mine] {
      // Many a turn: who gives the processor away after a few additions seldom
      // meets another on a busy machine.
      for (int i = 0; i < 1000; ++i) FetchAdd(sum, 1u, kRelaxed);
      mine += 1000;
    };
  };
  Stress({adder(added[0]), adder(added[1]), adder(added[2])});
  EXPECT_EQ(ReadOnce(sum, kRelaxed), added[0] + added[1] + added[2]);
}

TEST(OnceStressTest, OneOfTheCompareAndSwapsOfAValueSucceeds) {
  Cell<std::uint64_t> word(0u);
  std::uint64_t won[3] = {};
  const auto racer = [&](std::uint64_t& mine) {
    return [&word, &mine] {
      const std::uint64_t seen = ReadOnce(word, kRelaxed);
      if (TryCmpxchg(word, seen, seen + 1, kRelaxed)) ++mine;
    };
  };
  Stress({racer(won[0]), racer(won[1]), racer(won[2])});
  EXPECT_EQ(ReadOnce(word, kRelaxed), won[0] + won[1] + won[2]);
}

// Both halves of every value are the same: a torn one would differ.
TEST(OnceStressTest, AWordIsNotTorn) {
  Cell<std::uint64_t> word(0u);
  std::uint64_t torn = 0;
  std::uint64_t next = 0;
  Stress({[&] {
            const std::uint64_t seen = ReadOnce(word, kRelaxed);
            if (seen >> 32 != (seen & 0xFFFF'FFFF)) ++torn;
          },
          [&] {
            ++next;
            WriteOnce(word, next << 32 | next, kRelaxed);
          }});
  EXPECT_EQ(torn, 0u);
}

// Whoever acquires what was released sees what was written before; without the
// orders the thread sanitizer reports the accesses to `message`.
TEST(OnceStressTest, AReleasedMessageIsSeenWhole) {
  Plain<std::uint64_t> message(0);
  Cell<std::uint64_t> turn(0u);
  std::uint64_t wrong[2] = {};
  const auto player = [&](std::uint64_t self) {
    return [&, self] {
      const std::uint64_t now = ReadOnce(turn, kAcquire);
      if (now % 2 != self) return;
      if (message.Get() != now) ++wrong[self];
      message.Set(now + 1);
      WriteOnce(turn, now + 1, kRelease);
    };
  };
  Stress({player(0), player(1)});
  EXPECT_EQ(wrong[0] + wrong[1], 0u);
  EXPECT_EQ(message.Get(), ReadOnce(turn, kRelaxed));
  EXPECT_GT(message.Get(), 0u);
}

// The same with a compare-and-swap on either side.
TEST(OnceStressTest, ACompareAndSwapAcquiresAndReleases) {
  Plain<std::uint64_t> message(0);
  Cell<std::uint64_t> held(0u);
  std::uint64_t added[3] = {};
  const auto adder = [&](std::uint64_t& mine) {
    return [&] {
      if (!TryCmpxchg(held, 0u, 1u, kAcquire)) return;
      message.Set(message.Get() + 1);
      ++mine;
      if (!TryCmpxchg(held, 1u, 0u, kRelease)) std::abort();
    };
  };
  Stress({adder(added[0]), adder(added[1]), adder(added[2])});
  EXPECT_EQ(message.Get(), added[0] + added[1] + added[2]);
}

TEST(OnceTest, ThreadHintsTendToDiffer) {
  constexpr std::uint32_t kMany = 8;
  unsigned hints[kMany] = {};
  Cell<std::uint32_t> running(0u);
  std::vector<std::function<void()>> bodies;
  for (unsigned& hint : hints) {
    bodies.emplace_back([&] {
      // All are alive at once.
      FetchAdd(running, 1u, kRelaxed);
      while (ReadOnce(running, kRelaxed) < kMany) std::this_thread::yield();
      hint = ThreadHint();
    });
  }
  RunThreads(bodies);
  const std::set<unsigned> different(hints, hints + kMany);
  EXPECT_GE(different.size(), 4u);
}

}  // namespace
}  // namespace ptage
