// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Flushing of software vCPUs: a request word that each polls, and the
// acknowledgement that the flusher waits for.
//
// Contract
//   * A vCPU is *running* from Resume to Pause. Only then does it translate; it
//     polls before each reference, and a request makes it drop what it has
//     cached and acknowledge.
//   * Flush may be called by any threads at once, none of which runs a vCPU of
//     the set at that time: it would wait for itself. When Flush returns, no
//     vCPU uses an entry that it read before the call, nor writes to one, and
//     what it did through such entries is visible to the caller.
//   * A vCPU that is not running counts as flushed: it acknowledges nothing,
//     and drops its caches before its next translation. So a vCPU must not run
//     while it waits for another thread, for a lock or in a fault, and a zapper
//     never waits for a thread that waits for the zapper.
//   * With each acknowledgement, and when it pauses, a vCPU publishes its
//     position: how many translations it has completed. After Flush returned,
//     PositionOf(v) is a position at which v flushed, or paused, since the
//     call.
//   * Progress: Changed, Read, Resume, Pause and Acknowledge are wait-free;
//     Flush waits for each running vCPU's next poll or pause.
//
// Why no translation outlives a flush
//   Notation: the request word W of a vCPU holds a running bit and a count of
//   requests. Resume and Pause [vcpu.1, vcpu.2] and the flusher's request
//   [vcpu.4] are read-modify-writes of W, hence in one order.
//   1. The flusher changed the entry before its request.
//   2. If the vCPU is not running where the request falls in W's order, its
//      next Resume comes later in that order, reads the request or what
//      followed it in its release sequence, and synchronizes with it: the
//      vCPU flushes, and then reads the entry as changed. The flusher reads W
//      without the running bit, or learns of that Resume as in 3; in the
//      first case [vcpu.5] synchronizes with the last Pause, so what the vCPU
//      did is visible.
//   3. If it is running there, the flusher waits until it reads a W without the
//      running bit (then 2 holds from that Pause on), or an acknowledgement of
//      its request or a later one, which [vcpu.6] synchronizes with. The vCPU
//      acknowledges after it read the request with acquire [vcpu.3]: what it
//      reads from tables from there on was changed, and what it cached is gone.
//   4. The poll itself may be relaxed: one that still reads the old W delays
//      the acknowledgement, and so the flusher.
//
// Sites (order · partner)
//   [vcpu.1] acquire addition in Resume            · [vcpu.4]
//   [vcpu.2] release addition in Pause             · [vcpu.5]
//   [vcpu.3] acquire load in Read                  · [vcpu.4]
//   [vcpu.4] release addition in Request           · [vcpu.1], [vcpu.3]
//   [vcpu.5] acquire load of the word in Await     · [vcpu.2]
//   [vcpu.6] acquire load of the answer in Await   · [vcpu.7]
//   [vcpu.7] release store in Acknowledge          · [vcpu.6]

#ifndef PTAGE_SIM_VCPU_SET_H_
#define PTAGE_SIM_VCPU_SET_H_

#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptage/config.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/types.h"

namespace ptage::sim {

// What one vCPU and those who flush it share; a cache line of its own, since
// the vCPU reads it at each reference.
class alignas(64) FlushLine {
 public:
  FlushLine() : word_(0), acknowledged_(0), position_(0) {}
  FlushLine(const FlushLine&) = delete;
  FlushLine& operator=(const FlushLine&) = delete;

  // The word of a vCPU that runs and was never asked to flush.
  static constexpr std::uint64_t kRunning = 1;

  // Whether the vCPU of such a word runs; and how often it was asked to flush.
  static constexpr bool Running(std::uint64_t word) {
    return (word & kRunning) != 0;
  }
  static constexpr std::uint64_t Requests(std::uint64_t word) {
    return word / kRequest;
  }

  // The vCPU's thread alone calls these. Both Resume and Read return the word
  // as it is then; a count of requests other than the one it knew tells it to
  // flush and acknowledge.
  [[nodiscard]] bool Changed(std::uint64_t known) const {
    return ReadOnce(word_, kRelaxed) != known;
  }
  [[nodiscard]] std::uint64_t Read() const {
    // [vcpu.3] acquire, pairs with [vcpu.4]: the entries that were changed
    // before the request are walked as changed.
    return ReadOnce(word_, kAcquire);
  }
  [[nodiscard]] std::uint64_t Resume();
  void Pause(std::uint64_t position);
  // Precondition: what was cached before `word` was read is dropped.
  void Acknowledge(std::uint64_t word, std::uint64_t position);

