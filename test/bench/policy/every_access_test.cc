// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The policies against examples that were worked out by hand, and against
// second, slow implementations.

#include "bench/policy/every_access.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bench/policy/workloads.h"
#include "gtest/gtest.h"
#include "test/bench/policy/recorded.h"

namespace ptage::bench {
namespace {

using References = std::vector<Page>;

// h for a hit, m for a miss.
template <class Policy>
std::string Replayed(Policy policy, const References& references) {
  std::string outcome;
  for (const Page page : references) outcome += policy.Access(page) ? 'h' : 'm';
  return outcome;
}

// Of the textbooks: 3 frames.
const References kBook = {7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2};

TEST(ExactLruTest, WhatWasUsedTheLongestAgoGoes) {
  EXPECT_EQ(Replayed(ExactLru(8, 3), kBook), "mmmmhmhmmmmhh");
}

TEST(BeladyTest, WhatIsNeededTheLatestGoes) {
  EXPECT_EQ(Replayed(Belady(8, 3, kBook), kBook), "mmmmhmhmhhmhh");
}

TEST(LfuTest, WhatWasUsedTheLeastOftenGoes) {
  // 1 is used twice; 2 goes for 3, then 3 for 2, since each was used once.
  EXPECT_EQ(Replayed(Lfu(8, 2), {1, 1, 2, 3, 1, 2, 3}), "mhmmhmm");
  // Equally often: the least recently used, 1, goes for 3.
  EXPECT_EQ(Replayed(Lfu(8, 2), {1, 2, 3, 2, 1}), "mmmhm");
}

TEST(SieveTest, TheHandSparesWhatWasVisitedAndStays) {
  // In memory, newest first: 3 2 1; 1 was visited. For 4 the hand spares 1 and
  // takes 2, and stops at 3: 4 3 1. For 5 it takes 3: 5 4 1. For 6, 4.
  EXPECT_EQ(Replayed(Sieve(8, 3), {1, 2, 3, 1, 4, 5, 6, 1, 4}), "mmmhmmmhm");
}

TEST(S3FifoTest, WhatWasUsedOnceGoesFirstAndIsRemembered) {
  // A small queue of one of ten. 0 … 9 fill memory; 10 sends 0 away, the
  // oldest of the small queue, which is remembered; so it comes into the main
  // queue, and a row of others does not send it away.
  References references;
  for (Page page = 0; page <= 10; ++page) references.push_back(page);
  references.push_back(0);
  for (Page page = 11; page <= 20; ++page) references.push_back(page);
  references.push_back(0);
  const std::string outcome = Replayed(S3Fifo(32, 10), references);
  EXPECT_EQ(outcome, std::string(22, 'm') + "h");
}

TEST(S3FifoTest, WhatWasUsedTwiceMoreInTheSmallQueueIsKept) {
  References references = {0, 0, 0};
  for (Page page = 1; page <= 15; ++page) references.push_back(page);
  references.push_back(0);
  EXPECT_EQ(Replayed(S3Fifo(32, 10), references),
            "mhh" + std::string(15, 'm') + "h");
}

TEST(ArcTest, WhatWasUsedTwiceOutlivesAScan) {
  // 1 and 2 are in T2; of 3 … 6 each sends the one before it away from T1.
  EXPECT_EQ(Replayed(Arc(8, 3), {1, 2, 1, 2, 3, 4, 5, 6, 1, 2}), "mmhhmmmmhh");
}

TEST(ArcTest, AGhostOfTheFirstListMakesThatListLonger) {
  // c = 2. 1 is in T2, 2 in T1; 3 sends 2 to B1. 2 again: p becomes 1, and
  // since T1 = {3} is no longer than that, T2's 1 goes.
  EXPECT_EQ(Replayed(Arc(8, 2), {1, 1, 2, 3, 2, 3, 1}), "mhmmmhm");
}

// --- Second implementations, by search.

std::uint64_t MissesOf(const std::string& outcome) {
  return static_cast<std::uint64_t>(
      std::count(outcome.begin(), outcome.end(), 'm'));
}

using Queue = std::deque<Page>;  // the newest first

bool Has(const Queue& queue, Page page) {
  return std::find(queue.begin(), queue.end(), page) != queue.end();
}
void Drop(Queue& queue, Page page) {
  queue.erase(std::find(queue.begin(), queue.end(), page));
}

struct NaiveLru {
  std::size_t frames;
  Queue queue = {};

  bool Access(Page page) {
    const bool hit = Has(queue, page);
    if (hit) {
      Drop(queue, page);
    } else if (queue.size() == frames) {
      queue.pop_back();
    }
    queue.push_front(page);
    return hit;
  }
};

struct NaiveLfu {
  std::size_t frames;
  std::map<Page, std::pair<int, int>> in = {};  // uses, the last one
  int now = 0;

  bool Access(Page page) {
    const bool hit = in.count(page) != 0;
    if (!hit && in.size() == frames) {
      in.erase(std::min_element(in.begin(), in.end(), [](auto& a, auto& b) {
        return a.second < b.second;
      }));
    }
    in[page] = {in[page].first + 1, ++now};
    return hit;
  }
};

// As the paper's figure 4 tells it, by cases.
struct NaiveArc {
  std::size_t c;
  std::size_t p = 0;
  Queue t1 = {}, t2 = {}, b1 = {}, b2 = {};

