// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Double-entry bookkeeping of accessed and dirty bits: whatever a page walker
// set must turn up again, once, in somebody's hands or in the table.

#ifndef PTAGE_TEST_RELACY_SCORE_H_
#define PTAGE_TEST_RELACY_SCORE_H_

#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// Of one page.
class Score {
 public:
  // A walker read `before` from the page's leaf and made it accessed.
  void Accessed(Word before, AccessKind kind) {
    if ((before & TinyFormat::kAccessed) == 0) ++set_;
    wrote_ |= kind == AccessKind::kWrite;
  }
  // An ager that asked about the page got `age`. After a lost race the bit is
  // still somewhere.
  void Aged(SpteAge age) {
    if (age == SpteAge::kYoung) ++cleared_;
  }
  // Someone was handed the page's last leaf, or found it in the table.
  void Found(Word leaf) {
    if (IsYoung<TinyFormat>(leaf)) ++found_;
    dirty_ |= IsDirty<TinyFormat>(leaf);
  }

  void Check() const {
    Require(cleared_ + found_ >= set_, "no access is lost");
    Require(cleared_ + found_ <= set_,
            "no page is charged with another's access");
    Require(!wrote_ || dirty_, "no write is lost");
  }

 private:
  unsigned set_ = 0;
  unsigned cleared_ = 0;
  unsigned found_ = 0;
  bool wrote_ = false;
  bool dirty_ = false;
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_SCORE_H_
