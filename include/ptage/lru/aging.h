// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The client that ages: asks page tables which pages of a range were used, and
// tells the LRU.
//
// Contract
//   One thread at a time uses a client; what it asks and the LRU may be used by
//   any others meanwhile.
//
//   * It asks fast-only, so that it never waits, and leaves no trace in the
//     pages that it gets no answer for: unknown is never cold.
//   * A pass may stop after a budget of entries and go on later. In between it
//     keeps nothing but the next frame.
//   * After the first pass only those tables are asked that were worth it in
//     the pass before (bloom_filter.h), or that look-around or an eviction put
//     into the filter since: those with a young entry for each cache line of
//     entries. One pass in `full_every` asks all, so that what began to be used
//     is noticed. Accessed bits of what is skipped wait in the tables, where
//     the evictor of a page finds them.
//
//   Progress: Run is wait-free if the question is, but for lock-free steps of
//   the LRU.

#ifndef PTAGE_LRU_AGING_H_
#define PTAGE_LRU_AGING_H_

#include <bit>
#include <concepts>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "ptage/config.h"
#include "ptage/lru.h"
#include "ptage/once.h"
#include "ptage/types.h"

namespace ptage {

// An MMU, a VM or a chain of notifiers; or whatever answers for frames.
template <class T>
concept FastAgeable =
    requires(T& asked, GfnRange range, const AgeOutput& output) {
      {
        asked.TestClearYoungFastOnly(range, output)
      } -> std::same_as<AgeResult>;
    };

// How much a pass leaves out.
struct AgingConfig {
  // Frames of a table.
  std::uint32_t table_frames = 512;
  // Entries in a cache line: a table with a young one in each is worth it.
  std::uint32_t line_entries = 8;
  // Whether tables are skipped at all.
  bool filter = true;
  // One pass in so many skips none.
  std::uint32_t full_every = 8;
};

// Passes over one range. One thread at a time, see the contract.
template <FastAgeable Asked, class LruType = Lru<>>
class AgingClient {
 public:
  // Page 0 of `lru` is the first frame of `range`, which has as many as `lru`
  // has pages. Both objects outlive the client. Preconditions: the range begins
  // with a table; a table has 64 to 4,096 frames, a power of two.
  AgingClient(Asked& asked, LruType& lru, GfnRange range,
              AgingConfig config = AgingConfig())
      : asked_(asked),
        lru_(lru),
        range_(range),
        config_(config),
        next_(range.begin) {
    PTAGE_ASSERT(range.Frames() == lru.pages());
    PTAGE_ASSERT(std::has_single_bit(config.table_frames) &&
                 config.table_frames >= 64 &&
                 config.table_frames <= kMostFrames);
    PTAGE_ASSERT(range.begin.value % config.table_frames == 0);
  }

  // Asks from where it stopped, about at most `budget` frames or one table, if
  // that is more. True if the pass is complete: the next call begins another.
  bool Run(std::uint64_t budget);
  // The same to the end of the pass.
  void Pass() {
    while (!Run(~std::uint64_t{0})) {
    }
  }

  // What all passes did: entries, and tables asked and skipped.
  [[nodiscard]] const AgeCounts& counts() const { return counts_; }
  [[nodiscard]] std::uint64_t asked_tables() const { return asked_tables_; }
  [[nodiscard]] std::uint64_t skipped_tables() const { return skipped_; }

 private:
  static constexpr std::uint32_t kMostFrames = 4096;

  void AskTable(GfnRange frames, std::uint64_t table);

