// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/lock.h"

#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "ptage/once.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::Stress;

// --- What a lock is.

// Has what the concept asks for and nothing else.
class MinimalLock {
 public:
  MinimalLock() = default;
  MinimalLock(const MinimalLock&) = delete;
  MinimalLock& operator=(const MinimalLock&) = delete;
  void Lock() { ++locked; }
  void Unlock() { ++unlocked; }

  int locked = 0;
  int unlocked = 0;
};

struct OnlyLocks {
  void Lock();
};

static_assert(BasicLock<SpinLock>);
static_assert(BasicLock<absl::Mutex>);
static_assert(BasicLock<MinimalLock>);
static_assert(!BasicLock<OnlyLocks>);
// Another spelling.
static_assert(!BasicLock<std::mutex>);
static_assert(!BasicLock<int>);

static_assert(!std::is_copy_constructible_v<SpinLock>);
static_assert(!std::is_copy_assignable_v<SpinLock>);
static_assert(!std::is_copy_constructible_v<ScopedLock<SpinLock>>);

TEST(ScopedLockTest, HoldsFromConstructionToDestruction) {
  MinimalLock lock;
  {
    ScopedLock hold(lock);
    EXPECT_EQ(lock.locked, 1);
    EXPECT_EQ(lock.unlocked, 0);
  }
  EXPECT_EQ(lock.locked, 1);
  EXPECT_EQ(lock.unlocked, 1);
}

TEST(SpinLockTest, IsFreeAtFirstAndAfterEachUnlock) {
  SpinLock lock;
  for (int i = 0; i < 3; ++i) {
    lock.Lock();
    lock.Unlock();
  }
}

TEST(SpinLockTest, LockWaitsForTheHolder) {
  SpinLock lock;
  Cell<std::uint32_t> got(0u);
  lock.Lock();
  std::thread waiter([&] {
    lock.Lock();
    WriteOnce(got, 1u, kRelaxed);
    lock.Unlock();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(ReadOnce(got, kRelaxed), 0u);
  lock.Unlock();
  waiter.join();
  EXPECT_EQ(ReadOnce(got, kRelaxed), 1u);
}

// The sum is plain: the thread sanitizer sees whether one holder's writes are
// visible to the next.
TEST(SpinLockStressTest, ExcludesAndMakesVisible) {
  SpinLock lock;
  std::uint64_t sum = 0;
  std::uint64_t added[3] = {};
  const auto adder = [&](std::uint64_t& mine) {
    return [&] {
      ScopedLock hold(lock);
      ++sum;
      ++mine;
    };
  };
  Stress({adder(added[0]), adder(added[1]), adder(added[2])});
  EXPECT_EQ(sum, added[0] + added[1] + added[2]);
}

}  // namespace
}  // namespace ptage