  void Replace(bool in_b2) {
    if (!t1.empty() && (t1.size() > p || (in_b2 && t1.size() == p))) {
      b1.push_front(t1.back());
      t1.pop_back();
    } else if (!t2.empty()) {
      b2.push_front(t2.back());
      t2.pop_back();
    }
  }
  bool Access(Page page) {
    if (Has(t1, page) || Has(t2, page)) {
      Drop(Has(t1, page) ? t1 : t2, page);
      t2.push_front(page);
      return true;
    }
    if (Has(b1, page)) {
      p = std::min(c, p + std::max<std::size_t>(b2.size() / b1.size(), 1));
      Replace(false);
      Drop(b1, page);
      t2.push_front(page);
      return false;
    }
    if (Has(b2, page)) {
      const std::size_t less = std::max<std::size_t>(b1.size() / b2.size(), 1);
      p = p > less ? p - less : 0;
      Replace(true);
      Drop(b2, page);
      t2.push_front(page);
      return false;
    }
    if (t1.size() + b1.size() == c) {
      if (t1.size() < c) {
        b1.pop_back();
        Replace(false);
      } else {
        t1.pop_back();
      }
    } else if (t1.size() + t2.size() + b1.size() + b2.size() >= c) {
      if (t1.size() + t2.size() + b1.size() + b2.size() == 2 * c) {
        b2.pop_back();
      }
      Replace(false);
    }
    t1.push_front(page);
    return false;
  }
};

struct NaiveS3Fifo {
  std::size_t frames;
  Queue small = {}, main = {}, ghost = {};
  std::map<Page, int> uses = {};

  [[nodiscard]] std::size_t Small() const {
    return std::max<std::size_t>(frames / 10, 1);
  }
  void EvictMain() {
    while (uses[main.back()] > 0) {
      --uses[main.back()];
      main.push_front(main.back());
      main.pop_back();
    }
    main.pop_back();
  }
  void EvictSmall() {
    while (!small.empty()) {
      const Page page = small.back();
      small.pop_back();
      if (uses[page] <= 1) {
        if (ghost.size() >= frames - Small()) ghost.pop_back();
        ghost.push_front(page);
        return;
      }
      main.push_front(page);
      uses[page] = 0;
      if (main.size() > frames - Small()) EvictMain();
    }
  }
  bool Access(Page page) {
    if (Has(small, page) || Has(main, page)) {
      uses[page] = std::min(uses[page] + 1, 3);
      return true;
    }
    const bool remembered = Has(ghost, page);
    if (remembered) Drop(ghost, page);
    while (small.size() + main.size() >= frames) {
      if (small.size() >= Small() || main.empty()) {
        EvictSmall();
      } else {
        EvictMain();
      }
    }
    (remembered ? main : small).push_front(page);
    uses[page] = 0;
    return false;
  }
};

struct NaiveSieve {
  std::size_t frames;
  std::vector<std::pair<Page, bool>> queue = {};  // the oldest first
  std::size_t hand = 0;

  bool Access(Page page) {
    for (auto& [in, visited] : queue) {
      if (in == page) return visited = true;
    }
    if (queue.size() == frames) {
      if (hand >= queue.size()) hand = 0;
      while (queue[hand].second) {
        queue[hand].second = false;
        hand = (hand + 1) % queue.size();
      }
      queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(hand));
      // At the newest, it goes round.
      if (hand >= queue.size()) hand = 0;
    }
    queue.emplace_back(page, false);
    return false;
  }
};

std::uint64_t NaiveBelady(const References& references, std::size_t frames) {
  Queue in;
  std::uint64_t misses = 0;
  for (std::size_t i = 0; i < references.size(); ++i) {
    if (Has(in, references[i])) continue;
    ++misses;
    if (in.size() == frames) {
      const auto next = [&](Page page) {
        return std::find(references.begin() + static_cast<std::ptrdiff_t>(i),
                         references.end(), page);
      };
      in.erase(std::max_element(in.begin(), in.end(), [&](Page a, Page b) {
        return next(a) < next(b);
      }));
    }
    in.push_front(references[i]);
  }
  return misses;
}

// Both, of so many pages.
void ExpectTheSame(const References& references, Page pages,
                   std::uint32_t frames) {
  EXPECT_EQ(Replayed(ExactLru(pages, frames), references),
            Replayed(NaiveLru{frames}, references));
  EXPECT_EQ(Replayed(Lfu(pages, frames), references),
            Replayed(NaiveLfu{frames}, references));
  EXPECT_EQ(Replayed(Arc(pages, frames), references),
            Replayed(NaiveArc{frames}, references));
  EXPECT_EQ(Replayed(S3Fifo(pages, frames), references),
            Replayed(NaiveS3Fifo{frames}, references));
  EXPECT_EQ(Replayed(Sieve(pages, frames), references),
            Replayed(NaiveSieve{frames}, references));
  const std::string bound =
      Replayed(Belady(pages, frames, references), references);
  EXPECT_EQ(MissesOf(bound), NaiveBelady(references, frames));
}

TEST(EveryAccessTest, ASecondImplementationMissesTheSame) {
  for (const Workload& workload : GeneratedWorkloads(1500)) {
    // A few pages, so that the second ones are done soon.
    References references = workload.references;
    for (Page& page : references) page = page % 61;
    for (const std::uint32_t frames : {11u, 30u}) {
      SCOPED_TRACE(workload.name);
      ExpectTheSame(references, 61, frames);
    }
  }
}

TEST(EveryAccessTest, ASecondImplementationMissesTheSameOnRecordedTraces) {
  for (const Workload& workload : RecordedWorkloads()) {
    SCOPED_TRACE(workload.name);
    for (const std::uint32_t frames : {13u, 40u}) {
      ExpectTheSame(workload.references, workload.pages, frames);
    }
  }
}

}  // namespace
}  // namespace ptage::bench
