// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Ordered lists of pages, for the policies that the library's is compared with:
// a page is in one list of a set at most, and every step takes constant time.

#ifndef PTAGE_BENCH_POLICY_PAGE_LIST_H_
#define PTAGE_BENCH_POLICY_PAGE_LIST_H_

#include <cstdint>
#include <vector>

#include "ptage/config.h"

namespace ptage::bench {

using Page = std::uint32_t;

// Pages 0 … pages − 1 and lists 0 … lists − 1. A list has a front and a back.
class PageLists {
 public:
  static constexpr Page kNone = ~Page{0};
  static constexpr unsigned kNoList = ~0u;

  PageLists(std::uint32_t pages, unsigned lists)
      : links_(pages), lists_(lists) {}

  [[nodiscard]] unsigned ListOf(Page page) const { return links_[page].list; }
  [[nodiscard]] std::uint32_t Size(unsigned list) const {
    return lists_[list].size;
  }
  [[nodiscard]] bool Empty(unsigned list) const { return Size(list) == 0; }
  // kNone if the list is empty.
  [[nodiscard]] Page Front(unsigned list) const { return lists_[list].front; }
  [[nodiscard]] Page Back(unsigned list) const { return lists_[list].back; }
  // The next page towards the front, or kNone.
  [[nodiscard]] Page TowardsFront(Page page) const {
    return links_[page].before;
  }

  // Precondition: `page` is in no list.
  void PushFront(unsigned list, Page page) {
    Link& link = links_[page];
    PTAGE_ASSERT(link.list == kNoList);
    List& to = lists_[list];
    link = Link{kNone, to.front, list};
    (to.front == kNone ? to.back : links_[to.front].before) = page;
    to.front = page;
    ++to.size;
  }
  // Precondition: `page` is in a list.
  void Remove(Page page) {
    Link& link = links_[page];
    PTAGE_ASSERT(link.list != kNoList);
    List& from = lists_[link.list];
    (link.before == kNone ? from.front : links_[link.before].after) =
        link.after;
    (link.after == kNone ? from.back : links_[link.after].before) = link.before;
    link.list = kNoList;
    --from.size;
  }
  void MoveToFront(unsigned list, Page page) {
    Remove(page);
    PushFront(list, page);
  }
  // Precondition: the list is not empty.
  Page PopBack(unsigned list) {
    const Page page = lists_[list].back;
    Remove(page);
    return page;
  }

 private:
  struct Link {
    Page before = kNone;
    Page after = kNone;
    unsigned list = kNoList;
  };
  struct List {
    Page front = kNone;
    Page back = kNone;
    std::uint32_t size = 0;
  };

  std::vector<Link> links_;
  std::vector<List> lists_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_POLICY_PAGE_LIST_H_
