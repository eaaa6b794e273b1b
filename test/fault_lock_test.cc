// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/fault_lock.h"

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "test/stress.h"

namespace ptage {
namespace {

constexpr absl::Duration kAWhile = absl::Milliseconds(20);

class FaultLockTest : public testing::Test {
 protected:
  absl::Mutex mutex_;
  FaultLock lock_{mutex_};
};

TEST_F(FaultLockTest, ManyShareIt) {
  const FaultLock::Shared one(lock_);
  std::thread([this] { const FaultLock::Shared other(lock_); }).join();
  EXPECT_TRUE(one.Of(lock_));
  FaultLock another(mutex_);
  EXPECT_FALSE(one.Of(another));
}

TEST_F(FaultLockTest, WhoHoldsItAloneExcludesWhoeverHasTheMutex) {
  std::atomic<bool> taken{false};
  std::optional<FaultLock::Exclusive> hold(std::in_place, lock_);
  std::thread other([&] {
    absl::MutexLock hold_mutex(&mutex_);
    taken.store(true);
  });
  absl::SleepFor(kAWhile);
  EXPECT_FALSE(taken.load());
  hold.reset();
  other.join();
  EXPECT_TRUE(taken.load());
}

TEST_F(FaultLockTest, WhoSharesItIsNotHeldUpByTheMutex) {
  absl::MutexLock hold_mutex(&mutex_);
  std::thread([this] { const FaultLock::Shared hold(lock_); }).join();
}

TEST_F(FaultLockTest, ItIsSharedAgainWhenItsOnlyHolderIsDone) {
  std::atomic<bool> shared{false};
  std::optional<FaultLock::Exclusive> hold(std::in_place, lock_);
  std::thread other([&] {
    const FaultLock::Shared mine(lock_);
    shared.store(true);
  });
  absl::SleepFor(kAWhile);
  EXPECT_FALSE(shared.load());
  hold.reset();
  other.join();
  EXPECT_TRUE(shared.load());
}

TEST_F(FaultLockTest, WhoWantsItAloneWaitsForThoseWhoShareIt) {
  absl::Notification shared;
  absl::Notification leave;
  std::atomic<bool> left{false};
  std::thread sharer([&] {
    const FaultLock::Shared hold(lock_);
    shared.Notify();
    leave.WaitForNotification();
    left.store(true);
  });
  shared.WaitForNotification();
  std::thread releaser([&] {
    absl::SleepFor(kAWhile);
    leave.Notify();
  });
  {
    const FaultLock::Exclusive hold(lock_);
    EXPECT_TRUE(left.load());
  }
  sharer.join();
  releaser.join();
}

// Sharers queue at the mutex while somebody has the lock alone, all the time.
TEST_F(FaultLockTest, NeitherSideStarves) {
  std::uint64_t value = 0;  // plain: guarded by the lock
  std::atomic<std::uint64_t> shared{0};
  std::atomic<std::uint64_t> exclusive{0};
  const auto share = [&] {
    const FaultLock::Shared hold(lock_);
    const std::uint64_t before = value;
    shared.fetch_add(1, std::memory_order_relaxed);
    EXPECT_EQ(value, before);
  };
  const auto own = [&] {
    const FaultLock::Exclusive hold(lock_);
    ++value;
    exclusive.fetch_add(1, std::memory_order_relaxed);
  };
  test::Stress({share, share, own, own});
  EXPECT_EQ(value, exclusive.load());
  EXPECT_GT(exclusive.load(), 10u);
  EXPECT_GT(shared.load(), 10u);
}

}  // namespace
}  // namespace ptage
