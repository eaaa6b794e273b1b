// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/gate.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "test/stress.h"

namespace ptage {
namespace {

TEST(GateTest, ManyAreInsideAtOnce) {
  Gate<> gate;
  const auto first = gate.TryEnter();
  const auto second = gate.TryEnter();
  EXPECT_TRUE(static_cast<bool>(first));
  EXPECT_TRUE(static_cast<bool>(second));
  gate.Leave(second);
  gate.Leave(first);
}

TEST(GateTest, WhileItIsClosedNobodyEnters) {
  Gate<> gate;
  gate.Close([] { FAIL() << "nobody is inside"; });
  EXPECT_FALSE(static_cast<bool>(gate.TryEnter()));
  EXPECT_FALSE(static_cast<bool>(gate.TryEnter()));
  gate.Open();
  const auto pass = gate.TryEnter();
  EXPECT_TRUE(static_cast<bool>(pass));
  gate.Leave(pass);
}

// And who tried in vain is not waited for.
TEST(GateTest, WhoClosesItWaitsForEachWhoIsInside) {
  Gate<2> gate;
  std::vector<Gate<2>::Pass> inside = {gate.TryEnter(), gate.TryEnter()};
  std::thread([&] { inside.push_back(gate.TryEnter()); }).join();
  int waits = 0;
  gate.Close([&] {
    ++waits;
    EXPECT_FALSE(static_cast<bool>(gate.TryEnter()));
    if (waits % 10 == 0) {
      gate.Leave(inside.back());
      inside.pop_back();
    }
  });
  EXPECT_EQ(waits, 30);
  EXPECT_TRUE(inside.empty());
}

// Threads on shards of their own and on one.
template <unsigned kShards>
void ExcludesThoseInside() {
  Gate<kShards> gate;
  // Both plain: who closes the gate writes what those inside read, and reads
  // what they write.
  std::uint64_t written = 0;
  std::uint64_t counts[3] = {};
  std::atomic<int> closers{0};
  std::uint64_t closed = 0;
  const auto pass = [&](int thread) {
    return [&, thread] {
      const auto entered = gate.TryEnter();
      if (!entered) return;
      const std::uint64_t before = written;
      ++counts[thread];
      EXPECT_EQ(closers.load(std::memory_order_relaxed), 0);
      EXPECT_EQ(written, before);
      gate.Leave(entered);
    };
  };
  test::Stress({pass(0), pass(1), pass(2), [&] {
                  gate.Close([] { std::this_thread::yield(); });
                  closers.store(1, std::memory_order_relaxed);
                  ++written;
                  const std::uint64_t sum = counts[0] + counts[1] + counts[2];
                  ++closed;
                  EXPECT_EQ(counts[0] + counts[1] + counts[2], sum);
                  closers.store(0, std::memory_order_relaxed);
                  gate.Open();
                  std::this_thread::yield();
                }});
  EXPECT_EQ(written, closed);
  EXPECT_GT(closed, 0u);
  EXPECT_GT(counts[0] + counts[1] + counts[2], 0u);
}
TEST(GateTest, WhoClosesItExcludesThoseInside) { ExcludesThoseInside<16>(); }
TEST(GateTest, SoItIsWithOneShard) { ExcludesThoseInside<1>(); }

}  // namespace
}  // namespace ptage
