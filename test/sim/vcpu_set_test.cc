// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/sim/vcpu_set.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "ptage/types.h"

namespace ptage::sim {
namespace {

constexpr GfnRange kAnything{Gfn{0}, Gfn{1}};

TEST(VcpuSetTest, NobodyIsWaitedForWhoDoesNotRun) {
  VcpuSet cpus(2);
  cpus.Flush(kAnything);
  static_cast<void>(cpus.LineOf(1).Resume());
  cpus.LineOf(1).Pause(5);
  cpus.Flush(kAnything);
  EXPECT_EQ(cpus.PositionOf(0), 0u);
  EXPECT_EQ(cpus.PositionOf(1), 5u);
}

TEST(VcpuSetTest, WhoResumesLearnsOfTheRequestsMeanwhile) {
  VcpuSet cpus(1);
  FlushLine& line = cpus.LineOf(0);
  const std::uint64_t first = line.Resume();
  EXPECT_TRUE(FlushLine::Running(first));
  EXPECT_FALSE(line.Changed(first));
  line.Pause(0);
  EXPECT_TRUE(line.Changed(first));
  cpus.Flush(kAnything);
  cpus.Flush(kAnything);
  const std::uint64_t second = line.Resume();
  EXPECT_EQ(FlushLine::Requests(second), FlushLine::Requests(first) + 2);
  line.Pause(0);
}

class Flushing {
 public:
  explicit Flushing(VcpuSet& cpus)
      : thread_([this, &cpus] {
          cpus.Flush(kAnything);
          done_.Notify();
        }) {}
  ~Flushing() { thread_.join(); }
  // False if it still waits after a while.
  bool Done(absl::Duration patience) {
    return done_.WaitForNotificationWithTimeout(patience);
  }

 private:
  absl::Notification done_;
  std::thread thread_;
};

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr absl::Duration kShort = absl::Milliseconds(30);

TEST(VcpuSetTest, AFlushWaitsForTheAnswerOfWhoRuns) {
  VcpuSet cpus(2);
  FlushLine& line = cpus.LineOf(1);
  const std::uint64_t known = line.Resume();
  Flushing flushing(cpus);
  while (!line.Changed(known)) std::this_thread::yield();
  EXPECT_FALSE(flushing.Done(kShort));
  line.Acknowledge(line.Read(), 42);
  EXPECT_TRUE(flushing.Done(kLong));
  EXPECT_EQ(cpus.PositionOf(1), 42u);
  line.Pause(43);
}

TEST(VcpuSetTest, AFlushWaitsNoLongerForWhoPauses) {
  VcpuSet cpus(1);
  FlushLine& line = cpus.LineOf(0);
  const std::uint64_t known = line.Resume();
  Flushing flushing(cpus);
  while (!line.Changed(known)) std::this_thread::yield();
  line.Pause(7);
  EXPECT_TRUE(flushing.Done(kLong));
  EXPECT_EQ(cpus.PositionOf(0), 7u);
}

TEST(VcpuSetTest, AnAnswerToAnEarlierRequestIsNone) {
  VcpuSet cpus(1);
  FlushLine& line = cpus.LineOf(0);
  const std::uint64_t before = line.Resume();
  Flushing first(cpus);
  while (!line.Changed(before)) std::this_thread::yield();
  const std::uint64_t known = line.Read();
  line.Acknowledge(known, 0);
  EXPECT_TRUE(first.Done(kLong));
  Flushing second(cpus);
  while (!line.Changed(known)) std::this_thread::yield();
  line.Acknowledge(known, 0);
  EXPECT_FALSE(second.Done(kShort));
  line.Acknowledge(line.Read(), 0);
  EXPECT_TRUE(second.Done(kLong));
  line.Pause(0);
}

}  // namespace
}  // namespace ptage::sim