  Asked& asked_;
  LruType& lru_;
  const GfnRange range_;
  const AgingConfig config_;
  Gfn next_;
  std::uint32_t pass_ = 0;
  AgeCounts counts_;
  std::uint64_t asked_tables_ = 0;
  std::uint64_t skipped_ = 0;
};

// Ages in a thread of its own whenever memory gets low.
class AgingThread {
 public:
  // `step` does some aging and returns whether a pass is complete: the client's
  // Run with a budget. It outlives the thread, which calls it alone.
  // `low_watermark` is in free frames.
  AgingThread(std::function<bool()> step, std::uint64_t low_watermark)
      : step_(std::move(step)),
        low_watermark_(low_watermark),
        thread_([this] { Main(); }) {}
  // Waits for the step that is under way.
  ~AgingThread() {
    {
      absl::MutexLock lock(&mutex_);
      stop_ = true;
    }
    thread_.join();
  }
  AgingThread(const AgingThread&) = delete;
  AgingThread& operator=(const AgingThread&) = delete;

  // So many frames are free: if they are as few as the watermark, a pass
  // begins, unless one goes on. For any thread, as often as it likes; it waits
  // for no pass.
  void FreeFrames(std::uint64_t free) ABSL_LOCKS_EXCLUDED(mutex_) {
    if (free > low_watermark_) return;
    absl::MutexLock lock(&mutex_);
    wanted_ = true;
  }
  // Passes that are complete.
  [[nodiscard]] std::uint64_t passes() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return passes_;
  }
  // Returns when no pass is under way or asked for.
  void WaitUntilIdle() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_, absl::Condition(this, &AgingThread::Idle));
  }

 private:
  [[nodiscard]] bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !wanted_;
  }
  [[nodiscard]] bool Due() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return wanted_ || stop_;
  }
  void Main() {
    for (;;) {
      {
        absl::MutexLock lock(&mutex_, absl::Condition(this, &AgingThread::Due));
        if (stop_) return;
      }
      const bool complete = step_();
      absl::MutexLock lock(&mutex_);
      if (!complete) continue;
      ++passes_;
      // Asked for anew by whoever finds memory low still.
      wanted_ = false;
    }
  }

  const std::function<bool()> step_;
  const std::uint64_t low_watermark_;
  mutable absl::Mutex mutex_;
  bool wanted_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::uint64_t passes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

// ---------------------------------------------------------------------------

template <FastAgeable Asked, class LruType>
bool AgingClient<Asked, LruType>::Run(std::uint64_t budget) {
  const bool all = !config_.filter || pass_ % config_.full_every == 0;
  while (next_ < range_.end) {
    const std::uint64_t table = (next_ - range_.begin) / config_.table_frames;
    const GfnRange frames =
        range_.Clip(GfnRange{next_, next_ + config_.table_frames});
    if (all || lru_.filters().Contains(table)) {
      if (budget == 0) return false;
      budget -= budget < frames.Frames() ? budget : frames.Frames();
      AskTable(frames, table);
      ++asked_tables_;
    } else {
      ++skipped_;
    }
    next_ = frames.end;
  }
  next_ = range_.begin;
  ++pass_;
  lru_.EndPass();
  return true;
}

template <FastAgeable Asked, class LruType>
void AgingClient<Asked, LruType>::AskTable(GfnRange frames,
                                           std::uint64_t table) {
  std::uint64_t young[kMostFrames / 64] = {};
  std::uint64_t unknown[kMostFrames / 64] = {};
  const AgeOutput output{.begin = frames.begin,
                         .young = Bitmap(young, frames.Frames()),
                         .unknown = Bitmap(unknown, frames.Frames()),
                         .counts = &counts_};
  const AgeResult result = asked_.TestClearYoungFastOnly(frames, output);
  const auto first = static_cast<LruPage>(frames.begin - range_.begin);
  if (!result.complete) lru_.Keep(first, output.unknown);
  if (!result.young) return;
  lru_.Promote(first, output.young);
  std::uint32_t found = 0;
  for (const std::uint64_t word : young) {
    found += static_cast<std::uint32_t>(std::popcount(word));
  }
  if (found >= config_.table_frames / config_.line_entries) {
    lru_.filters().Insert(table);
  }
}

}  // namespace ptage

#endif  // PTAGE_LRU_AGING_H_