  // Flushers call these: first Request for each vCPU, then Await for each.
  void Request();
  void Await() const;
  // After Await. Translations.
  [[nodiscard]] std::uint64_t position() const {
    return ReadOnce(position_, kRelaxed);
  }

 private:
  static constexpr std::uint64_t kRequest = 2;
  // Turns of the waiting loop before the processor is given to another thread,
  // which may be the one that is waited for.
  static constexpr unsigned kPatience = 4096;

  Cell<std::uint64_t> word_;
  // A count of requests, all of which are done.
  Cell<std::uint64_t> acknowledged_;
  Cell<std::uint64_t> position_;
};

// The vCPUs 0 … size − 1 of a machine, and its Flusher. Outlives the vCPUs.
class VcpuSet {
 public:
  explicit VcpuSet(std::size_t size) : lines_(size) {}

  // How many vCPUs there are.
  [[nodiscard]] std::size_t size() const { return lines_.size(); }

  // Drops every cached translation of every vCPU, whatever the range.
  void Flush(GfnRange) {
    // All are asked before any is waited for, so that they answer side by side.
    for (FlushLine& line : lines_) line.Request();
    for (const FlushLine& line : lines_) line.Await();
  }

  // Translations that the vCPU had completed when it last flushed or paused.
  [[nodiscard]] std::uint64_t PositionOf(std::size_t vcpu) const {
    PTAGE_ASSERT(vcpu < size());
    return lines_[vcpu].position();
  }

  // The line of one. Precondition: vcpu < size().
  [[nodiscard]] FlushLine& LineOf(std::size_t vcpu) {
    PTAGE_ASSERT(vcpu < size());
    return lines_[vcpu];
  }

 private:
  std::vector<FlushLine> lines_;
};

static_assert(Flusher<VcpuSet>);

// ---------------------------------------------------------------------------

inline std::uint64_t FlushLine::Resume() {
  // Were the running bit a word of its own, stored here, and the requests then
  // loaded, both sides could miss each other:
  //   vCPU: stores running (in its store buffer) | flusher: requests
  //   vCPU: loads no request                     | flusher: loads not running
  //   vCPU: uses a cached translation            | flusher: returns
  // Two read-modify-writes of one word are ordered.
  // [vcpu.1] acquire, pairs with [vcpu.4], as [vcpu.3].
  const std::uint64_t before = FetchAdd(word_, kRunning, kAcquire);
  PTAGE_ASSERT(!Running(before));
  return before + kRunning;
}

inline void FlushLine::Pause(std::uint64_t position) {
  WriteOnce(position_, position, kRelaxed);
  // Were this a store of the word as the vCPU knows it, a request that came in
  // since would be overwritten, and never be answered.
  // [vcpu.2] release, pairs with [vcpu.5]: what the vCPU did in tables and
  // pages is visible to those who count it as flushed.
  const std::uint64_t before = FetchAdd(word_, ~kRunning + 1, kRelease);
  PTAGE_ASSERT(Running(before));
  static_cast<void>(before);
}

inline void FlushLine::Acknowledge(std::uint64_t word, std::uint64_t position) {
  WriteOnce(position_, position, kRelaxed);
  // [vcpu.7] release, pairs with [vcpu.6]: what the vCPU did before it flushed
  // is visible to who waits for that.
  WriteOnce(acknowledged_, Requests(word), kRelease);
}

inline void FlushLine::Request() {
  // [vcpu.4] release, pairs with [vcpu.1] and [vcpu.3].
  FetchAdd(word_, kRequest, kRelease);
}

inline void FlushLine::Await() const {
  // Here and in the loop:
  // [vcpu.5] acquire, pairs with [vcpu.2].
  std::uint64_t word = ReadOnce(word_, kAcquire);
  // At least the caller's own request.
  const std::uint64_t wanted = Requests(word);
  unsigned turns = 0;
  // [vcpu.6] acquire, pairs with [vcpu.7].
  while (Running(word) && ReadOnce(acknowledged_, kAcquire) < wanted) {
    SpinPause();
    if (++turns > kPatience) sched_yield();
    word = ReadOnce(word_, kAcquire);
  }
}

}  // namespace ptage::sim

#endif  // PTAGE_SIM_VCPU_SET_H_
