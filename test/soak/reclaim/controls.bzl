# SPDX-License-Identifier: MIT OR Apache-2.0
"""Negative controls of the soak of reclaim, as in test/soak/controls.bzl."""

RECLAIM_CONTROLS = [
    # A page is read while CPUs write to it through what they have cached.
    (
        "no_flush",
        "hold",
        "  flush();\n",
        "  (void)flush;\n",
    ),
    # It is read before that.
    (
        "stored_before_flush",
        "lru/eviction",
        """\
    return marks.TakeReferenced(page) ? TakeOutcome::kInUse
                                      : TakeOutcome::kTaken;
  };
  TakeOutcome taken = mmu.TakeIfIdle(page, hand_over, decide);
  if (taken == TakeOutcome::kLarge && mmu.Split(page)) {
    taken = mmu.TakeIfIdle(page, hand_over, decide);
  }
  if (taken == TakeOutcome::kLarge) result.outcome = EvictOutcome::kLarge;
  if (taken != TakeOutcome::kTaken) return result;
  result.outcome = EvictOutcome::kEvicted;
  store(result.dirty);
""",
        """\
    if (marks.TakeReferenced(page)) return TakeOutcome::kInUse;
    store(true);
    return TakeOutcome::kTaken;
  };
  TakeOutcome taken = mmu.TakeIfIdle(page, hand_over, decide);
  if (taken == TakeOutcome::kLarge && mmu.Split(page)) {
    taken = mmu.TakeIfIdle(page, hand_over, decide);
  }
  if (taken == TakeOutcome::kLarge) result.outcome = EvictOutcome::kLarge;
  if (taken != TakeOutcome::kTaken) return result;
  result.outcome = EvictOutcome::kEvicted;
""",
    ),
    # A zap's mark comes while the page is claimed, and nobody asks.
    (
        "mark_not_asked",
        "lru/eviction",
        "    return marks.TakeReferenced(page) ? TakeOutcome::kInUse\n",
        "    return false                      ? TakeOutcome::kInUse\n",
    ),
    # An entry is taken that became young after the filter.
    (
        "young_is_taken",
        "hold",
        "if (IsFrozen<F>(seen) || IsYoung<F>(seen)) return TakeOutcome::kInUse;",
        "if (IsFrozen<F>(seen)) return TakeOutcome::kInUse;",
    ),
    # Aging clears a bit, and tells nobody.
    (
        "young_not_told",
        "types",
        "    young.SetLanes(first - begin, lanes);\n",
        "    (void)lanes;\n",
    ),
    # Who evicts does not hear that the page was written.
    (
        "dirty_forgotten",
        "lru/eviction",
        "    result.dirty |= leaf.dirty;\n",
        "",
    ),
    # Two evictors have one page.
    (
        "claim_not_exclusive",
        "lru/page_word",
        "    if (seen.state() != PageState::kResident) return ClaimOutcome::kBusy;\n",
        "    if (seen.state() == PageState::kAbsent) return ClaimOutcome::kBusy;\n",
    ),
    # A fault maps the frame of a page that an evictor has.
    (
        "shown_while_claimed",
        "vm/faults",
        "    if (level == Level{1}) return std::nullopt;\n",
        "    if (level == Level{1}) break;\n",
    ),
    # A zapper empties an entry before it hands over what was in it.
    (
        "emptied_before_told",
        "spte",
        """\
  sink(seen);
  // Were the entry emptied before the sink was called:
""",
        """\
  Empty<F>(entry);
  sink(seen);
  return true;
""",
    ),
    # A zap of the direct tables does not say that the page was written.
    (
        "zap_forgets_dirty",
        "tdp_mmu",
        ".dirty = IsDirty<F>(leaf.word)};",
        ".dirty = false};",
    ),
]
