// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A reclaimer for scenarios in which reclamation is not the subject.

#ifndef PTAGE_TEST_RELACY_FREES_AT_THE_END_H_
#define PTAGE_TEST_RELACY_FREES_AT_THE_END_H_

#include "ptage/reclaim.h"

namespace ptage::relacy {

// Frees nothing before the end, when no walk is left.
class FreesAtTheEnd {
 public:
  struct Section {
    explicit operator bool() const { return true; }
  };
  Section Begin() { return Section(); }
  void End(Section) {}
  void Retire(Retired& node) {
    node.next = retired_;
    retired_ = &node;
  }
  void FreeAll() {
    while (retired_ != nullptr) {
      Retired& node = *retired_;
      retired_ = node.next;
      node.free(node, node.owner);
    }
  }

 private:
  Retired* retired_ = nullptr;
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_FREES_AT_THE_END_H_
