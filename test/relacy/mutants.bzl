# SPDX-License-Identifier: MIT OR Apache-2.0
"""Errors that are planted in the shipped headers, and what must catch each.

These are besides the mechanical list (list_mutants.py, listed.bzl).

A row is (name, search, the property that must be violated, what the header says,
what it says instead). What the header says must occur in it exactly once, so that
a row cannot outlive the line it is about. "DATA RACE" is Relacy's own verdict: two
accesses to a Plain that nothing orders.
"""

# A frame that becomes a table is gone through before it is marked.
_SCANNED_FIRST = (
    "  WriteOnce(mark.tables, tables + 1, kSeqCst);\n" +
    "  std::uint64_t writable = 0;\n",
    "  std::uint64_t writable = 0;\n" +
    "  while (head != nullptr &&\n" +
    "         !rmaps.Visit(*head, [&](SpteCell<typename D::Format>& leaf) {\n" +
    "           return internal::ProtectLeaf<typename D::Format>(leaf, writable);\n" +
    "         })) {\n" +
    "    SpinPause();\n" +
    "  }\n" +
    "  WriteOnce(mark.tables, tables + 1, kSeqCst);\n" +
    "  if (true) return writable;\n",
)

# header, or header@searches where it has several: [mutants]
MUTANTS = {
    "dirty": [
        (
            "LoggedBeforeItIsWritable",
            "FaultAgainstLog",
            "what can be written is on the log",
            "  if (!TryCmpxchg(entry, seen, granted, kRelaxed)) return false;\n",
            "  log();\n" +
            "  if (!TryCmpxchg(entry, seen, granted, kRelaxed)) return false;\n" +
            "  if (true) return true;\n",
        ),
        (
            "DirtyClearingPassesFrozenBy",
            "CollectorAgainstChange<Collecting::kClear, Reshaping::kSplit>",
            "what was written before is told of",
            "left = left.Clip(found.waits_for());",
            "left = GfnRange{};",
        ),
        (
            "ProtectionPassesFrozenBy",
            "CollectorAgainstChange<Collecting::kProtect, Reshaping::kPromote>",
            "what was written before is told of",
            "if (IsFrozen<F>(seen)) return false;",
            "if (IsFrozen<F>(seen)) return true;",
        ),
        (
            "ProtectionTakesTheAccess",
            "CollectorAgainstAger<Collecting::kProtect>",
            "no access is lost",
            "(word & ~(F::kWritable | F::kDirty)) |",
            "(word & ~(F::kWritable | F::kDirty | F::kAccessed)) |",
        ),
    ],
    "fault_lock": [
        (
            "OpenedWhenTheMutexIsFree",
            "LockHolders<Watched::kHolders, Holds::kAlone, Holds::kAlone, Holds::kShared>",
            "nobody shares what another has alone",
            "      lock_.gate_.Open();\n" +
            "      lock_.mutex_.Unlock();\n",
            "      lock_.mutex_.Unlock();\n" +
            "      lock_.gate_.Open();\n",
        ),
        (
            "ClosedBeforeTheMutexIsTaken",
            "LockHolders<Watched::kHolders, Holds::kAlone, Holds::kAlone, Holds::kShared>",
            "nobody shares what another has alone",
            "      lock.mutex_.Lock();\n" +
            "      int turns = 0;\n",
            "      lock.gate_.Close([] { SpinPause(); });\n" +
            "      lock.mutex_.Lock();\n" +
            "      if (true) return;\n" +
            "      int turns = 0;\n",
        ),
        (
            "NotClosed",
            "LockHolders<Watched::kHolders, Holds::kAlone, Holds::kShared>",
            "nobody shares what another has alone",
            "      lock.gate_.Close([&turns] {",
            "      (void)([&turns] {",
        ),
        (
            "TheMutexIsNotTaken",
            "LockHolders<Watched::kHolders, Holds::kAlone, Holds::kMutex>",
            "who has it alone has the mutex",
            "      lock.mutex_.Lock();\n" +
            "      int turns = 0;\n" +
            "      lock.gate_.Close([&turns] {\n" +
            "        // Who is inside is soon out, if he has a CPU.\n" +
            "        if (++turns % kTurns == 0) YieldThread();\n" +
            "        SpinPause();\n" +
            "      });\n" +
            "    }\n" +
            "    ~Exclusive() ABSL_NO_THREAD_SAFETY_ANALYSIS {\n" +
            "      lock_.gate_.Open();\n" +
            "      lock_.mutex_.Unlock();\n",
            "      lock.gate_.Close([] { SpinPause(); });\n" +
            "    }\n" +
            "    ~Exclusive() ABSL_NO_THREAD_SAFETY_ANALYSIS {\n" +
            "      lock_.gate_.Open();\n",
            "outside",
        ),
        (
            "SharedWithoutAPass",
            "LockHolders<Watched::kHolders, Holds::kAlone, Holds::kShared>",
            "nobody shares what another has alone",
            "      if (!pass_) lock.mutex_.ReaderLock();\n" +
            "    }\n" +
            "    ~Shared() ABSL_NO_THREAD_SAFETY_ANALYSIS {\n" +
            "      if (pass_) {\n" +
            "        lock_.gate_.Leave(pass_);\n" +
            "      } else {\n" +
            "        lock_.mutex_.ReaderUnlock();\n" +
            "      }\n",
            "    }\n" +
            "    ~Shared() ABSL_NO_THREAD_SAFETY_ANALYSIS {\n" +
            "      if (pass_) lock_.gate_.Leave(pass_);\n",
            "outside",
        ),
    ],
    "hold": [
        (
            "FlushedWhenItIsHandedOver",
            "EvictorAgainstCachedWriter",
            "no CPU uses what is handed over",
            "  flush();\n" +
            "  held.HandOver(sink);\n",
            "  held.HandOver(sink);\n" +
            "  flush();\n",
        ),
        (
            "EmptiedWithoutHandingItsBitsOn",
            "EvictorAgainstCachedWriter",
            "no write is lost",
            "    sink(taken);\n",
            "",
        ),
        (
            "NotPutBack",
            "EvictorAgainstEvictor<Which::kLast, Which::kLast>",
            "nothing stays frozen",
            "  void GiveBack() {\n",
            "  void GiveBack() {\n" +
            "    held_ = 0;\n",
        ),
        (
            "PutBackEmpty",
            "EvictorAgainstEvictor<Which::kLast, Which::kLast>",
            "no write is lost",
            "Restore<F>(*room_[held_ - 1].entry, room_[held_ - 1].word);",
            "Empty<F>(*room_[held_ - 1].entry);",
        ),
        (
            "AYoungEntryIsTaken",
            "EvictorAgainstUser",
            "what was used is kept",
            "IsFrozen<F>(seen) || IsYoung<F>(seen)",
            "IsFrozen<F>(seen)",
        ),
        (
            "ALargeLeafIsTakenForAPart",
            "EvictorAgainstChange<Reshape::kSplit>",
            "no write is lost",
            "return TakeOutcome::kLarge;",
            ";",
        ),
    ],
    "lru/eviction": [
        (
            "TheMarkIsNotAsked",
            "EvictorAgainstZap<Meanwhile::kUse>",
            "what was used is kept",
            "return marks.TakeReferenced(page) ? TakeOutcome::kInUse\n" +
            "                                      : TakeOutcome::kTaken;",
            "return TakeOutcome::kTaken;",
        ),
        (
            "TheMarkIsAskedBeforeTheFreeze",
            "EvictorAgainstZap<Meanwhile::kUse>",
            "what was used is kept",
            "  const auto decide = [&] {\n" +
            "    return marks.TakeReferenced(page) ? TakeOutcome::kInUse\n",
            "  const bool marked = marks.TakeReferenced(page);\n" +
            "  const auto decide = [&] {\n" +
            "    return marked                     ? TakeOutcome::kInUse\n",
        ),
        (
            "StoredBeforeTheFlush",
            "EvictorAgainstCachedWriter",
            "what is stored is what was written last",
            "  const auto decide = [&] {\n",
            "  const auto decide = [&] {\n" +
            "    store(false);\n",
        ),
        (
            "TheFilterIsNotHeeded",
            "EvictorAgainstUser",
            "what was used is kept",
            "if (filter.young || !filter.complete) return result;",
            "",
        ),
    ],
    "fast_fault": [
        (
            "ReadAgain",
            "AgedAndUsed",
            "no access is lost",
            "  return TryCmpxchg(entry, seen, Used<F>(seen, access), kRelaxed)\n",
            "  const typename F::Word now = ReadOnce(entry, kRelaxed);\n" +
            "  return TryCmpxchg(entry, now, Used<F>(seen, access), kRelaxed)\n",
        ),
        (
            "ReadAgainAfterAZap",
            "ZappedAndUsed",
            "a mapping that was zapped stays away",
            "  return TryCmpxchg(entry, seen, Used<F>(seen, access), kRelaxed)\n",
            "  const typename F::Word now = ReadOnce(entry, kRelaxed);\n" +
            "  return TryCmpxchg(entry, now, Used<F>(seen, access), kRelaxed)\n",
        ),
        (
            "AgeAloneIsSet",
            "AgedAndUsed",
            "a write is let through by a dirty leaf alone",
            "TryCmpxchg(entry, seen, Used<F>(seen, access), kRelaxed)",
            "TryCmpxchg(entry, seen, seen | F::kAccessed | 7, kRelaxed)",
        ),
    ],
    "spte/ept_tracked@fast_fault": [
        (
            "DirtyIsAgedToo",
            "AgedAndUsed",
            "no write is lost",
            "return word & ~(kAccessed | kLive);",
            "return word & ~(kAccessed | kDirty | kLive);",
        ),
        (
            "WriteIsNotParked",
            "AgedAndUsed",
            "an access is let through by a young leaf alone",
            "return word & ~(kAccessed | kLive);",
            "return word & ~(kAccessed | kRead | kExecute);",
        ),
        (
            "WritableByARead",
            "AgedAndUsed",
            "a write is let through by a dirty leaf alone",
            "return word | kAccessed | (granted & ~kWrite) |",
            "return word | kAccessed | granted |",
        ),
        (
            "WritableOnceCleaned",
            "CleanedAndUsed",
            "a write is let through by a dirty leaf alone",
            "return word & ~(kDirty | kWrite);",
            "return word & ~kDirty;",
        ),
        (
            "GrantsAreParkedWithIt",
            "AgedAndUsed",
            "no permission is lost",
            "return word & ~(kAccessed | kLive);",
            "return word & ~(kAccessed | kLive | kWrite << kGrantShift);",
        ),
    ],
    "gate": [
        (
            "LooksBeforeItCounts",
            "Passers<2>",
            "DATA RACE",
            "  FetchAdd(shards_[shard].inside, 1u, kSeqCst);\n" +
            "  // [gate.2] sequentially consistent, pairs with [gate.3]; and as an acquire\n" +
            "  // with [gate.5].\n" +
            "  if (ReadOnce(closed_, kSeqCst) == 0) return Pass(shard);\n",
            "  const bool open = ReadOnce(closed_, kSeqCst) == 0;\n" +
            "  FetchAdd(shards_[shard].inside, 1u, kSeqCst);\n" +
            "  if (open) return Pass(shard);\n",
        ),
        (
            "LooksBeforeItCloses",
            "Passers<2>",
            "DATA RACE",
            "  WriteOnce(closed_, 1u, kSeqCst);\n" +
            "  for (Shard& shard : shards_) {",
            "  for (Shard& shard : shards_) {\n" +
            "    while (ReadOnce(shard.inside, kSeqCst) != 0) wait();\n" +
            "  }\n" +
            "  WriteOnce(closed_, 1u, kSeqCst);\n" +
            "  if (false) for (Shard& shard : shards_) {",
        ),
    ],
    "legacy_shadow": [
        (
            "ChangedBeforeItIsFlushed",
            "ChangeAgainstCpu",
            "who sees the change uses nothing from before",
            "  const std::uint64_t zapped = state_.tree.Finish(removal);\n" +
            "  change();\n",
            "  change();\n" +
            "  const std::uint64_t zapped = state_.tree.Finish(removal);\n",
        ),
        (
            "ChangedWithTheLockShared",
            "FaultAgainstChange<Changed::kToAnotherPage>",
            "what is built is what the guest's tables say",
            "  const FaultLock::Exclusive hold(state_.fault_lock);\n" +
            "  typename Tree::Removal removal(walk, sink);\n" +
            "  state_.tree.TakeEntries(",
            "  const FaultLock::Shared hold(state_.fault_lock);\n" +
            "  typename Tree::Removal removal(walk, sink);\n" +
            "  state_.tree.TakeEntries(",
        ),
    ],
    "legacy_shadow/faults": [
        (
            "BuiltUponTheLookAhead",
            "FaultAgainstChange<Changed::kToAnotherPage>",
            "what is built is what the guest's tables say",
            "  walked =\n      guest.Translate(page, access, [&]",
            "  (void)guest.Translate(page, access, [&]",
        ),
        (
            "WhatIsNotLinkedStays",
            "FaultAgainstChange<Changed::kToNothing>",
            "what is not linked does not stay",
            "if (path.built) RemoveUnused();",
            "",
        ),
    ],
    "legacy_shadow@legacy_removal": [
        (
            "ASlotGoesWithoutAnInvalidation",
            "SlotRemoval<Beside::kFault>",
            "nothing maps a frame of a slot that is gone",
            "  const ScopedInvalidation open(state_.invalidations, frames);\n",
            "",
        ),
        (
            "ASlotGoesBeforeWhatMapsIt",
            "SlotRemoval<Beside::kFault>",
            "nothing maps a frame of a slot that is gone",
            "  ZapFrames(frames, sink);\n",
            "  (void)state_.tree.memslots().Remove(frames);\n" +
            "  ZapFrames(frames, sink);\n" +
            "  if (true) return absl::OkStatus();\n",
        ),
        (
            "ASlotGoesInSilence",
            "SlotRemoval<Beside::kFault>",
            "no access is lost",
            "  ZapFrames(frames, sink);\n",
            "  ZapFrames(frames, [](const ZappedLeaf&) {});\n",
        ),
        (
            "ASlotComesWithTheLockShared",
            "SlotAgainstBuilder",
            "no leaf of a table's frame is writable",
            "    const FaultLock::Exclusive hold(state_.fault_lock);\n" +
            "    return state_.tree.memslots().Add(",
            "    const FaultLock::Shared hold(state_.fault_lock);\n" +
            "    return state_.tree.memslots().Add(",
        ),
        (
            "ALoadedRootIsDropped",
            "DropAgainstLoad",
            "assertion: table.loads == 0",
            "if (root == nullptr || root->loads != 0) return false;",
            "if (root == nullptr) return false;",
        ),
        (
            "ARootIsDroppedWithTheLockShared",
            "DropAgainstLoad",
            "assertion: found != by_table_.end()",
            "  const FaultLock::Exclusive hold(state_.fault_lock);\n" +
            "  ShadowTable<F>* const root =\n",
            "  const FaultLock::Shared hold(state_.fault_lock);\n" +
            "  ShadowTable<F>* const root =\n",
        ),
        (
            "ARootGoesInSilence",
            "RootRemoval<Beside::kWrite>",
            "no access is lost",
            "  typename Tree::Removal removal(walk, sink);\n" +
            "  state_.tree.TakeTable(",
            "  typename Tree::Removal removal(walk, [](const ZappedLeaf&) {});\n" +
            "  state_.tree.TakeTable(",
        ),
    ],
    "legacy_shadow/faults@legacy_removal": [
        (
            "RoomIsMadeWithTheLockShared",
            "RoomForTable<Beside::kFault>",
            "assertion: !IsFrozen<F>(seen)",
            "    const FaultLock::Exclusive hold(state_.fault_lock);\n" +
            "    const auto sink =",
            "    const FaultLock::Shared hold(state_.fault_lock);\n" +
            "    const auto sink =",
        ),
        (
            "RoomIsMadeInSilence",
            "RoomInList<Beside::kAsker>",
            "no access is lost",
            "    if (sink_) sink_(leaf);\n",
            "",
        ),
        (
            "RoomIsNotWaitedFor",
            "RoomForTable<Beside::kAsker>",
            "who makes room has it",
            "    state_.reclaimer.Synchronize();\n",
            "",
        ),
        (
            "NoRoomIsMadeInLists",
            "RoomInList<Beside::kAsker>",
            "who makes room has it",
            "      state_.tree.TakeLeaves(removal, *slot, gfn);\n",
            "",
        ),
    ],
    "legacy_shadow/protected_frames": [
        (
            "MarkedByARelease",
            "BuilderAgainstNewLeaf<GuardedLockless, false>",
            "no leaf of a table's frame is writable",
            "WriteOnce(mark.tables, tables + 1, kSeqCst);",
            "WriteOnce(mark.tables, tables + 1, kRelease);",
        ),
        (
            "MarkReadByAnAcquire",
            "BuilderAgainstNewLeaf<GuardedLockless, false>",
            "no leaf of a table's frame is writable",
            "return ReadOnce(mark.tables, kSeqCst) != 0;",
            "return ReadOnce(mark.tables, kAcquire) != 0;",
        ),
        (
            "CheckedBeforeAdded",
            "BuilderAgainstNewLeaf<GuardedLockless, false>",
            "no leaf of a table's frame is writable",
            "  const RmapAdd added = rmaps.Add(head, leaf);\n" +
            "  // After Add, see above.\n" +
            "  writable = added == RmapAdd::kDone && !HoldsTable(mark);\n",
            "  writable = !HoldsTable(mark);\n" +
            "  const RmapAdd added = rmaps.Add(head, leaf);\n",
        ),
        (
            "CheckedBeforeAnnounced",
            "BuilderAgainstMoreRights<GuardedLockless>",
            "no leaf of a table's frame is writable",
            "  rmaps.Announce(head);\n  return !HoldsTable(mark);\n",
            "  const bool writable = !HoldsTable(mark);\n" +
            "  rmaps.Announce(head);\n  return writable;\n",
        ),
        (
            "NotAnnounced",
            "BuilderAgainstMoreRights<GuardedLockless>",
            "no leaf of a table's frame is writable",
            "  rmaps.Announce(head);\n",
            "",
        ),
        (
            "ScannedBeforeMarked",
            "BuilderAgainstNewLeaf<GuardedLockless, false>",
            "no leaf of a table's frame is writable",
        ) + _SCANNED_FIRST,
        (
            "FrozenPassedBy",
            "BuilderAgainstNewLeaf<GuardedLockless, false>",
            "no leaf of a table's frame is writable",
            "if (IsFrozen<F>(seen)) return false;",
            "if (IsFrozen<F>(seen)) return true;",
        ),
        (
            "DirtyTakenWithTheRight",
            "BuilderAgainstCpu<GuardedLockless>",
            "no write is lost",
            "static_cast<Word>(seen & ~F::kWritable)",
            "static_cast<Word>(seen & ~(F::kWritable | F::kDirty))",
        ),
    ],
    "legacy_shadow/protected_frames@shadow_tree": [
        (
            "TheTreeScansBeforeItMarks",
            "BuilderAgainstFault<Becoming::kMapped>",
            "no leaf of a table's frame is writable",
        ) + _SCANNED_FIRST,
        (
            "TheTreePassesFrozenBy",
            "BuilderAgainstFault<Becoming::kMapped>",
            "no leaf of a table's frame is writable",
            "if (IsFrozen<F>(seen)) return false;",
            "if (IsFrozen<F>(seen)) return true;",
        ),
    ],
    "legacy_shadow/reclaim@legacy_removal": [
        (
            "ALoadedTableMakesRoom",
            "RoomForTable<Beside::kAsker>",
            "assertion: table.loads == 0",
            "bool used = table.loads != 0;",
            "bool used = false;",
        ),
    ],
    "legacy_shadow/shadow_tree@legacy_removal": [
        (
            "RetiredBeforeItIsClosed",
            "RootRemoval<Beside::kAsker>",
            "no table is used after it was freed",
            "  for (Entry& entry : table->entries) {\n" +
            "    Word seen = ReadOnce(entry, kRelaxed);\n",
            "  reclaimer_.Retire(memory_.InfoOf(table).retired);\n" +
            "  struct Once {\n" +
            "    void Retire(Retired&) {}\n" +
            "  } reclaimer_;\n" +
            "  for (Entry& entry : table->entries) {\n" +
            "    Word seen = ReadOnce(entry, kRelaxed);\n",
        ),
    ],
    "legacy_shadow/shadow_tree": [
        (
            "AddedAfterItIsPublished",
            "MapAgainstAsker<AgeMode::kSlow>",
            "who finds a page mapped is told of its access",
            "  const RmapAdd added =\n" +
            "      AddLeaf(MarkOf(gfn), rmaps_, slot.HeadOf(gfn, kSmall), entry, writable);\n",
            "  Publish<F>(entry, LeafFor(slot, gfn, granted, access, false));\n" +
            "  const RmapAdd added =\n" +
            "      AddLeaf(MarkOf(gfn), rmaps_, slot.HeadOf(gfn, kSmall), entry, writable);\n",
        ),
        (
            "RecordedAfterItIsPublished",
            "MoveAgainstAsker<AgeMode::kFastOnly>",
            "no page is charged with another's access",
            "  RecordFrame<F>(memory_, entry, gfn);\n",
            "  struct Last {\n" +
            "    ~Last() { RecordFrame<F>(memory, entry, gfn); }\n" +
            "    M& memory; Entry& entry; Gfn gfn;\n" +
            "  } last{memory_, entry, gfn};\n",
        ),
        (
            "MoreRightsUnannounced",
            "BuilderAgainstFault<Becoming::kGrantedMore>",
            "no leaf of a table's frame is writable",
            "      AnnounceLeaf(MarkOf(gfn), rmaps_, slot.HeadOf(gfn, kSmall));\n",
            "      !HoldsTable(MarkOf(gfn));\n",
        ),
        (
            "FewerRightsCostTheDirtyBit",
            "BuilderAgainstFault<Becoming::kGrantedAgain>",
            "no write is lost",
            "(seen & (F::kAccessed | F::kDirty))",
            "(seen & F::kAccessed)",
        ),
        (
            "TheFrameIsNotProtected",
            "BuilderAgainstFault<Becoming::kMappedOnceMore>",
            "no leaf of a table's frame is writable",
            "slot == nullptr ? nullptr : &slot->HeadOf(role.frame, kSmall)",
            "nullptr",
        ),
        (
            "ItsWritersAreNotFlushed",
            "BuilderAgainstCpu",
            "nobody writes to a table that is read",
            "if (writable != 0) flusher_.Flush(",
            "if (false) flusher_.Flush(",
        ),
        (
            "BuiltWithoutTheLockOfTables",
            "TwoBuilders<1>",
            "DATA RACE",
            "  const HostedMutexLock lock(&lock_);\n" +
            "  ShadowTable<F>* found = tables_.Find(role);\n",
            "  ShadowTable<F>* found = tables_.Find(role);\n",
        ),
        (
            "NotHandedOn",
            "TakeAgainstCpu<TakeWay::kLeaves>",
            "no access is lost",
            "    removal.sink_(ZappedLeaf{",
            "    (void)(ZappedLeaf{",
        ),
        (
            "RemovedBeforeTheSink",
            "TakeAgainstAsker<TakeWay::kLeaves, AgeMode::kFastOnly>",
            "DATA RACE",
            "    removal.sink_(ZappedLeaf{.gfn = gfn,\n" +
            "                             .level = level,\n" +
            "                             .pfn = F::FrameOf(word),\n" +
            "                             .accessed = IsYoung<F>(word),\n" +
            "                             .dirty = IsDirty<F>(word)});\n" +
            "    const bool removed = rmaps_.Remove(slot->HeadOf(gfn, kSmall), entry);\n",
            "    const bool removed = rmaps_.Remove(slot->HeadOf(gfn, kSmall), entry);\n" +
            "    removal.sink_(ZappedLeaf{.gfn = gfn,\n" +
            "                             .level = level,\n" +
            "                             .pfn = F::FrameOf(word),\n" +
            "                             .accessed = IsYoung<F>(word),\n" +
            "                             .dirty = IsDirty<F>(word)});\n",
        ),
        (
            "EmptiedBeforeItIsLetGo",
            "TakeAgainstAsker<TakeWay::kLeaves, AgeMode::kFastOnly>",
            "DATA RACE",
            "    LetGo(removal, *cut.entry, cut.word);\n" +
            "    Empty<F>(*cut.entry);\n",
            "    Empty<F>(*cut.entry);\n" +
            "    LetGo(removal, *cut.entry, cut.word);\n",
        ),
        (
            "EmptiedBeforeItIsClosed",
            "TakeAgainstAsker<TakeWay::kTables, AgeMode::kFastOnly>",
            "DATA RACE",
            "    if (F::IsPresent(seen)) LetGo(removal, entry, seen);\n",
            "    Empty<F>(entry);\n" +
            "    if (F::IsPresent(seen)) LetGo(removal, entry, seen);\n",
        ),
    ],
    "rmap/lockless@protected_frames": [
        (
            "AddedByARelease",
            "BuilderAgainstNewLeaf<GuardedLockless, false>",
            "no leaf of a table's frame is writable",
            "WriteOnce(head.word, word, kSeqCst);",
            "WriteOnce(head.word, word, kRelease);",
        ),
        (
            "VisitedByAnAcquire",
            "BuilderAgainstNewLeaf<GuardedLockless, false>",
            "no leaf of a table's frame is writable",
            "const std::uintptr_t word = ReadOnce(head.word, kSeqCst);",
            "const std::uintptr_t word = ReadOnce(head.word, kAcquire);",
        ),
    ],
    "lock": [
        (
            "TakenByAStore",
            "Holders<2>",
            "DATA RACE",
            "  while (ReadOnce(held_, kRelaxed) != 0 ||\n" +
            "         !TryCmpxchg(held_, 0u, 1u, kAcquire)) {\n",
            "  while (ReadOnce(held_, kAcquire) != 0 ||\n" +
            "         (WriteOnce(held_, 1u, kRelaxed), false)) {\n",
        ),
    ],
    "shadow_mmu/nested_entries": [
        (
            "TheFrameIsNotRecorded",
            "FaultAgainstAsker<ShadowLockless, Level{1}, AgeMode::kSlow>",
            "who finds a page mapped is told of its access",
            "  RecordFrame<F>(memory_, entry, gfn);\n",
            "",
        ),
        (
            "AddedAfterItIsPublished",
            "FaultAgainstAsker<ShadowLockless, Level{1}, AgeMode::kSlow>",
            "who finds a page mapped is told of its access",
            "  const RmapAdd added = Join(head, entry, gfn, level);\n" +
            "  if (added == RmapAdd::kDone) Publish<F>(entry, leaf);\n",
            # Counted meanwhile, as what is published has to be.
            "  RecordFrame<F>(memory_, entry, gfn);\n" +
            "  live_.Add(ThisThreadNumber());\n" +
            "  if (level != kSmall) large_.Add(ThisThreadNumber());\n" +
            "  Publish<F>(entry, leaf);\n" +
            "  const RmapAdd added = rmaps_.Add(head, entry);\n",
        ),
        (
            "CountedAfterItIsPublished",
            "FaultAgainstAsker<ShadowLockless, Level{1}, AgeMode::kSlow>",
            "who finds a page mapped is told of its access",
            "  const RmapAdd added = Join(head, entry, gfn, level);\n" +
            "  if (added == RmapAdd::kDone) Publish<F>(entry, leaf);\n",
            "  RecordFrame<F>(memory_, entry, gfn);\n" +
            "  const RmapAdd added = rmaps_.Add(head, entry);\n" +
            "  Publish<F>(entry, leaf);\n" +
            "  live_.Add(ThisThreadNumber());\n" +
            "  if (level != kSmall) large_.Add(ThisThreadNumber());\n",
        ),
        (
            "LargeCountedAfterItIsPublished",
            "FaultAgainstAsker<ShadowLockless, Level{2}, AgeMode::kSlow>",
            "who finds a page mapped is told of its access",
            "  const RmapAdd added = Join(head, entry, gfn, level);\n" +
            "  if (added == RmapAdd::kDone) Publish<F>(entry, leaf);\n",
            "  RecordFrame<F>(memory_, entry, gfn);\n" +
            "  const RmapAdd added = rmaps_.Add(head, entry);\n" +
            "  live_.Add(ThisThreadNumber());\n" +
            "  Publish<F>(entry, leaf);\n" +
            "  if (level != kSmall) large_.Add(ThisThreadNumber());\n",
        ),
        (
            "RemovedBeforeTheSink",
            "ZapAgainstAsker<ShadowLockless, ZapWay::kFrames, Level{1}, AgeMode::kFastOnly>",
            "DATA RACE",
            "  sink(ZappedLeaf{.gfn = gfn,\n" +
            "                  .level = level,\n" +
            "                  .pfn = F::FrameOf(taken),\n" +
            "                  .accessed = IsYoung<F>(taken),\n" +
            "                  .dirty = IsDirty<F>(taken)});\n" +
            "  Leave(head, entry, level);\n",
            "  const bool removed = rmaps_.Remove(head, entry);\n" +
            "  PTAGE_ASSERT(removed);\n" +
            "  sink(ZappedLeaf{.gfn = gfn,\n" +
            "                  .level = level,\n" +
            "                  .pfn = F::FrameOf(taken),\n" +
            "                  .accessed = IsYoung<F>(taken),\n" +
            "                  .dirty = IsDirty<F>(taken)});\n" +
            "  live_.Take(ThisThreadNumber());\n" +
            "  if (level != kSmall) large_.Take(ThisThreadNumber());\n",
        ),
        (
            "NotCountedBeforeTheSink",
            "ZapAgainstAsker<ShadowLockless, ZapWay::kNested, Level{1}, AgeMode::kSlow>",
            "DATA RACE",
            "  sink(ZappedLeaf{.gfn = gfn,\n" +
            "                  .level = level,\n" +
            "                  .pfn = F::FrameOf(taken),\n" +
            "                  .accessed = IsYoung<F>(taken),\n" +
            "                  .dirty = IsDirty<F>(taken)});\n" +
            "  Leave(head, entry, level);\n",
            "  Leave(head, entry, level);\n" +
            "  sink(ZappedLeaf{.gfn = gfn,\n" +
            "                  .level = level,\n" +
            "                  .pfn = F::FrameOf(taken),\n" +
            "                  .accessed = IsYoung<F>(taken),\n" +
            "                  .dirty = IsDirty<F>(taken)});\n",
        ),
        (
            "SmallOnesAreAskedFirst",
            "SplitAgainstAsker<ShadowLockless, Before::kAccessed, AgeMode::kFastOnly, kA>",
            "who asks while a page is split is told of its access",
            "    // Before the small ones, which a large one may be split into meanwhile.\n" +
            "    if (large) {\n" +
            "      AgeLarge(slot, part, action, mode, output, counts, result);\n" +
            "    }\n" +
            "    result |= AgeRange(rmaps_, &slot.HeadOf(part.begin, kSmall),\n" +
            "                       RmapFrame{part.begin, kSmall}, part.Frames(), action,\n" +
            "                       mode, output, counts);\n",
            "    result |= AgeRange(rmaps_, &slot.HeadOf(part.begin, kSmall),\n" +
            "                       RmapFrame{part.begin, kSmall}, part.Frames(), action,\n" +
            "                       mode, output, counts);\n" +
            "    if (large) {\n" +
            "      AgeLarge(slot, part, action, mode, output, counts, result);\n" +
            "    }\n",
        ),
        (
            "LargeTakenBeforeTheSink",
            "ZapAgainstAsker<ShadowLockless, ZapWay::kNested, Level{2}, AgeMode::kFastOnly>",
            "DATA RACE",
            "  // Frozen: its bits go to the caller before the rmap stops answering for it.\n",
            "  if (level != kSmall) large_.Take(ThisThreadNumber());\n",
        ),
    ],
    "sharded_count": [
        (
            "FirstNotAnnounced",
            "FirstOfAll",
            "what is there is counted",
            "if (ReadOnce(ever_, kRelaxed) == 0) {\n",
            "if (false) {\n",
        ),
        (
            "AdditionsAreReadFirst",
            "ComeAndGo",
            "what is there is counted",
            "  std::uint64_t taken = 0;\n",
            "  std::uint64_t early = 0;\n" +
            "  for (const Shard& shard : shards_) early += ReadOnce(shard.added, kRelaxed);\n" +
            "  std::uint64_t taken = 0;\n" +
            "  for (const Shard& shard : shards_) taken += ReadOnce(shard.taken, kAcquire);\n" +
            "  if (true) return early - taken;\n",
        ),
    ],
    "spte": [
        (
            "AgedRelaxed",
            "ReusedEntry",
            "no page is charged with another's access",
            "return AgeSeen<F>(entry, ReadOnce(entry, kAcquire), action, belongs);",
            "return AgeSeen<F>(entry, ReadOnce(entry, kRelaxed), action, belongs);",
        ),
        (
            "RecordReadBeforeTheEntry",
            "ReusedEntry",
            "no page is charged with another's access",
            "return AgeSeen<F>(entry, ReadOnce(entry, kAcquire), action, belongs);",
            "const bool mine = belongs();\n" +
            "return AgeSeen<F>(entry, ReadOnce(entry, kAcquire), action,\n" +
            "                  [mine] { return mine; });",
        ),
        (
            "RecordNotRead",
            "ReusedEntry",
            "no page is charged with another's access",
            "if (!belongs()) return SpteAge::kAbsent;",
            "",
        ),
        (
            "ClearedByAStore",
            "WalkedEntry",
            "no write is lost",
            "return TryCmpxchg(entry, seen, cleared, kRelaxed) ?",
            "return (WriteOnce(entry, cleared, kRelaxed), true) ?",
        ),
        (
            "DirtyClearedToo",
            "WalkedEntry",
            "no write is lost",
            "kBit == F::kAccessed ? Aged<F>(seen) : Cleaned<F>(seen);",
            "Cleaned<F>(Aged<F>(seen));",
        ),
        (
            "FrozenByAStore",
            "TwoZappers",
            "each mapping goes to exactly one",
            "return TryCmpxchg(entry, seen, F::kFrozen, kAcquire);",
            "return ReadOnce(entry, kAcquire) == seen &&\n" +
            "       (WriteOnce(entry, F::kFrozen, kRelaxed), true);",
        ),
        (
            "EmptiedBeforeTheSink",
            "EmptyAfterRecord",
            "nobody reads empty before the access is on record",
            "  sink(seen);\n",
            "  Empty<F>(entry);\n  sink(seen);\n",
        ),
    ],
    "lru/look_around": [
        (
            "ContendedIsNotYoung",
            "LookerAgainstHolder<UsedBy::kProcess>",
            "what was young stays young",
            "  if (!hold) return leave_out(LeftOut::kContended);\n",
            "  if (!hold) {\n" +
            "    result.page.young = false;\n" +
            "    return leave_out(LeftOut::kContended);\n" +
            "  }\n",
        ),
        (
            "NeighboursWithoutTheLock",
            "LookerAgainstHolder<UsedBy::kOthers>",
            "neighbours are asked under the lock of their table",
            "  if (!hold) return leave_out(LeftOut::kContended);\n",
            "",
        ),
        (
            "WaitsForTheLock",
            "LookerAgainstHolder<UsedBy::kProcess>",
            "who looks around waits for nobody",
            "mmu.TryLockTable(page)",
            "mmu.LockTable(page)",
        ),
        (
            "NotFastIsNotYoung",
            "LookerAlone<Alone::kSlow>",
            "what was young stays young",
            "if (!result.page.was_fast) return leave_out(LeftOut::kNotFast);",
            "if (!result.page.was_fast) {\n" +
            "    result.page.young = false;\n" +
            "    return leave_out(LeftOut::kNotFast);\n" +
            "  }",
        ),
        (
            "NotFastLooksAround",
            "LookerAlone<Alone::kSlow>",
            "the neighbours are left alone",
            "if (!result.page.was_fast) return leave_out(LeftOut::kNotFast);",
            "",
        ),
        (
            "SpecialIsNotYoung",
            "LookerAlone<Alone::kSpecial>",
            "what was young stays young",
            "    return leave_out(LeftOut::kSpecial);\n",
            "    result.page.young = false;\n" +
            "    return leave_out(LeftOut::kSpecial);\n",
        ),
        (
            "OthersAreAskedIfNeedBe",
            "LookerAgainstHolder<UsedBy::kBoth>",
            "an access is told of once",
            "  result.page |= mmu.AgeOthers(itself, AgeAction::kTestAndClear, AgeMode::kSlow,\n" +
            "                               AgeOutput{});\n",
            "  if (!result.page.young) {\n" +
            "    result.page |= mmu.AgeOthers(itself, AgeAction::kTestAndClear,\n" +
            "                                 AgeMode::kSlow, AgeOutput{});\n" +
            "  }\n",
        ),
        (
            "OwnEntryIsTestedAlone",
            "LookerAgainstHolder<UsedBy::kProcess>",
            "an access is told of once",
            "mmu.AgeOwn(itself, AgeAction::kTestAndClear, AgeMode::kSlow, AgeOutput{});",
            "mmu.AgeOwn(itself, AgeAction::kTest, AgeMode::kSlow, AgeOutput{});",
        ),
        (
            "NeighboursAreForgotten",
            "LookerAgainstLooker",
            "no access is lost",
            "  result.young |= std::uint64_t{1} << (page - result.asked.begin);\n",
            "  result.young = std::uint64_t{1} << (page - result.asked.begin);\n",
        ),
        (
            "NeighboursAreAskedSlowly",
            "LookerAgainstOwner",
            "what is young was used",
            "(void)mmu.TestClearYoungFastOnly(",
            "(void)mmu.TestClearYoung(",
        ),
    ],
    "lru/page_word": [
        (
            "AMarkDoesNotStopAClaim",
            "MarkAgainstEvictor",
            "a marked page is not claimed",
            "    if (seen.marked()) {\n",
            "    if (false) {\n",
        ),
        (
            "AMarkThatIsThereIsEnough",
            "MarksAgainstTaker",
            "no mark is lost",
            "    // Also where there is a mark already:",
            "    if (seen.marked()) return true;\n    //",
        ),
        (
            "ReleasedRelaxed",
            "AdderAgainstEvictor",
            "DATA RACE",
            "if (internal::Replace(cell, seen, next, kRelease)) return next.state();",
            "if (internal::Replace(cell, seen, next, kRelaxed)) return next.state();",
        ),
        (
            "AddedRelaxed",
            "EvictorAfterAdder",
            "DATA RACE",
            "if (internal::Replace(cell, seen, next, kRelease)) return true;",
            "if (internal::Replace(cell, seen, next, kRelaxed)) return true;",
        ),
        (
            "AddedWithoutAcquire",
            "AdderAgainstEvictor",
            "DATA RACE",
            "const PageWord seen(ReadOnce(cell, kAcquire));",
            "const PageWord seen(ReadOnce(cell, kRelaxed));",
        ),
        (
            "ClaimedRelaxed",
            "EvictorAfterAdder",
            "DATA RACE",
            "seen.In(PageState::kClaimed), kAcquire)",
            "seen.In(PageState::kClaimed), kRelaxed)",
        ),
    ],
    "notifier": [
        (
            "RegisterWithoutWaiting",
            "RegisterAgainstInvalidate",
            "who is registered maps nothing that is gone",
            "  // Whoever goes by a list without it.\n  reclaimer_.Synchronize();\n",
            "",
        ),
        (
            "UnregisterWithoutWaiting",
            "UnregisterAgainst<Calling::kAge>",
            "nobody calls a notifier that was unregistered",
            "  // Whoever goes by a list with it.\n  reclaimer_.Synchronize();\n",
            "",
        ),
        (
            "UnregisterTakesAllBehindIt",
            "UnregisterAgainst<Calling::kInvalidate>",
            "who stays is told",
            "    notifiers.erase(found);\n",
            "    notifiers.erase(found, notifiers.end());\n",
        ),
        (
            "WasFastIsOfWhoWasAskedLast",
            "WasFastAgainstRegister<true>",
            "was-fast is of who was young",
            "    result |= notifier.Age(range, action, mode, output);\n",
            "    result |= notifier.Age(range, action, mode, output);\n" +
            "    result.was_fast = result.young && notifier.fast();\n",
        ),
        (
            "TheLastAnswerCounts",
            "WasFastAgainstRegister<true>",
            "a young entry is found",
            "    result |= notifier.Age(range, action, mode, output);\n",
            "    result = notifier.Age(range, action, mode, output);\n",
        ),
        (
            "ATestAndThenAClear",
            "AgeAgainstUse",
            "test and clear are one question",
            "    result |= notifier.Age(range, action, mode, output);\n",
            "    result |= notifier.Age(range, AgeAction::kTest, mode, output);\n" +
            "    (void)notifier.Age(range, action, mode, output);\n",
        ),
        (
            "InvalidationsTellNoSink",
            "AgeAgainstInvalidate<AgeMode::kSlow>",
            "who answers not young finds the access told",
            "    zapped += notifier.Invalidate(range, sink);\n",
            "    zapped += notifier.Invalidate(range, [](const ZappedLeaf&) {});\n",
        ),
        (
            "AnInvalidationEndsAtTheFirstThatMappedIt",
            "AgeAgainstInvalidate<AgeMode::kFastOnly>",
            "what is invalidated is mapped nowhere",
            "    zapped += notifier.Invalidate(range, sink);\n",
            "    if (zapped == 0) zapped += notifier.Invalidate(range, sink);\n",
        ),
    ],
    "page_history": [
        (
            "HistoryAskedFirst",
            "AskerAgainstZap",
            "a page that was used does not look idle",
            "  const AgeResult mapped = ask();\n" +
            "  return mapped | history.Accessed(range, action, output);",
            "  const AgeResult before = history.Accessed(range, action, output);\n" +
            "  return before | ask();",
        ),
    ],
    "reclaim/anonymous_epoch": [
        (
            "AnnouncedRelaxed",
            "OneWalk",
            "DATA RACE",
            "if (TryCmpxchg(place, kIdle, mine, kAcquire))",
            "if (TryCmpxchg(place, kIdle, mine, kRelaxed))",
        ),
        (
            "AnnouncedByAStore",
            "OnePlace",
            "DATA RACE",
            "if (TryCmpxchg(place, kIdle, mine, kAcquire))",
            "WriteOnce(place, mine, kRelaxed);\n    if (true)",
        ),
        (
            "LeftRelaxed",
            "OneWalk",
            "DATA RACE",
            "WriteOnce(*section.place_, kIdle, kRelease);",
            "WriteOnce(*section.place_, kIdle, kRelaxed);",
        ),
        (
            "ScannedWithoutRelease",
            "OneWalk",
            "DATA RACE",
            "FetchAdd(place.announced, std::uint64_t{0}, kAcqRel);",
            "FetchAdd(place.announced, std::uint64_t{0}, kAcquire);",
        ),
        (
            "ScannedWithoutAcquire",
            "OneWalk",
            "DATA RACE",
            "FetchAdd(place.announced, std::uint64_t{0}, kAcqRel);",
            "FetchAdd(place.announced, std::uint64_t{0}, kRelease);",
        ),
        (
            "ScannedByALoad",
            "OneWalk",
            "DATA RACE",
            "FetchAdd(place.announced, std::uint64_t{0}, kAcqRel);",
            "ReadOnce(place.announced, kAcquire);",
        ),
        (
            "EpochReadRelaxed",
            "PlaceReused",
            "DATA RACE",
            "const std::uint64_t mine = ReadOnce(epoch_, kAcquire) * 2 + 1;",
            "const std::uint64_t mine = ReadOnce(epoch_, kRelaxed) * 2 + 1;",
        ),
        (
            "EpochWrittenRelaxed",
            "PlaceReused",
            "DATA RACE",
            "WriteOnce(epoch_, ended + 1, kRelease);",
            "WriteOnce(epoch_, ended + 1, kRelaxed);",
        ),
    ],
    "reclaim/epoch": [
        (
            "RetiredBeforeItIsCounted",
            "Limited<kStore>",
            "the limit is reported",
            "return at_limit && ReadOnce(held_, kRelaxed) >= options_.limit",
            "return at_limit && ReadOnce(held_, kRelaxed) > options_.limit",
        ),
        (
            "CollectedWithoutTheLock",
            "RetiredMeanwhile<kStore>",
            "what was retired is freed once",
            "ScopedLock<L> hold(stash.lock);\n  limbo_.Add(stash.list);",
            "limbo_.Add(stash.list);",
        ),
        (
            "SynchronizeDoesNotWait",
            "Synchronized<kStore>",
            "Synchronize waits until it is freed",
            "if (limbo_.HasEnded(begun)) return;",
            "return;",
        ),
    ],
    "reclaim/epoch/walks": [
        (
            "EpochReadRelaxedFast",
            "RegisteredWalk<kStore>",
            "DATA RACE",
            "const std::uint64_t now = ReadOnce(epoch_, kAcquire);\n  // [epoch.2]",
            "const std::uint64_t now = ReadOnce(epoch_, kRelaxed);\n  // [epoch.2]",
        ),
        (
            "EpochReadRelaxed",
            "FirstWalk<kStore>",
            "DATA RACE",
            "const std::uint64_t now = ReadOnce(epoch_, kAcquire);\n  if (asymmetric_)",
            "const std::uint64_t now = ReadOnce(epoch_, kRelaxed);\n  if (asymmetric_)",
        ),
        (
            "EpochReadRelaxedExchange",
            "SecondWalk<kExchange>",
            "DATA RACE",
            "const std::uint64_t now = ReadOnce(epoch_, kAcquire);\n  if (asymmetric_)",
            "const std::uint64_t now = ReadOnce(epoch_, kRelaxed);\n  if (asymmetric_)",
        ),
        (
            "NoLightBarrierFast",
            "RegisteredWalk<kStore>",
            "DATA RACE",
            "\n  WriteOnce(place->announced, now, kRelease);\n  B::Light();",
            "\n  WriteOnce(place->announced, now, kRelease);",
        ),
        (
            "NoLightBarrier",
            "FirstWalk<kStore>",
            "DATA RACE",
            "WriteOnce(place->announced, now, kRelease);\n    B::Light();",
            "WriteOnce(place->announced, now, kRelease);",
        ),
        (
            "NoHeavyBarrier",
            "FirstWalk<kStore>",
            "DATA RACE",
            "if (asymmetric_) B::Heavy();",
            "",
        ),
        (
            "AddedRelaxed",
            "FirstWalk<kExchange>",
            "DATA RACE",
            "FetchAdd(place->announced, now, kAcquire);",
            "FetchAdd(place->announced, now, kRelaxed);",
        ),
        (
            "AddedByAStore",
            "FirstWalk<kExchange>",
            "DATA RACE",
            "FetchAdd(place->announced, now, kAcquire);",
            "WriteOnce(place->announced, now, kRelaxed);",
        ),
        (
            "LeftRelaxed",
            "FirstWalk<kStore>",
            "DATA RACE",
            "WriteOnce(section.place_->announced, kIdle, kRelease);",
            "WriteOnce(section.place_->announced, kIdle, kRelaxed);",
        ),
        (
            "LeftRelaxedExchange",
            "FirstWalk<kExchange>",
            "DATA RACE",
            "WriteOnce(section.place_->announced, kIdle, kRelease);",
            "WriteOnce(section.place_->announced, kIdle, kRelaxed);",
        ),
        (
            "NestedInThePlaceOfTheOuter",
            "NestedWalks<kStore>",
            "DATA RACE",
            "    place = Another(place);\n",
            "",
        ),
        (
            "LookedRelaxed",
            "FirstWalk<kStore>",
            "DATA RACE",
            "seen = ReadOnce(place.announced, kAcquire);",
            "seen = ReadOnce(place.announced, kRelaxed);",
        ),
        (
            "LookedWithoutRelease",
            "FirstWalk<kExchange>",
            "DATA RACE",
            "seen = FetchAdd(place.announced, 0, kAcqRel);",
            "seen = FetchAdd(place.announced, 0, kAcquire);",
        ),
        (
            "LookedWithoutAcquire",
            "FirstWalk<kExchange>",
            "DATA RACE",
            "seen = FetchAdd(place.announced, 0, kAcqRel);",
            "seen = FetchAdd(place.announced, 0, kRelease);",
        ),
        (
            "LookedByALoad",
            "FirstWalk<kExchange>",
            "DATA RACE",
            "seen = FetchAdd(place.announced, 0, kAcqRel);",
            "seen = ReadOnce(place.announced, kAcquire);",
        ),
        (
            "EpochWrittenRelaxed",
            "FirstWalk<kStore>",
            "DATA RACE",
            "WriteOnce(epoch_, ended + 1, kRelease);",
            "WriteOnce(epoch_, ended + 1, kRelaxed);",
        ),
        (
            "ClaimedRelaxed",
            "PlaceHandedOn<kStore>",
            "DATA RACE",
            "TryCmpxchg(place.owner, kNobody, ThisThreadId(), kAcquire)",
            "TryCmpxchg(place.owner, kNobody, ThisThreadId(), kRelaxed)",
        ),
        (
            "GivenBackRelaxed",
            "PlaceHandedOn<kStore>",
            "DATA RACE",
            "WriteOnce(place.owner, kNobody, kRelease);",
            "WriteOnce(place.owner, kNobody, kRelaxed);",
        ),
        (
            "UseReadRelaxed",
            "PlaceBroughtIntoUse<kExchange>",
            "nothing is freed under a walk",
            "const std::uint64_t used = ReadOnce(used_, kAcquire);",
            "const std::uint64_t used = ReadOnce(used_, kRelaxed);",
        ),
        (
            "UsedRelaxed",
            "FreedByTheCaller<kExchange>",
            "DATA RACE",
            "TryCmpxchg(used_, used, number + 1, kAcquire)",
            "TryCmpxchg(used_, used, number + 1, kRelaxed)",
        ),
        (
            "UsedLookedRelaxed",
            "FreedByTheCaller<kExchange>",
            "DATA RACE",
            "const std::uint64_t used = FetchAdd(used_, 0, kRelease);",
            "const std::uint64_t used = FetchAdd(used_, 0, kRelaxed);",
        ),
        (
            "UsedLookedByALoad",
            "FreedByTheCaller<kExchange>",
            "DATA RACE",
            "const std::uint64_t used = FetchAdd(used_, 0, kRelease);",
            "const std::uint64_t used = ReadOnce(used_, kAcquire);",
        ),
        (
            "ClaimedBeforeItIsInUse",
            "FreedByTheCaller<kExchange>",
            "DATA RACE",
            "    Use(number);\n",
            "",
        ),
    ],
    "reclaim/limbo": [
        (
            "FreedAnEpochEarly",
            "OneWalk",
            "DATA RACE",
            "if (oldest_walk <= closed_) return;",
            "if (oldest_walk < closed_) return;",
        ),
        (
            "RipeWithoutALook",
            "OneWalk",
            "DATA RACE",
            "if (closed_ != 0) Look(oldest_walk(), ripe);",
            "if (closed_ != 0) Look(closed_ + 1, ripe);",
        ),
    ],
    "memory@rmap": [
        (
            "RecordReadRelaxed",
            "RunBroken<Single, GivenAs::kCold>",
            "DATA RACE",
            "return Gfn{ReadOnce(info.gfns[&entry - table->entries], kAcquire)};",
            "return Gfn{ReadOnce(info.gfns[&entry - table->entries], kRelaxed)};",
        ),
        (
            "RecordWrittenRelaxed",
            "RunBroken<Single, GivenAs::kCold>",
            "DATA RACE",
            "WriteOnce(info.gfns[&entry - table->entries], gfn.value, kRelease);",
            "WriteOnce(info.gfns[&entry - table->entries], gfn.value, kRelaxed);",
        ),
    ],
    "once/block": [
        (
            "FoldedReadRelaxed",
            "BlockAgainstZap<TinyFormat::kPresent>",
            "nobody reads cold before the access is on record",
            "(ReadOnce(cells[k], kAcquire) & bits)",
            "(ReadOnce(cells[k], kRelaxed) & bits)",
        ),
        (
            "SingleReadRelaxed",
            "BlockAgainstZap<TinyFormat::kDirty>",
            "nobody reads cold before the access is on record",
            "const T word = ReadOnce(cells[i], kAcquire);",
            "const T word = ReadOnce(cells[i], kRelaxed);",
        ),
    ],
    "once/vector@page_table": [
        (
            "WordsSeenRelaxed",
            "HarvestAgainstZap",
            "nobody reads empty before the access is on record",
            "    const T word = ReadOnce(cells[i], kAcquire);\n" +
            "    const bool is_any",
            "    const T word = ReadOnce(cells[i], kRelaxed);\n" +
            "    const bool is_any",
        ),
    ],
    "once/vector": [
        (
            "HeadsReadRelaxed",
            "RunBroken<Single, GivenAs::kCold>",
            "DATA RACE",
            "    const T word = ReadOnce(cells[i], kAcquire);\n" +
            "    const bool same",
            "    const T word = ReadOnce(cells[i], kRelaxed);\n" +
            "    const bool same",
        ),
        (
            "EntriesReadRelaxed",
            "RunBroken<Single, GivenAs::kCold>",
            "DATA RACE",
            "    const T word = ReadOnce(cells[i], kAcquire);\n" +
            "    const bool so",
            "    const T word = ReadOnce(cells[i], kRelaxed);\n" +
            "    const bool so",
        ),
    ],
    "rmap/range": [
        (
            "HeadReadRelaxed",
            "RunBroken<Single, GivenAs::kCold>",
            "DATA RACE",
            "    return ReadOnce(heads_[i].word, kAcquire);",
            "    return ReadOnce(heads_[i].word, kRelaxed);",
        ),
        (
            "YoungTakenForCold",
            "RunBroken<Single, GivenAs::kCold>",
            "an entry that stayed in its rmap is examined",
            "    const std::uint64_t cold =\n" +
            "        in_run &\n" +
            "        WhereHasLacks(entry, lanes, Word{F::kPresentBits}, Word{F::kAccessed});",
            "    const std::uint64_t cold =\n" +
            "        in_run &\n" +
            "        WhereHasLacks(entry, lanes, Word{F::kPresentBits}, Word{0});",
        ),
    ],
    "rmap/single_entry_lockless": [
        (
            "ListReadBeforeTheLock",
            "ManyAndBack<Single, AgeMode::kSlow>",
            "an entry that stayed in its rmap is examined",
            "  ScopedLock<L> hold(mmu_lock_);\n" +
            "  list_.ForEach(ReadOnce(head.word, kRelaxed),",
            "  const std::uintptr_t word = ReadOnce(head.word, kAcquire);\n" +
            "  ScopedLock<L> hold(mmu_lock_);\n" +
            "  list_.ForEach(word,",
        ),
        (
            "ListReadWithoutTheLock",
            "ManyAndBack<Single, AgeMode::kSlow>",
            "DATA RACE",
            "  ScopedLock<L> hold(mmu_lock_);\n",
            "",
        ),
    ],
    "rmap/bit_locked": [
        (
            "ListReadBeforeTheBit",
            "ManyAndBack<Bit, AgeMode::kSlow>",
            "an entry is in its rmap until it is removed",
            "  const std::uintptr_t word = internal::LockHead(head);\n" +
            "  std::uint64_t cold = 0;\n",
            "  const std::uintptr_t word =\n" +
            "      ReadOnce(head.word, kAcquire) & ~internal::RmapWord::kLocked;\n" +
            "  internal::LockHead(head);\n" +
            "  std::uint64_t cold = 0;\n",
        ),
    ],
    "page_table": [
        (
            "ZapPassesFrozenBy",
            "ZapAgainstGivingBack",
            "what was zapped does not come back",
            "if (IsFrozen<F>(seen)) return false;",
            "if (IsFrozen<F>(seen)) return true;",
        ),
        (
            "TableBuiltOverALeaf",
            "SmallAgainstLarge",
            "exactly one fault wins",
            "  if (!Freeze<F>(entry, F::kEmpty)) {\n" +
            "    memory().Free(table);\n" +
            "    return MapOutcome::kRetry;\n" +
            "  }\n",
            "",
        ),
    ],
    "page_table/cold": [
        (
            "LeavesAskedBeforeTheFlushAlone",
            "WalkerAgainstCold",
            "a table in use is not removed",
            "  if (AnyInUse<F>(leaves)) {\n",
            "  if (false) {\n",
        ),
    ],
    "page_table/remove": [
        (
            "EmptyEntriesLeftOpen",
            "MapAgainstRemoval",
            "each mapping goes to exactly one",
            "    const typename F::Word taken = tree.Take(entry);\n" +
            "    if (!F::IsPresent(taken)) continue;\n",
            "    if (tree.ReadEntry(entry) == F::kEmpty) continue;\n" +
            "    const typename F::Word taken = tree.Take(entry);\n" +
            "    if (!F::IsPresent(taken)) continue;\n",
        ),
        (
            "TableClosedWithoutOwning",
            "ZapAgainst<Rival::kRemoval>",
            "each mapping goes to exactly one",
            "    const typename F::Word taken = tree.Take(entry);\n" +
            "    if (!F::IsPresent(taken)) continue;\n",
            "    const typename F::Word taken = tree.ReadSettled(entry);\n" +
            "    if (!F::IsPresent(taken)) continue;\n",
        ),
        (
            "ParentNotFrozen",
            "CachedInner",
            "no CPU uses a leaf that was handed on",
            "    inner = tree.Take(entry);\n",
            "",
        ),
        (
            "FlushedAfterTheEntryIsEmpty",
            "CpuAgainst<Resize::kRemoveAndMap>",
            "no CPU holds a leaf of another size",
            "    flusher.Flush(covers);\n" +
            "    // Were the entry emptied before they are closed:\n" +
            "    //   remover: empties it                | reclaim: finds nothing mapped\n" +
            "    //   remover: hands over accessed       | reclaim: has evicted the page.\n" +
            "    CloseTable(tree, tree.ChildOf(inner), level.Below(), covers.begin, sink,\n" +
            "               closed);\n" +
            "    Empty<F>(entry);\n",
            "    CloseTable(tree, tree.ChildOf(inner), level.Below(), covers.begin, sink,\n" +
            "               closed);\n" +
            "    Empty<F>(entry);\n" +
            "    flusher.Flush(covers);\n",
        ),
    ],
    "page_table/resize": [
        (
            "SplitWithoutOwning",
            "WalkerAgainstChange<Change::kSplit>",
            "no write is lost",
            "  const Word leaf = tree.Take(*entry);\n",
            "  const Word leaf = tree.ReadSettled(*entry);\n",
        ),
        (
            "PromotionWithoutOwning",
            "WalkerAgainstChange<Change::kPromote>",
            "no write is lost",
            "    const Word taken = tree.Take(table.entries[i]);\n",
            "    const Word taken = tree.ReadSettled(table.entries[i]);\n",
        ),
        (
            "SplitDropsBits",
            "AgerAgainstChange<Change::kSplit>",
            "no access is lost",
            "const Word part = F::SplitLeaf(leaf, level, i);",
            "const Word part = F::SplitLeaf(leaf & ~F::kAccessed, level, i);",
        ),
        (
            "PromotionDropsBits",
            "WalkerAgainstChange<Change::kPromote>",
            "no access is lost",
            "Publish<F>(*entry, large | gathered);",
            "Publish<F>(*entry, large);",
        ),
        (
            "GivenBackWithoutBits",
            "GivenBack",
            "no access is lost",
            "      taken = Used<F>(taken, Rights::kRead);\n",
            "",
        ),
    ],
    "page_table/tables": [
        (
            "EntriesReadRelaxed",
            "BuilderAndReader",
            "nobody finds a leaf that nobody mapped",
            "return ReadOnce(entry, kAcquire);",
            "return ReadOnce(entry, kRelaxed);",
        ),
        (
            "TablesFreedAtOnce",
            "RemovedUnderAWalk",
            "nobody finds a leaf that nobody mapped",
            "{ reclaimer_.Retire(retired); }",
            "{ retired.free(retired, retired.owner); }",
        ),
    ],
    "sim/vcpu_set": [
        (
            "ResumedByAStore",
            "OutAndBack<Asked::kNoUse>",
            "no page is used after its zap",
            "const std::uint64_t before = FetchAdd(word_, kRunning, kAcquire);",
            "const std::uint64_t before = ReadOnce(word_, kAcquire);\n" +
            "  WriteOnce(word_, before + kRunning, kRelaxed);",
        ),
        (
            "PausedByAStore",
            "OutAndBack<Asked::kNoUse>",
            "no page is used after its zap",
            "const std::uint64_t before = FetchAdd(word_, ~kRunning + 1, kRelease);",
            "const std::uint64_t before = ReadOnce(word_, kRelaxed);\n" +
            "  WriteOnce(word_, before - kRunning, kRelease);",
        ),
        (
            "PositionAfterPause",
            "OutAndBack<Asked::kPosition>",
            "a position is after each use of what was flushed",
            "  WriteOnce(position_, position, kRelaxed);\n" +
            "  // Were this a store of the word",
            "  FetchAdd(word_, ~kRunning + 1, kRelease);\n" +
            "  WriteOnce(position_, position, kRelaxed);\n" +
            "  return;\n" +
            "  // Were this a store of the word",
        ),
        (
            "AnswerNotAwaited",
            "AtWork<Asked::kNoUse>",
            "no page is used after its zap",
            "while (Running(word) && ReadOnce(acknowledged_, kAcquire) < wanted) {",
            "while (false) {",
        ),
    ],
    "sim/vcpu": [
        (
            "CacheKept",
            "AtWork<Asked::kNoUse>",
            "no page is used after its zap",
            "    cache_.Flush();\n    ++stats_.flushes;\n",
            "    ++stats_.flushes;\n",
        ),
        (
            "RequestPassedOver",
            "OutAndBack<Asked::kNoUse>",
            "no page is used after its zap",
            "  Attend(line_.Resume());\n",
            "  known_ = line_.Resume();\n",
        ),
    ],
    "rmap/lockless_list": [
        (
            "ClearedBeforeItIsMoved",
            "ScanAgainst<MovesAndRefills, 2>",
            "an entry that stays is visited",
            "    WriteOnce(*hole, ReadOnce(top, kRelaxed), kRelease);\n",
            "    Entry* const moved = ReadOnce(top, kRelaxed);\n" +
            "    WriteOnce(top, nullptr, kRelease);\n" +
            "    WriteOnce(*hole, moved, kRelease);\n",
        ),
        (
            "NotMoved",
            "ScanAgainst<MovesAndRefills, 2>",
            "the rmap holds what was added",
            "  if (hole != &top) {\n",
            "  if (false) {\n",
        ),
        (
            "ScannedUpwards",
            "ScanAgainst<MovesWithinAChunk, 3>",
            "an entry that stays is visited",
            "ReadOnce(slots[left - 1], kAcquire)",
            "ReadOnce(slots[kSlots - left], kAcquire)",
        ),
        (
            "OldestChunkFirst",
            "ScanAgainst<MovesAndRefills, 2>",
            "an entry that stays is visited",
            "  for (; LeadsToLater(word); word = LaterOf(word).next.Get()) {\n" +
            "    if (!ScanSlots(LaterOf(word).slots, read, visit)) return read;\n" +
            "  }\n" +
            "  return read + ScanShort(word, visit);\n",
            "  std::uintptr_t oldest = word;\n" +
            "  while (LeadsToLater(oldest)) oldest = LaterOf(oldest).next.Get();\n" +
            "  read += ScanShort(oldest, visit);\n" +
            "  for (; LeadsToLater(word); word = LaterOf(word).next.Get()) {\n" +
            "    if (!ScanSlots(LaterOf(word).slots, read, visit)) return read;\n" +
            "  }\n" +
            "  return read;\n",
        ),
        (
            "RetiredChunkIsCleared",
            "ScanAgainst<SingleAndBack, 2>",
            "an entry that stays is visited",
            "    return Change{.word = RmapWord::ForSingle(ReadOnce(other, kRelaxed)),\n",
            "    Entry* const left = ReadOnce(other, kRelaxed);\n" +
            "    WriteOnce(first.slots[0], nullptr, kRelease);\n" +
            "    WriteOnce(first.slots[1], nullptr, kRelease);\n" +
            "    return Change{.word = RmapWord::ForSingle(left),\n",
        ),
        (
            "CountForgotten",
            "ScanAgainst<MovesAndRefills, 2>",
            "the rmap holds what was added",
            "  CountsOf(word).Set(counts - 1);\n",
            "",
        ),
    ],
    # By the searches of the list.
    "rmap/lockless@lockless_list": [
        (
            "PublishedRelaxed",
            "ScanAgainst<Unlinks, 2>",
            "an entry that stays is visited",
            "      WriteOnce(head.word, word, kRelease);",
            "      WriteOnce(head.word, word, kRelaxed);",
        ),
    ],
    "rmap/grace_pool": [
        (
            "FreedAtOnce",
            "ChunkReused",
            "no scan leaves its list",
            "    (filling_.*list).Push(chunk);\n",
            "    if constexpr (requires { free_firsts_.Push(chunk); }) {\n" +
            "      free_firsts_.Push(chunk);\n" +
            "      --stats_.in_use;\n" +
            "      return;\n" +
            "    }\n",
        ),
        (
            "AddedToTheBatchThatWaits",
            "SecondBatchReused",
            "DATA RACE",
            "    (filling_.*list).Push(chunk);\n" +
            "    poll = ++filling_.count % kPollEvery == 0;\n",
            "    Batch& batch = grace_ ? waiting_ : filling_;\n" +
            "    (batch.*list).Push(chunk);\n" +
            "    poll = ++batch.count % kPollEvery == 0;\n",
        ),
    ],
    "reclaim/type_stable": [
        (
            "TreeRecordedRelaxed",
            "IdentityAgainstReuse<Differs::kTree>",
            "no page is charged with another's access",
            "WriteOnce(tree_, TreeWord(place), kRelease);",
            "WriteOnce(tree_, TreeWord(place), kRelaxed);",
        ),
        (
            "PlaceRecordedRelaxed",
            "IdentityAgainstReuse<Differs::kFrame>",
            "no page is charged with another's access",
            "WriteOnce(place_, PlaceWord(place), kRelease);",
            "WriteOnce(place_, PlaceWord(place), kRelaxed);",
        ),
        (
            "LifeRecordedRelaxed",
            "IdentityAgainstReuse<Differs::kFrame, RandomInterleavings(200'000)>",
            "no page is charged with another's access",
            "WriteOnce(life_, life + 1, kRelease);",
            "WriteOnce(life_, life + 1, kRelaxed);",
        ),
        (
            "TreeReadRelaxed",
            "IdentityAgainstReuse<Differs::kTree>",
            "no page is charged with another's access",
            "if (ReadOnce(tree_, kAcquire) != TreeWord(place)) return kNoTableLife;",
            "if (ReadOnce(tree_, kRelaxed) != TreeWord(place)) return kNoTableLife;",
        ),
        (
            "PlaceReadRelaxed",
            "IdentityAgainstReuse<Differs::kFrame>",
            "no page is charged with another's access",
            "if (ReadOnce(place_, kAcquire) != PlaceWord(place)) return kNoTableLife;",
            "if (ReadOnce(place_, kRelaxed) != PlaceWord(place)) return kNoTableLife;",
        ),
        (
            "LifeReadRelaxed",
            "IdentityAgainstReuse<Differs::kFrame, RandomInterleavings(200'000)>",
            "no page is charged with another's access",
            "const TableLife life = ReadOnce(life_, kAcquire);",
            "const TableLife life = ReadOnce(life_, kRelaxed);",
        ),
        (
            "TreeNotAsked",
            "HarvestAgainstReuse<Reuse::kAnotherTree, AgeAction::kTestAndClear>",
            "no page is charged with another's access",
            "  if (ReadOnce(tree_, kAcquire) != TreeWord(place)) return kNoTableLife;\n",
            "",
        ),
        (
            "FrameNotAsked",
            "HarvestAgainstReuse<Reuse::kAnotherGfn, AgeAction::kTestAndClear>",
            "no page is charged with another's access",
            "return place.base.value << 3 |",
            "return",
        ),
        (
            "LevelNotAsked",
            "HarvestAgainstAnotherLevel",
            "no page is charged with another's access",
            " |\n" +
            "           static_cast<std::uint64_t>(place.level.value);",
            ";",
        ),
    ],
    "harvest@type_stable": [
        (
            "DirtyBelievedWhereNotAccessed",
            "DirtyAgainstReuse",
            "no page is charged with another's access",
            "                                           : ColdEntries::kChecked;",
            "                                           : ColdEntries::kUnchecked;",
            "outside",
        ),
    ],
    "page_table@type_stable": [
        (
            "InstalledUnasked",
            "FaultAgainstReuse",
            "each mapping goes to exactly one",
            "    if (!tree_.IsHere(*entry, gfn, level)) {\n" +
            "      Empty<F>(*entry);\n",
            "    if (!true) {\n" +
            "      Empty<F>(*entry);\n",
        ),
        (
            "BuiltUnasked",
            "BuilderAgainstReuse",
            "nothing stays frozen",
            "    if (!tree_.IsHere(entry, gfn, level)) {\n" +
            "      Empty<F>(entry);\n",
            "    if (!true) {\n" +
            "      Empty<F>(entry);\n",
        ),
        (
            "ZappedUnasked",
            "ZapAgainstReuse",
            "each mapping goes to exactly one",
            "if (!tree_.IsHere(leaf.entry, leaf.gfn, leaf.level)) {",
            "if (!true) {",
        ),
    ],
    "page_table/resize@shadow_mmu": [
        (
            "RemovedBeforeThePartsAreAdded",
            "SplitAgainstAsker<ShadowLockless, Before::kAccessed, AgeMode::kFastOnly, kA>",
            "who asks while a page is split is told of its access",
            "  PTAGE_ASSERT(F::IsPresent(large) && F::IsLeaf(large, level));\n" +
            "  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {\n" +
            "    (void)tree.Take(table->entries[i]);\n" +
            "    if (parts.Add(table->entries[i], i)) continue;\n" +
            "    while (i-- != 0) parts.Remove(table->entries[i]);\n" +
            "    Restore<F>(*entry, large);\n" +
            "    // Agers may be looking at its entries.\n" +
            "    tree.RetireTable(tree.memory().InfoOf(table).retired);\n" +
            "    return StructureOutcome::kNoMemory;\n" +
            "  }\n" +
            "  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {\n" +
            "    Publish<F>(table->entries[i], F::SplitLeaf(large, level, i));\n" +
            "  }\n" +
            "  // Were the large leaf removed before the parts were added:\n" +
            "  //   split: removes the large one | asker: finds neither it nor any part, and\n" +
            "  //   split: adds the parts        | calls all its frames cold.\n" +
            "  parts.Remove(*entry);\n",
            "  parts.Remove(*entry);\n" +
            "  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {\n" +
            "    (void)tree.Take(table->entries[i]);\n" +
            "    (void)parts.Add(table->entries[i], i);\n" +
            "    Publish<F>(table->entries[i], F::SplitLeaf(large, level, i));\n" +
            "  }\n",
        ),
        (
            "NewParentIsClear",
            "SplitAgainstPruning<Pruning::kExact>",
            "who asks while a page is split is told of its access",
            "  // clear parents (prune_nested.h) would pass over parts that are young.\n" +
            "  Publish<F>(*entry, F::MakeInner(tree.memory().FrameOf(table)));\n",
            "  Publish<F>(*entry,\n" +
            "             F::MakeInner(tree.memory().FrameOf(table)) & ~F::kAccessed);\n",
        ),
        (
            "PartsAreNotAccessed",
            "SplitAgainstAsker<ShadowLockless, Before::kAccessed, AgeMode::kFastOnly, kA>",
            "who asks while a page is split is told of its access",
            "    Publish<F>(table->entries[i], F::SplitLeaf(large, level, i));\n",
            "    Publish<F>(table->entries[i],\n" +
            "               F::SplitLeaf(large & ~F::kAccessed, level, i));\n",
        ),
        (
            "LargeLeafIsNotTaken",
            "SplitAgainstWriter",
            "no CPU holds a large leaf where it finds a table",
            "  const typename F::Word large = tree.Take(*entry);\n",
            "  const typename F::Word large = tree.ReadSettled(*entry);\n",
        ),
        (
            "PutBackNotAccessed",
            "SplitInVainAgainstAsker<AgeMode::kFastOnly>",
            "who asks while a page is split is told of its access",
            "    Restore<F>(*entry, large);\n",
            "    Restore<F>(*entry, large & ~F::kAccessed);\n",
        ),
        (
            "PartsOfOneThatStaysAreNotRemoved",
            "SplitInVainAgainstAsker<AgeMode::kFastOnly>",
            "what cannot be split is as it was",
            "    while (i-- != 0) parts.Remove(table->entries[i]);\n",
            "",
        ),
    ],
    "rmap@shadow_mmu": [
        (
            "ATableIsAgedAsALeaf",
            "SplitAgainstAsker<ShadowLockless, Before::kCold, AgeMode::kFastOnly, kA>",
            "no part is young that nobody used",
            "    return F::IsLeaf(seen, question.frame.level) &&\n" +
            "           RecordsFrame",
            "    return RecordsFrame",
        ),
    ],
    "page_table/resize@type_stable": [
        (
            "SplitOpenedRelaxed",
            "HarvestAgainstReuse<Reuse::kSplit, AgeAction::kTestAndClear>",
            "no page is charged with another's access",
            "WriteOnce(table->entries[i], part, kRelease);",
            "WriteOnce(table->entries[i], part, kRelaxed);",
        ),
    ],
    "prune": [
        (
            "ParentsNotFlushed",
            "CpuAgainstPruning<Pruning::kExact>",
            "nothing young is left behind a parent that is not",
            "    if (flush_ && pruning_ == Pruning::kExact) {",
            "    if (false) {",
        ),
        (
            "YoungParentNotMarked",
            "FaultAgainstPruning",
            "nothing young is left behind a parent that is not",
            "      if (at > Level{2}) break;\n",
            "      if (at > Level{2}) break;\n" +
            "      if ((seen & F::kAccessed) != 0) return;\n",
        ),
        (
            "UnknownParentLeftClear",
            "OwnerAgainstPruning",
            "what is young is reported, or said to be unknown",
            "    if (result.complete || action_ == AgeAction::kTest) return;",
            "    if (true) return;",
        ),
    ],
    "hot_tables": [
        (
            "HotNotFlushed",
            "CpuAgainstRounds<Known::kDense>",
            "an access after a round is found by the next",
            "    if (cleared_) flusher_.Flush(range);\n",
            "",
        ),
        (
            "HotFlushedFirst",
            "CpuAgainstRounds<Known::kDense>",
            "an access after a round is found by the next",
            "    ClearAll(range);\n" +
            "    if (cleared_) flusher_.Flush(range);\n",
            "    flusher_.Flush(range);\n" +
            "    ClearAll(range);\n",
        ),
        (
            "ClearedLeavesAsked",
            "CpuAgainstRounds<Known::kDenseAndDue>",
            "an access is found in one of the rounds",
            " || (byte & Hot::kBegun) != 0;",
            ";",
        ),
        (
            "UnknownHotParentLeftClear",
            "OwnerAgainstRounds",
            "an access is found in one of the rounds",
            "    if (result.complete) return;",
            "    if (true) return;",
        ),
    ],
    "profile": [
        (
            "ProfileNotFlushed",
            "CpuAgainstProfile",
            "an access after a round is found by the next",
            "  if (cleared_) flusher.Flush(range_);\n",
            "",
        ),
        (
            "ProfileFlushedFirst",
            "CpuAgainstProfile",
            "an access after a round is found by the next",
            "  round_ = ProfileRound{};\n",
            "  round_ = ProfileRound{};\n" +
            "  flusher.Flush(range_);\n" +
            "  if (true) {\n" +
            "    LookAll(tree);\n" +
            "    return round_;\n" +
            "  }\n",
        ),
    ],
    "page_table/resize@prune": [
        (
            "ParentGivenBackClearByAPromotion",
            "GivingBackAgainstPruning<Change::kPromote>",
            "what is young is reported, or said to be unknown",
            "    Restore<F>(*entry, GivenBack<F>(inner, level));",
            "    Restore<F>(*entry, inner);",
        ),
        (
            "ParentGivenBackClearByASplit",
            "GivingBackAgainstPruning<Change::kSplit>",
            "what is young is reported, or said to be unknown",
            "    Restore<F>(*entry, GivenBack<F>(leaf, level));",
            "    Restore<F>(*entry, leaf);",
        ),
    ],
    "prune@prune_nested": [
        (
            "NestedParentsNotFlushed",
            "NestedCpu<Pruning::kExact>",
            "nothing young is left behind a parent that is not",
            "    if (flush_ && pruning_ == Pruning::kExact) {",
            "    if (false) {",
        ),
    ],
    "prune_nested": [
        (
            "RecordReadBeforeTheEntry",
            "NestedGivenAway<Given::kYoung, kOnlyA>",
            "no page is charged with another's access",
            "    const Word seen = Tree::Tables::ReadEntry(entry);\n" +
            "    if (IsFrozen<F>(seen)) {\n" +
            "      LeaveUnknown(asked_.Clip(MappedBy(entry, 1)));\n",
            "    const GfnRange before = asked_.Clip(MappedBy(entry, 1));\n" +
            "    const Word seen = Tree::Tables::ReadEntry(entry);\n" +
            "    if (IsYoung<F>(seen) && !before.Empty()) {\n" +
            "      ReportYoung(before);\n" +
            "      Clear(entry, seen, 1);\n" +
            "      return;\n" +
            "    }\n" +
            "    if (IsFrozen<F>(seen)) {\n" +
            "      LeaveUnknown(asked_.Clip(MappedBy(entry, 1)));\n",
        ),
        (
            "RecordNotReadAgain",
            "NestedSameWord",
            "no access is lost",
            "    output_.SetYoung(now);\n",
            "",
        ),
        (
            "OthersBitsCleared",
            "NestedTwoAskers",
            "no access is lost",
            "    if (frame.Empty()) {\n      MarkAgain(nested);\n",
            "    if (frame.Empty()) {\n      Clear(entry, seen, 1);\n",
        ),
        (
            "OthersParentLeftClear",
            "NestedTwoAskers",
            "nothing young is left behind a parent that is not",
            "    if (frame.Empty()) {\n      MarkAgain(nested);\n",
            "    if (frame.Empty()) {\n",
        ),
        (
            "FrozenLeafsParentLeftClear",
            "NestedOwner<kOnlyB>",
            "no access is lost",
            "      LeaveUnknown(asked_.Clip(MappedBy(entry, 1)));\n" +
            "      MarkAgain(nested);\n",
            "      LeaveUnknown(asked_.Clip(MappedBy(entry, 1)));\n",
        ),
    ],
    "page_table/tables@type_stable": [
        (
            "StableNotAsked",
            "HarvestAgainstReuse<Reuse::kAnotherGfn, AgeAction::kTestAndClear>",
            "no page is charged with another's access",
            "  return identity.StillIn(life_) ? seen : F::kFrozen;\n",
            "  return true ? seen : F::kFrozen;\n",
        ),
        (
            "StableAskedBeforeAlone",
            "HarvestAskedBefore<AgeAction::kTestAndClear>",
            "no access is lost",
            "  return identity.StillIn(life_) ? seen : F::kFrozen;\n",
            "  return life_ != kNoTableLife ? seen : F::kFrozen;\n",
        ),
        (
            "StableAskedAfterAlone",
            "HarvestAgainstReuse<Reuse::kAwayAndBack, AgeAction::kTest>",
            "no page is charged with another's access",
            "  const TableIdentity& identity = tree_.memory_.IdentityOf(&table_);\n" +
            "  if (!asked_) {\n" +
            "    asked_ = true;\n" +
            "    life_ = identity.LifeIn(tree_.PlaceOf(gfn_, level_));\n" +
            "  }\n" +
            "  // Were the identity asked only before this, or only after, see 3 and 4 in\n" +
            "  // type_stable.h.\n" +
            "  const Word seen = ReadEntry(entry);\n" +
            "  return identity.StillIn(life_) ? seen : F::kFrozen;\n",
            "  const TableIdentity& identity = tree_.memory_.IdentityOf(&table_);\n" +
            "  const Word seen = ReadEntry(entry);\n" +
            "  return identity.LifeIn(tree_.PlaceOf(gfn_, level_)) != kNoTableLife\n" +
            "             ? seen\n" +
            "             : F::kFrozen;\n",
        ),
        (
            "StableParentReadInstead",
            "HarvestAgainstReuse<Reuse::kAwayAndBack, AgeAction::kTest>",
            "no page is charged with another's access",
            "  const TableIdentity& identity = tree_.memory_.IdentityOf(&table_);\n" +
            "  if (!asked_) {\n" +
            "    asked_ = true;\n" +
            "    life_ = identity.LifeIn(tree_.PlaceOf(gfn_, level_));\n" +
            "  }\n" +
            "  // Were the identity asked only before this, or only after, see 3 and 4 in\n" +
            "  // type_stable.h.\n" +
            "  const Word seen = ReadEntry(entry);\n" +
            "  return identity.StillIn(life_) ? seen : F::kFrozen;\n",
            "  if (level_ == Level{F::kLevels}) return ReadEntry(entry);\n" +
            "  const Entry& above =\n" +
            "      tree_.root_->entries[IndexOf(gfn_, Level{F::kLevels})];\n" +
            "  const Word before = ReadEntry(above);\n" +
            "  const Word seen = ReadEntry(entry);\n" +
            "  return ReadEntry(above) == before ? seen : F::kFrozen;\n",
        ),
        (
            "StableFilterBelieved",
            "HarvestAgainstReuse<Reuse::kAnotherGfn, AgeAction::kTestAndClear>",
            "no page is charged with another's access",
            "  const TableIdentity& identity = tree_.memory_.IdentityOf(&table_);\n" +
            "  if (!asked_) {",
            "  const TableIdentity& identity = tree_.memory_.IdentityOf(&table_);\n" +
            "  if (!asked_ && level_ == Level{1}) return ReadEntry(entry);\n" +
            "  if (!asked_) {",
        ),
        (
            "StableEntriesReadRelaxed",
            "WalkAgainstSplit<AgeAction::kTestAndClear>",
            "no page is charged with another's access",
            "return ReadOnce(entry, kAcquire);",
            "return ReadOnce(entry, kRelaxed);",
        ),
        (
            "OpenedRelaxed",
            "FaultAgainstReuse",
            "each mapping goes to exactly one",
            "WriteOnce(entry, F::kEmpty, kRelease);",
            "WriteOnce(entry, F::kEmpty, kRelaxed);",
        ),
        (
            "OpenedBeforeItIsOwned",
            "FaultAgainstRebuilding",
            "each mapping goes to exactly one",
            "    memory_.IdentityOf(&table).Record(PlaceOf(base, level));\n",
            "    memory_.IdentityOf(&table).Record(PlaceOf(base, level));\n" +
            "    Open(table);\n",
        ),
    ],
}
