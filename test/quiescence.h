// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Sections and grace periods by a mutex, as plain as can be: what a caller of
// ExternalReclaimer brings.

#ifndef PTAGE_TEST_QUIESCENCE_H_
#define PTAGE_TEST_QUIESCENCE_H_

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "ptage/reclaim.h"
#include "ptage/reclaim/external.h"

namespace ptage::test {

class MutexQuiescence {
 public:
  bool Enter() {
    const std::lock_guard hold(mutex_);
    begun_.insert(++now_);
    sections_[std::this_thread::get_id()].push_back(now_);
    return true;
  }
  void Exit() {
    {
      const std::lock_guard hold(mutex_);
      std::vector<std::uint64_t>& mine = sections_[std::this_thread::get_id()];
      begun_.erase(mine.back());
      mine.pop_back();
    }
    ended_.notify_all();
    FreeRipe();
  }
  void FreeAfterGrace(Retired& node) {
    {
      const std::lock_guard hold(mutex_);
      node.stamp = ++now_;
      node.next = nullptr;
      if (last_ != nullptr) {
        last_->next = &node;
      } else {
        first_ = &node;
      }
      last_ = &node;
    }
    FreeRipe();
  }
  void Synchronize() {
    std::unique_lock hold(mutex_);
    const std::uint64_t called = ++now_;
    ended_.wait(hold, [&] { return OldestSection() > called; });
  }

 private:
  std::uint64_t OldestSection() const {
    return begun_.empty() ? ~std::uint64_t{0} : *begun_.begin();
  }
  // Calls `free` without the lock: it may retire again.
  void FreeRipe() {
    for (;;) {
      Retired* ripe;
      {
        const std::lock_guard hold(mutex_);
        ripe = first_;
        if (ripe == nullptr || OldestSection() < ripe->stamp) return;
        first_ = ripe->next;
        if (first_ == nullptr) last_ = nullptr;
      }
      ripe->free(*ripe, ripe->owner);
    }
  }

  std::mutex mutex_;
  std::condition_variable ended_;
  std::uint64_t now_ = 0;
  // When each section that has not ended began; and each thread's own.
  std::set<std::uint64_t> begun_;
  std::map<std::thread::id, std::vector<std::uint64_t>> sections_;
  // In order of retirement.
  Retired* first_ = nullptr;
  Retired* last_ = nullptr;
};

static_assert(SynchronizingQuiescence<MutexQuiescence>);

// The reclaimer with its quiescence, for tests that make one by itself.
class OwnExternalReclaimer : public ExternalReclaimer<MutexQuiescence> {
 public:
  OwnExternalReclaimer() : ExternalReclaimer(own_) {}

 private:
  MutexQuiescence own_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_QUIESCENCE_H_
