// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/locks.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

constexpr int kTurns = 20'000;

TEST(LocksTest, ATicketLockExcludes) {
  TicketLock lock;
  int count = 0;
  const auto work = [&] {
    for (int i = 0; i < kTurns; ++i) {
      lock.Lock();
      ++count;
      lock.Unlock();
    }
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_EQ(count, 2 * kTurns);
}

TEST(LocksTest, WritersExcludeEachOtherAndReaders) {
  FairSharedLock lock;
  int first = 0;
  int second = 0;
  int torn = 0;
  std::thread writer([&] {
    for (int i = 0; i < kTurns; ++i) {
      lock.Lock();
      ++first;
      ++second;
      lock.Unlock();
    }
  });
  for (int i = 0; i < kTurns; ++i) {
    if (i % 4 == 0) {
      lock.Lock();
      ++first;
      ++second;
      lock.Unlock();
    } else {
      lock.LockShared();
      torn += first != second;
      lock.UnlockShared();
    }
  }
  writer.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(first, kTurns + kTurns / 4);
  EXPECT_EQ(second, first);
}

TEST(LocksTest, ReadersShare) {
  FairSharedLock lock;
  lock.LockShared();
  std::thread other([&] {
    lock.LockShared();
    lock.UnlockShared();
  });
  other.join();  // Would wait for ever if readers excluded each other.
  lock.UnlockShared();
}

TEST(LocksTest, TryingFailsWhileAnybodyHoldsTheLock) {
  FairSharedLock lock;
  ASSERT_TRUE(lock.TryLock());
  EXPECT_FALSE(lock.TryLock());
  lock.Unlock();
  lock.LockShared();
  EXPECT_FALSE(lock.TryLock());
  lock.UnlockShared();
  lock.Lock();
  EXPECT_FALSE(lock.TryLock());
  lock.Unlock();
  EXPECT_TRUE(lock.TryLock());
  lock.Unlock();
}

TEST(LocksTest, AReaderThatCameLaterWaitsForTheWriterInFront) {
  FairSharedLock lock;
  std::atomic<int> order = 0;
  int writer_at = 0;
  int reader_at = 0;
  lock.LockShared();
  std::thread writer([&] {
    lock.Lock();
    writer_at = ++order;
    lock.Unlock();
  });
  // The writer has its ticket when trying fails even in the gap in which no
  // reader holds the lock; give it time instead of looking inside.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::thread reader([&] {
    lock.LockShared();
    reader_at = ++order;
    lock.UnlockShared();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(order, 0);
  lock.UnlockShared();
  writer.join();
  reader.join();
  EXPECT_EQ(writer_at, 1);
  EXPECT_EQ(reader_at, 2);
}

}  // namespace
}  // namespace ptage::bench
