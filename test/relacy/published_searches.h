// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of published.h.

#ifndef PTAGE_TEST_RELACY_PUBLISHED_SEARCHES_H_
#define PTAGE_TEST_RELACY_PUBLISHED_SEARCHES_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "ptage/once.h"
#include "ptage/published.h"
#include "ptage/reclaim.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

// Would free what is retired while nobody walks, and what is retired under a
// walk never. It frees nothing before the end, so that whoever holds what is
// gone is found out, and does not crash.
class FreesWhenNobodyWalks {
 public:
  struct Section {
    explicit operator bool() const { return true; }
  };
  FreesWhenNobodyWalks() : walks_(0) {}

  Section Begin() {
    FetchAdd(walks_, 1, kAcqRel);
    return Section();
  }
  void End(Section) { FetchAdd(walks_, ~std::uint32_t{0}, kAcqRel); }
  void Retire(Retired& node) {
    if (FetchAdd(walks_, 0, kAcqRel) == 0) node.stamp = kGone;
    retired_[count_++] = &node;
  }
  // Whether the object that `part` lies in is gone.
  [[nodiscard]] bool IsGone(const void* part, std::size_t size) const {
    const auto at = reinterpret_cast<std::uintptr_t>(part);
    for (unsigned i = 0; i < count_; ++i) {
      const auto begin = reinterpret_cast<std::uintptr_t>(retired_[i]);
      if (begin < at && at < begin + size) return retired_[i]->stamp == kGone;
    }
    return false;
  }
  void FreeAll() {
    while (count_ != 0) {
      Retired& node = *retired_[--count_];
      node.free(node, node.owner);
    }
  }

 private:
  static constexpr std::uint64_t kGone = 1;

  Cell<std::uint32_t> walks_;
  Retired* retired_[4] = {};
  unsigned count_ = 0;
};

// Two versions follow the first, and one who walks twice looks twice in each
// walk.
struct ReadWhileReplaced : rl::test_suite<ReadWhileReplaced, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  struct Content {
    unsigned number = 0;
    Plain<unsigned>* behind = nullptr;
  };
  using Walk = LocklessWalk<FreesWhenNobodyWalks>;

  Plain<unsigned> behind[3];
  FreesWhenNobodyWalks reclaimer;
  // Lives as long as the checker looks.
  std::optional<Published<Content, FreesWhenNobodyWalks>> published;
  unsigned seen = 0;

  void Publish(unsigned number) {
    behind[number].Set(number);
    published->Replace(Content{number, &behind[number]});
  }
  void Look(const Walk& walk) {
    const Content& content = published->Read(walk);
    Use(content);
    Require(content.number >= seen, "versions are seen in their order");
    seen = content.number;
    Use(content);
  }
  // Reads what lies behind the version, where a writer may come between.
  void Use(const Content& content) {
    RequireThere(content);
    Require(content.behind->Get() == content.number,
            "a version is seen with what was written before it");
    RequireThere(content);
  }
  void RequireThere(const Content& content) {
    Require(!reclaimer.IsGone(&content, sizeof(Retired) + sizeof(Content)),
            "nothing is freed under a walk");
  }

  void before() {
    published.emplace(reclaimer);
    Publish(0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) {
        const Walk walk(reclaimer);
        Look(walk);
        Look(walk);
      }
    } else {
      Publish(1);
      Require(published->Latest().number == 1, "the latest is what was given");
      Publish(2);
    }
  }
  void after() {
    published.reset();
    reclaimer.FreeAll();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_PUBLISHED_SEARCHES_H_
