// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/invalidate.h"

#include <atomic>
#include <cstdint>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "ptage/fault_lock.h"

namespace ptage {
namespace {

constexpr GfnRange kLow{Gfn{10}, Gfn{20}};
constexpr GfnRange kHigh{Gfn{40}, Gfn{50}};

class InvalidateTest : public testing::Test {
 protected:
  bool MustRetry(std::uint64_t snapshot, Gfn gfn, std::uint64_t frames = 1) {
    const FaultLock::Shared hold(lock_);
    return sequence_.MustRetry(hold, snapshot, GfnRange{gfn, gfn + frames});
  }
  absl::Mutex mutex_;
  FaultLock lock_{mutex_};
  InvalidateSequence sequence_{lock_};
};

TEST_F(InvalidateTest, WithNoneOpenOrEndedAFaultGoesOn) {
  EXPECT_FALSE(MustRetry(sequence_.Snapshot(), Gfn{15}));
}

TEST_F(InvalidateTest, AnOpenOneStopsFaultsInItsRangeOnly) {
  sequence_.Begin(kLow);
  const std::uint64_t snapshot = sequence_.Snapshot();
  EXPECT_TRUE(MustRetry(snapshot, Gfn{10}));
  EXPECT_TRUE(MustRetry(snapshot, Gfn{19}));
  EXPECT_FALSE(MustRetry(snapshot, Gfn{9}));
  EXPECT_FALSE(MustRetry(snapshot, Gfn{20}));
  // Of any frame that would be mapped.
  EXPECT_TRUE(MustRetry(snapshot, Gfn{9}, 2));
  EXPECT_TRUE(MustRetry(snapshot, Gfn{0}, 512));
  EXPECT_FALSE(MustRetry(snapshot, Gfn{0}, 10));
  sequence_.End(kLow);
}

TEST_F(InvalidateTest, AnEndedOneStopsFaultsThatBeganBefore) {
  const std::uint64_t before = sequence_.Snapshot();
  {
    const ScopedInvalidation open(sequence_, kLow);
  }
  EXPECT_TRUE(MustRetry(before, Gfn{15}));
  EXPECT_FALSE(MustRetry(sequence_.Snapshot(), Gfn{15}));
}

TEST_F(InvalidateTest, WhileOneOfTwoIsOpenItsRangeStaysClosed) {
  sequence_.Begin(kHigh);
  sequence_.Begin(kLow);
  sequence_.End(kHigh);
  const std::uint64_t snapshot = sequence_.Snapshot();
  EXPECT_TRUE(MustRetry(snapshot, Gfn{15}));
  sequence_.End(kLow);
  EXPECT_FALSE(MustRetry(sequence_.Snapshot(), Gfn{15}));
  EXPECT_FALSE(MustRetry(sequence_.Snapshot(), Gfn{45}));
}

// A frame is installed by a fault and taken away by an invalidation; after End
// the owner changes it. An installed frame must never be one that was given up.
TEST_F(InvalidateTest, NoFaultInstallsAFrameThatWasGivenUp) {
  std::atomic<std::uint64_t> frame{1};      // what the page is backed by
  std::atomic<std::uint64_t> installed{0};  // the entry; 0 is empty
  std::atomic<bool> stop{false};
  std::atomic<int> installs{0};
  std::thread fault([&] {
    while (!stop.load()) {
      const std::uint64_t snapshot = sequence_.Snapshot();
      const std::uint64_t resolved = frame.load();
      const FaultLock::Shared hold(lock_);
      if (sequence_.MustRetry(hold, snapshot, {Gfn{15}, Gfn{16}})) continue;
      installed.store(resolved);
      installs.fetch_add(1);
    }
  });
  for (int i = 0; i < 2000 || installs.load() < 1000; ++i) {
    {
      const ScopedInvalidation open(sequence_, kLow);
      installed.store(0);
      frame.fetch_add(1);
    }
    const std::uint64_t now = installed.load();
    ASSERT_TRUE(now == 0 || now == frame.load()) << now;
  }
  stop.store(true);
  fault.join();
}

}  // namespace
}  // namespace ptage
