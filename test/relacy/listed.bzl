# SPDX-License-Identifier: MIT OR Apache-2.0
"""What catches each mutant of the mechanical list (list_mutants.py), or why nothing can.

A row is the mutant's name without its header: (search, the property that must be
violated). `tools/find_catch` proposes rows. A mutant may also be met by a row of
mutants.bzl that writes the same.
"""

# header: the searches that may catch its mutants. The first is the one for rows of
# mutants.bzl and below whose key names none.
SEARCHES = {
    "dirty": ["dirty"],
    "fast_fault": ["fast_fault"],
    "fault_lock": ["fault_lock"],
    "gate": ["gate"],
    "guest_walk": ["guest_walk"],
    "harvest": ["page_table", "type_stable"],
    "harvest/entries": ["page_table", "type_stable"],
    "harvest/leaf_tables": ["page_table"],
    "hold": ["eviction"],
    "hot_tables": ["hot_tables"],
    "legacy_shadow": ["legacy_shadow", "legacy_removal"],
    "legacy_shadow/faults": ["legacy_shadow", "legacy_removal"],
    "legacy_shadow/protected_frames": ["protected_frames"],
    "legacy_shadow/reclaim": ["legacy_removal", "shadow_tree"],
    "legacy_shadow/shadow_tree": ["shadow_tree", "legacy_removal"],
    "legacy_shadow/tables": ["legacy_removal", "shadow_tree"],
    "lock": ["lock"],
    "lru/eviction": ["eviction"],
    "lru/look_around": ["look_around"],
    "lru/page_word": ["lru"],
    "memory": ["spte", "rmap"],
    "notifier": ["notifier"],
    "once/block": ["page_table"],
    "once/vector": ["rmap", "page_table"],
    "page_history": ["page_history"],
    "page_table": ["page_table", "type_stable"],
    "page_table/cold": ["page_table"],
    "page_table/remove": ["page_table", "type_stable"],
    "page_table/resize": ["page_table", "type_stable", "shadow_mmu"],
    "page_table/tables": ["page_table", "type_stable"],
    "profile": ["hot_tables"],
    "prune": ["prune"],
    "prune_nested": ["prune_nested"],
    "published": ["published"],
    "reclaim/anonymous_epoch": ["anonymous_epoch"],
    "reclaim/epoch": ["epoch"],
    "reclaim/epoch/walks": ["epoch"],
    "reclaim/limbo": ["anonymous_epoch", "epoch"],
    "reclaim/type_stable": ["type_stable"],
    "rmap": ["rmap", "lockless_list", "shadow_mmu"],
    "rmap/bit_locked": ["rmap", "protected_frames"],
    "rmap/chunk_list": ["rmap"],
    "rmap/grace_pool": ["lockless_list"],
    "rmap/head_lock": ["rmap", "lockless_list"],
    "rmap/lockless": ["rmap", "lockless_list", "protected_frames"],
    "rmap/lockless_list": ["lockless_list", "rmap"],
    "rmap/range": ["rmap"],
    "rmap/single_entry_lockless": ["rmap"],
    "sim/vcpu": ["vcpu"],
    "sim/vcpu_set": ["vcpu"],
    "shadow_mmu": ["shadow_mmu"],
    "shadow_mmu/nested_entries": ["shadow_mmu"],
    "sharded_count": ["sharded_count"],
    "spte": ["spte", "rmap", "page_table", "vcpu"],
}

# header, or header@searches: {mutant: (search, property)}
LISTED = {
    "dirty": {
        "ChangeLeaves:recheck:1": (
            "CollectorAgainstChange<Collecting::kProtect, Reshaping::kSplit>",
            "what was written before is told of",
        ),
        "ChangeLeaves:recheck:2": (
            "CollectorAgainstChange<Collecting::kProtect, Reshaping::kSplit>",
            "nothing is writable that was protected",
        ),
        "ChangeLeaves:recheck:3": (
            "CollectorAgainstChange<Collecting::kProtect, Reshaping::kSplit>",
            "nothing is writable that was protected",
        ),
        "GrantWrite:recheck:1": (
            "FaultAgainst<Meanwhile::kAging>",
            "what was granted can be written",
        ),
        "GrantWrite:recheck:2": (
            "FaultAgainst<Meanwhile::kZap>",
            "what was zapped does not come back",
        ),
    },
    "gate": {
        "Close:order:1": ("Passers<2>", "DATA RACE"),
        "Close:order:2": ("Passers<2>", "DATA RACE"),
        "Close:recheck:1": ("Passers<2>", "DATA RACE"),
        "Leave:order:1": ("Passers<2>", "DATA RACE"),
        "Open:order:1": ("Passers<2>", "DATA RACE"),
        "TryEnter:order:1": ("Passers<2>", "DATA RACE"),
        "TryEnter:order:2": ("Passers<2>", "DATA RACE"),
        "TryEnter:recheck:1": ("Passers<2>", "DATA RACE"),
    },
    "guest_walk": {
        "Walk:order:1": (
            "WalkAgainstLinking",
            "what L1 wrote before the entry above is there",
        ),
        "MarkPath:recheck:1": (
            "WalkAgainstChange<AccessKind::kRead>",
            "L1 finds set what may be used",
        ),
        "MarkPath:recheck:2": (
            "WalkAgainstChange<AccessKind::kRead>",
            "what L1 wrote stays where it is",
        ),
    },
    "fast_fault": {
        "FastFaultSeen:recheck:1": (
            "AgedAndUsed",
            "no access is lost",
        ),
        "FastFaultSeen:recheck:2": (
            "ZappedAndUsed",
            "a mapping that was zapped stays away",
        ),
    },
    "harvest": {
        "HarvestTable:recheck:1": (
            "AgerAgainstChange<Change::kSplit>",
            "what is young is reported, or said to be unknown",
        ),
        "Gather:recheck:1": (
            "AgerAgainstChange<Change::kSplit>",
            "what is young is reported, or said to be unknown",
        ),
    },
    "legacy_shadow": {
        "GuestWrite:order:1": (
            "FaultAgainstLinking",
            "what the guest wrote before it linked a table is there",
        ),
        "GuestWrite:recheck:1": (
            "WriteAgainstNeighbour",
            "what is written to a part of a word leaves the others",
        ),
        "GuestWrite:recheck:2": (
            "WriteAgainstNeighbour",
            "what is written to a part of a word leaves the others",
        ),
    },
    "legacy_shadow/faults": {
        "Enter:order:1": ("TwoLegacyFaults<1>", "DATA RACE"),
        "MayBelieve:recheck:1": (
            "FaultAgainstInvalidation",
            "nothing maps a frame that is being taken away",
        ),
    },
    "legacy_shadow/protected_frames": {
        "HoldsTable:recheck:1": (
            "BuilderAgainstNewLeaf<GuardedLockless, false>",
            "no leaf of a table's frame is writable",
        ),
        "ProtectLeaf:recheck:1": (
            "BuilderAgainstMoreRights<GuardedLockless>",
            "no leaf of a table's frame is writable",
        ),
        "ProtectLeaf:recheck:2": (
            "BuilderAgainstCpu<GuardedLockless>",
            "no leaf of a table's frame is writable",
        ),
        "ProtectLeaf:recheck:3": (
            "BuilderAgainstCpu<GuardedLockless>",
            "no write is lost",
        ),
    },
    "legacy_shadow/shadow_tree": {
        "Close:recheck:1": (
            "TakeAgainstAsker<TakeWay::kTables, AgeMode::kFastOnly>",
            "no page is charged with another's access",
        ),
        "Finish:swap:1": (
            "TakeAgainstCpu<TakeWay::kLeaves>",
            "no page is used after it was handed on",
        ),
        "GrantMore:recheck:1": ("BuilderAgainstTwoFaults", "no write is lost"),
        "Link:recheck:1": (
            "TwoBuilders<0>",
            "who leads to a table is named there once",
        ),
        "Link:swap:1": (
            "FullAgainstCpu",
            "who leads to a table is named there once",
        ),
        "Map:order:1": (
            "TwoBuilders<0>",
            "assertion: RecordedFrame<F>(memory_, entry) == gfn",
        ),
        "Map:recheck:2": (
            "TwoBuilders<0>",
            "an entry is in the rmap of the frame that it maps, once",
        ),
        "Map:swap:2": ("FullAgainstCpu", "nothing is mapped that no rmap has"),
        "PartsOf:swap:1": ("TwoFaultsOfParts", "assertion: owned"),
        "Take:recheck:1": (
            "TakeAgainstCpu<TakeWay::kLeaves>",
            "no access is lost",
        ),
    },
    "lock": {
        "Lock:recheck:2": (
            "Holders<2>",
            "DATA RACE",
        ),
        "Lock:recheck:3": (
            "Holders<2>",
            "DATA RACE",
        ),
        "Lock:order:1": (
            "Holders<2>",
            "DATA RACE",
        ),
        "Unlock:order:1": (
            "Holders<2>",
            "DATA RACE",
        ),
    },
    "lru/page_word": {
        "AddPage:recheck:1": ("TwoAdders", "a page is added once"),
        "ClaimPage:recheck:1": ("OneMark<Asking::kClaims>", "a mark speaks once"),
        "ClaimPage:recheck:2": ("MarkAgainstEvictor", "a marked page is not claimed"),
        "FreePage:recheck:1": ("EvictorsAgainstOwner", "what was freed can be added"),
        "KeepPage:recheck:1": ("KeeperAgainstMark", "what is unknown does not look old"),
        "MarkPage:recheck:1": ("KeeperAgainstMark", "and its mark stays"),
        "ReleasePage:recheck:1": ("EvictorsAgainstOwner", "nobody has the page for ever"),
        "Replace:recheck:1": ("TwoAdders", "a page is added once"),
        "Replace:recheck:2": ("EvictorAfterAdder", "DATA RACE"),
        "TakeMark:recheck:1": ("OneMark<Asking::kTakes>", "a mark speaks once"),
        "UsePage:recheck:1": ("UsesAgainstTaker", "no use of a claimed page is lost"),
    },
    "memory": {
        "RecordsFrame:recheck:1": (
            "TwoIndirectFaults",
            "no page is charged with another's access",
        ),
    },
    "once/block": {
        "SeeSingleWords:recheck:2": (
            "BlockAgainstZap<TinyFormat::kDirty>",
            "nobody reads cold before the access is on record",
        ),
    },
    "once/vector@page_table": {
        "SeeEachWord:recheck:1": (
            "HarvestAgainstZap",
            "nobody reads empty before the access is on record",
        ),
        "SeeEachWord:recheck:2": (
            "HarvestAgainstZap",
            "nobody reads empty before the access is on record",
        ),
        "SeeEachWord:recheck:3": (
            "HarvestAgainstZap",
            "nothing stays frozen",
        ),
    },
    "once/vector": {
        "WordsInRun:recheck:1": (
            "RunBroken<Single, GivenAs::kCold>",
            "an entry that stayed in its rmap is examined",
        ),
        "WordsHaveLack:recheck:2": (
            "RunBroken<Single, GivenAs::kCold>",
            "an entry that stayed in its rmap is examined",
        ),
    },
    "page_history": {
        "SetBits:recheck:1": (
            "RecordsAgainstTaker",
            "no access is lost",
        ),
        "SetBits:recheck:2": (
            "RecordsAgainstTaker",
            "no access is lost",
        ),
        "Take:recheck:2": (
            "RecordsAgainstTaker",
            "no access is lost",
        ),
    },
    "page_table": {
        "BuildTable:recheck:1": (
            "TwoBuilders",
            "a map is done at last",
        ),
        "BuildTable:recheck:2": (
            "SmallAgainstLarge",
            "exactly one fault wins",
        ),
        "FindSlot:recheck:1": (
            "OneBuilder",
            "a map that nobody hinders is done",
        ),
        "FindSlot:recheck:2": (
            "MapAgainstRemoval",
            "no table is used after it was freed",
        ),
        "FindSlot:recheck:3": (
            "SmallAgainstLarge",
            "no table is used after it was freed",
        ),
        "FindSlot:recheck:4": (
            "OneBuilder",
            "a fault is told that its page is mapped",
        ),
        "Map:recheck:3": (
            "SmallAgainstLarge",
            "exactly one fault wins",
        ),
        "Claim:recheck:1": (
            "ClaimAgainstRemoval",
            "each mapping goes to exactly one",
        ),
        "Zap:recheck:1": (
            "ZapAgainst<Rival::kZap>",
            "assertion: !IsFrozen<F>(seen)",
        ),
        "ZapHere:recheck:3": (
            "ZapAgainstChange<Change::kSplit>",
            "what was zapped does not come back",
        ),
    },
    "page_table/cold": {
        "RemoveIfCold:swap:1": (
            "WalkerAgainstCold",
            "no CPU uses a leaf that was handed on",
        ),
        "RemoveIfCold:swap:2": (
            "WalkerAgainstCold",
            "a table in use is not removed",
        ),
        "RemoveIfCold:swap:3": (
            "EmptyAfterCold",
            "nobody reads empty before the access is on record",
        ),
        "RemoveIfCold:recheck:1": (
            "WalkerAgainstCold",
            "no table is used after it was freed",
        ),
    },
    "page_table/remove": {
        "RemoveIn:swap:1": (
            "CpuAgainst<Resize::kRemoveAndMap>",
            "no CPU holds a leaf of another size",
        ),
        "RemoveIn:swap:2": (
            "CachedInner",
            "no CPU uses a leaf that was handed on",
        ),
        "RemoveIn:swap:3": (
            "EmptyAfterRemoval",
            "nobody reads empty before the access is on record",
        ),
    },
    "page_table/resize": {
        "Split:swap:4": (
            "CpuAgainst<Resize::kSplit>",
            "no CPU holds a leaf of another size",
        ),
        "Promote:recheck:1": (
            "Unaligned",
            "a large leaf maps an aligned frame",
        ),
        "Promote:recheck:2": (
            "ZapAgainstGivingBack",
            "half a table is not promoted",
        ),
        "Promote:swap:3": (
            "CpuAgainst<Resize::kPromote>",
            "no CPU holds a leaf of another size",
        ),
    },
    "page_table/tables": {
        "ReadEntry:order:1": (
            "ZapAgainstChange<Change::kSplit>",
            "what was zapped does not come back",
        ),
        "ReadSettled:recheck:1": (
            "ClaimAgainstRemoval",
            "assertion: !IsFrozen<F>(seen)",
        ),
        "Take:recheck:1": (
            "MapAgainstRemoval",
            "each mapping goes to exactly one",
        ),
        "VisitTable:recheck:1": (
            "ZapAgainstChange<Change::kSplit>",
            "what was zapped does not come back",
        ),
    },
    "page_table@type_stable": {
        "BuildTable:swap:1": (
            "FaultAgainstRebuilding",
            "each mapping goes to exactly one",
        ),
        "BuildTable:swap:2": (
            "StableEverything",
            "no page is charged with another's access",
        ),
        "Map:swap:1": (
            "FaultAgainstReuse",
            "each mapping goes to exactly one",
        ),
        "Map:swap:2": (
            "FaultAgainstReuse",
            "each mapping goes to exactly one",
        ),
        "Map:recheck:1": (
            "FaultAgainstReuse",
            "each mapping goes to exactly one",
        ),
        "ZapHere:swap:1": (
            "ZapAgainstReuse",
            "each mapping goes to exactly one",
        ),
        "ZapHere:recheck:1": (
            "ZapAgainstReuse",
            "each mapping goes to exactly one",
        ),
        "ZapHere:swap:3": (
            "StableCachedLeaf",
            "no CPU uses a leaf that was handed on",
        ),
        "ZapHere:swap:4": (
            "StableEmptyAfterRecord",
            "nobody reads empty before the access is on record",
        ),
    },
    "page_table/resize@shadow_mmu": {
        "SplitIndirect:swap:3": (
            "SplitAgainstWriter",
            "no CPU holds a large leaf where it finds a table",
        ),
    },
    "page_table/resize@type_stable": {
        "Split:swap:1": (
            "FaultAgainstVainSplit",
            "each mapping goes to exactly one",
        ),
    },
    "reclaim/type_stable": {
        "LifeIn:recheck:1": (
            "HarvestAgainstReuse<Reuse::kAnotherTree, kTake>",
            "no page is charged with another's access",
        ),
        "LifeIn:recheck:2": (
            "HarvestAgainstReuse<Reuse::kAnotherGfn, kLook>",
            "no page is charged with another's access",
        ),
        "Record:swap:2": (
            "IdentityAgainstReuse<Differs::kFrame, RandomInterleavings(200'000)>",
            "no page is charged with another's access",
        ),
        "StillIn:recheck:1": (
            "IdentityAgainstReuse<Differs::kFrame, RandomInterleavings(200'000)>",
            "no page is charged with another's access",
        ),
    },
    "hold": {
        "FreezeLeaves:recheck:1": (
            "EvictorAgainstEvictor<Which::kFirst, Which::kFirst>",
            "what is evicted is mapped nowhere",
        ),
        "HandOver:swap:1": (
            "EvictorAgainstZap<Meanwhile::kUse>",
            "who finds nothing mapped has it told",
        ),
        "Take:recheck:1": (
            "EvictorAgainstEvictor<Which::kFirst, Which::kLast>",
            "assertion: !IsFrozen<F>(seen)",
        ),
        "Take:recheck:2": (
            "EvictorAgainstUser",
            "no write is lost",
        ),
    },
    "hot_tables": {
        "ClearTable:recheck:1": (
            "TallOwnerAgainstRounds",
            "what is young is reported, or said to be unknown",
        ),
    },
    "profile": {
        "Look:recheck:1": (
            "OwnerAgainstProfile",
            "what is young is reported, or said to be unknown",
        ),
    },
    "prune": {
        "ClearParents:recheck:2": (
            "FaultAgainstPruning",
            "nothing young is left behind a parent that is not",
        ),
        "PruneTable:recheck:1": (
            "TallOwnerAgainstPruning",
            "what is young is reported, or said to be unknown",
        ),
        "MarkParent:recheck:1": (
            "FaultAgainstPruning",
            "nothing young is left behind a parent that is not",
        ),
        "MarkParent:recheck:2": (
            "MarkAgainstRemoval",
            "nothing stays frozen",
        ),
        "MarkParent:order:1": (
            "FaultAgainstPruning",
            "nothing young is left behind a parent that is not",
        ),
    },
    "prune_nested": {
        "AgeTable:recheck:1": (
            "NestedLargeOwner",
            "what is young is reported, or said to be unknown",
        ),
        "AgeLeaf:recheck:1": (
            "NestedOwner<kOnlyA>",
            "what is young is reported, or said to be unknown",
        ),
        "Clear:recheck:1": (
            "NestedRemoval",
            "no page is charged with another's access",
        ),
        "Clear:recheck:2": (
            "NestedRemoval",
            "no page is charged with another's access",
        ),
        "Clear:order:1": (
            "NestedSameWord",
            "no access is lost",
        ),
    },
    "reclaim/anonymous_epoch": {
        "Begin:recheck:2": (
            "OnePlace",
            "DATA RACE",
        ),
        "Begin:recheck:3": (
            "OnePlace",
            "DATA RACE",
        ),
        "OldestWalk:recheck:1": (
            "Waiting",
            "DATA RACE",
        ),
        "OldestWalk:recheck:2": (
            "Waiting",
            "DATA RACE",
        ),
    },
    "reclaim/epoch": {
        "Retire:recheck:1": (
            "Limited<kExchange>",
            "the limit is reported",
        ),
        "Retire:recheck:2": (
            "Limited<kExchange>",
            "the limit is reported",
        ),
        "Collect:recheck:1": (
            "RetiredMeanwhile<kExchange>",
            "what was retired is freed once",
        ),
    },
    "reclaim/epoch/walks": {
        "Begin:recheck:1": (
            "ThreeNestedWalks<kStore>",
            "DATA RACE",
        ),
        "Begin:order:2": (
            "PlaceHandedOn<kStore>",
            "DATA RACE",
        ),
        "BeginSlowly:recheck:1": (
            "ThreeNestedWalks<kExchange>",
            "DATA RACE",
        ),
        "BeginSlowly:order:2": (
            "PlaceHandedOn<kStore, RandomInterleavings(1'000'000)>",
            "DATA RACE",
        ),
        "FindOrClaim:recheck:1": (
            "Synchronized<kExchange>",
            "DATA RACE",
        ),
        "Another:recheck:1": (
            "NestedBesideAnother<kExchange>",
            "DATA RACE",
        ),
        "Another:recheck:2": (
            "ThreeNestedWalks<kExchange>",
            "DATA RACE",
        ),
        "Claim:recheck:2": (
            "ExitBesideAWalk<kExchange>",
            "DATA RACE",
        ),
        "Claim:recheck:3": (
            "ExitBesideAWalk<kExchange>",
            "DATA RACE",
        ),
        "Unregister:recheck:1": (
            "PlaceHandedOn<kExchange>",
            "assertion: ReadOnce(place.announced, kRelaxed) == kIdle",
        ),
        "Use:recheck:1": (
            "ExitBesideAWalk<kExchange>",
            "DATA RACE",
        ),
        "Use:recheck:2": (
            "PlaceBroughtIntoUse<kExchange>",
            "nothing is freed under a walk",
        ),
        "Use:recheck:3": (
            "PlaceBroughtIntoUse<kExchange>",
            "DATA RACE",
        ),
        "OldestWalk:recheck:1": (
            "FreedByTheCaller<kExchange>",
            "DATA RACE",
        ),
        "OldestWalk:recheck:2": (
            "FreedByTheCaller<kExchange>",
            "DATA RACE",
        ),
        "OldestWalk:recheck:3": (
            "FreedByTheCaller<kExchange>",
            "DATA RACE",
        ),
        "OnThreadExit:recheck:1": (
            "ExitBesideAWalk<kExchange>",
            "DATA RACE",
        ),
        "OnThreadExit:recheck:2": (
            "EndedByExit<kExchange>",
            "what was retired is freed once",
        ),
        "OnThreadExit:swap:1": (
            "EndedByExit<kExchange>",
            "a walk that its thread's end has ended is counted",
        ),
        "OnThreadExit:order:1": (
            "EndedByExit<kExchange>",
            "DATA RACE",
        ),
        "AfterForkInChild:recheck:1": (
            "Forked<kExchange>",
            "no walk of another thread holds the child back",
        ),
    },
    "rmap": {
        "AgeSeenThroughRmap:recheck:1": (
            "SingleRemoved<Bit, AgeMode::kFastOnly>",
            "no page is charged with another's access",
        ),
        "AgeThroughRmap:order:1": (
            "SingleRemoved<Bit, AgeMode::kFastOnly>",
            "no page is charged with another's access",
        ),
    },
    "rmap/bit_locked": {
        "Age:order:1": (
            "SingleAdded<Bit, RandomInterleavings(20'000)>",
            "DATA RACE",
        ),
    },
    "rmap/chunk_list": {
        "Added:swap:1": (
            "FourEntries<Bit>",
            "the rmap holds what was added",
        ),
    },
    "rmap/head_lock": {
        "LockHead:recheck:1": (
            "TwoWriters<Bit>",
            "the rmap holds what was added",
        ),
        "LockHead:recheck:2": (
            "TwoWriters<Bit>",
            "the rmap holds what was added",
        ),
        "LockHead:recheck:3": (
            "TwoWriters<Bit>",
            "the rmap holds what was added",
        ),
        "LockHead:order:1": (
            "TwoWriters<Bit>",
            "DATA RACE",
        ),
        "UnlockHead:order:1": (
            "SingleAdded<Free, RandomInterleavings(20'000)>",
            "DATA RACE",
        ),
    },
    "rmap/lockless@lockless_list": {
        "Publish:order:2": (
            "ScanAgainst<SingleAndBack, 2>",
            "DATA RACE",
        ),
        "Remove:swap:1": (
            "ChunkReused",
            "no scan leaves its list",
        ),
    },
    "rmap/lockless": {
        "Age:order:1": (
            "SingleAdded<Free, RandomInterleavings(20'000)>",
            "DATA RACE",
        ),
    },
    "rmap/lockless_list": {
        "Added:order:1": (
            "ScanAgainst<MovesWithinAChunk, 3>",
            "DATA RACE",
        ),
        "Removed:order:1": (
            "TwoListWriters",
            "DATA RACE",
        ),
        "Removed:order:2": (
            "ScanAgainst<MovesWithinAChunk, 3>",
            "an entry that stays is visited",
        ),
        "Find:recheck:1": (
            "ScanAgainst<SingleAndBack, 2>",
            "an entry that stays is visited",
        ),
        "ScanSlots:order:1": (
            "ScanAgainst<MovesWithinAChunk, 3>",
            "an entry that stays is visited",
        ),
    },
    "rmap/single_entry_lockless": {
        "Add:order:1": (
            "SingleAdded<Single, RandomInterleavings(20'000)>",
            "DATA RACE",
        ),
        "Remove:order:1": (
            "OtherTableLeft<Single>",
            "DATA RACE",
        ),
        "Age:order:1": (
            "SingleAdded<Single, RandomInterleavings(20'000)>",
            "DATA RACE",
        ),
    },
    "sim/vcpu": {
        "Translate:recheck:1": (
            "AskedBefore<Looks::kTranslates>",
            "a vCPU that looks answers what was asked before",
        ),
        "Poll:recheck:1": (
            "AskedBefore<Looks::kPolls>",
            "a vCPU that looks answers what was asked before",
        ),
        "WalkOnce:order:1": (
            "TableBuilt",
            "a frame leads to its page",
        ),
        "WalkOnce:recheck:1": (
            "InnerPutBack",
            "an inner entry that led to a page is accessed",
        ),
        "UseLeaf:recheck:1": (
            "MarkAgainstFreeze",
            "no write is lost",
        ),
        "Mark:recheck:1": (
            "MarkAgainstFreeze",
            "no write is lost",
        ),
        "Mark:recheck:2": (
            "MarkAgainstFreeze",
            "no write is lost",
        ),
    },
    "sim/vcpu_set": {
        "Changed:recheck:1": (
            "AskedBefore<Looks::kPolls>",
            "a vCPU that looks answers what was asked before",
        ),
        "Read:order:1": (
            "TwoFlushes",
            "no page is used after its zap",
        ),
        "Resume:order:1": (
            "TwoFlushes",
            "no page is used after its zap",
        ),
        "Pause:swap:1": (
            "OutAndBack<Asked::kPosition>",
            "a position is after each use of what was flushed",
        ),
        "Pause:order:1": (
            "OutAndBack<Asked::kData>",
            "what was written is visible after the flush",
        ),
        "Acknowledge:swap:1": (
            "AtWork<Asked::kPosition>",
            "a position is after each use of what was flushed",
        ),
        "Acknowledge:order:1": (
            "OutAndBack<Asked::kData>",
            "what was written is visible after the flush",
        ),
        "Request:order:1": (
            "TwoFlushes",
            "no page is used after its zap",
        ),
        "Await:order:1": (
            "OutAndBack<Asked::kData>",
            "what was written is visible after the flush",
        ),
        "Await:recheck:1": (
            "MarkAgainstFreeze",
            "no page is used after its zap",
        ),
        "Await:order:2": (
            "OutAndBack<Asked::kData>",
            "what was written is visible after the flush",
        ),
        "Await:order:3": (
            "OutAndBack<Asked::kData>",
            "what was written is visible after the flush",
        ),
    },
    "published": {
        "Read:order:1": ("ReadWhileReplaced", "DATA RACE"),
        "Replace:swap:1": (
            "ReadWhileReplaced",
            "nothing is freed under a walk",
        ),
        "Replace:order:1": ("ReadWhileReplaced", "DATA RACE"),
    },
    "shadow_mmu": {
        "AddGuest:order:1": (
            "NewGuestAgainstAsker<Pruning::kBestEffort>",
            "no table is used after it was freed",
        ),
        "GrantMore:recheck:1": (
            "TwoFaults<ShadowLockless, kB>",
            "who is told that a page is mapped finds it so",
        ),
        "GrantMore:recheck:2": (
            "MoreRightsAgainst<ShadowLockless, Meanwhile::kAsked>",
            "who is told that a page is mapped finds it so",
        ),
        "GrantMore:recheck:3": (
            "MoreRightsAgainst<ShadowLockless, Meanwhile::kRead>",
            "no access is lost",
        ),
        "guests:order:1": (
            "NewGuestAgainstAsker<Pruning::kBestEffort>",
            "no table is used after it was freed",
        ),
    },
    "sharded_count": {
        "Take:order:1": ("ComeAndGo", "what is there is counted"),
        "Count:order:1": ("ComeAndGo", "what is there is counted"),
        "Count:recheck:1": ("ComeAndGo", "what is there is counted"),
    },
    "spte": {
        "AgeEntry:order:1": (
            "EmptyAfterRecord",
            "nobody reads empty before the access is on record",
        ),
        "AgeSeen:recheck:1": (
            "EmptyAfterRecord",
            "nobody reads empty before the access is on record",
        ),
        "AgeSeen:recheck:2": (
            "ReusedEntry",
            "no page is charged with another's access",
        ),
        "AgeSeen:recheck:3": (
            "ReusedEntry",
            "no page is charged with another's access",
        ),
        "AgeSeen:recheck:4": (
            "ReusedEntry",
            "no page is charged with another's access",
        ),
        "Install:recheck:1": (
            "TwoDirectFaults",
            "exactly one fault wins",
        ),
        "Install:recheck:2": (
            "TwoDirectFaults",
            "exactly one fault wins",
        ),
        "Install:order:1": (
            "TwoDirectFaults",
            "DATA RACE",
        ),
        "Freeze:recheck:1": (
            "ReusedEntry",
            "no page is charged with another's access",
        ),
        "Freeze:recheck:2": (
            "ReusedEntry",
            "no page is charged with another's access",
        ),
        "Freeze:order:1": (
            "OwnersInTurn",
            "DATA RACE",
        ),
        "Restore:order:1": (
            "OwnersInTurn",
            "DATA RACE",
        ),
        "Publish:order:1": (
            "ReusedEntry",
            "no page is charged with another's access",
        ),
        "Empty:order:1": (
            "EmptyAfterRecord",
            "nobody reads empty before the access is on record",
        ),
        "ZapSeen:swap:1": (
            "CachedLeaf",
            "no CPU uses a leaf that was handed on",
        ),
        "ZapSeen:recheck:1": (
            "ReusedEntry",
            "no page is charged with another's access",
        ),
        "ZapSeen:swap:2": (
            "CachedLeaf",
            "no CPU uses a leaf that was handed on",
        ),
        "ZapSeen:swap:3": (
            "EmptyAfterRecord",
            "nobody reads empty before the access is on record",
        ),
        "Zap:order:1": (
            "TwoZappers",
            "who finds nothing to zap sees what was zapped",
        ),
        "Zap:recheck:1": (
            "TwoZappers",
            "who finds nothing to zap sees what was zapped",
        ),
        "Zap:recheck:2": (
            "ReusedEntry",
            "an empty entry is free",
        ),
    },
}

# (why no execution can tell, [mutants]). Each is equivalent to what is shipped.
STRUCK = [
    (
        "Both come after the entry has left its rmap, and that after its bits were handed on, or " +
        "its parts were added and counted: a question that counts one of the two less, or both, " +
        "misses no entry, and what it reads of either count is a release that comes after that.",
        ["shadow_mmu/nested_entries:Leave:swap:1"],
    ),
    (
        "The tree was never led to the table, and its entries are in no rmap any more: agers who " +
        "came to them before find them frozen, whatever the large leaf is meanwhile, and keep " +
        "the table for as long as they look.",
        ["page_table/resize:SplitIndirect:swap:1"],
    ),
    (
        "The large leaf is frozen before both, with its last bits, so that CPUs get no further, " +
        "and the tree is led to the parts after both. Agers find a part by its rmap, frozen or " +
        "with the bits that it was born with; no flush concerns them.",
        ["page_table/resize:SplitIndirect:swap:2"],
    ),
    (
        "What publishes the next version answers nothing, so that taking it for success is what " +
        "is shipped.",
        ["notifier:Register:recheck:1", "notifier:Unregister:recheck:1"],
    ),
    (
        "Both are relaxed, and an asker owes nothing to an addition that did not happen before " +
        "it was asked: of one that did it sees both.",
        ["sharded_count:Add:swap:1"],
    ),
    (
        "The word is then written with each addition, and says the same.",
        ["sharded_count:Add:recheck:1"],
    ),
    (
        "The record of a table that is new, and its entries: nobody is led to it before it " +
        "is linked or found, which is under the lock of tables or by a release, after all " +
        "of them.",
        [
            "legacy_shadow/shadow_tree:NewTable:swap:1",
            "legacy_shadow/shadow_tree:NewTable:swap:2",
            "legacy_shadow/shadow_tree:NewTable:swap:3",
            "legacy_shadow/shadow_tree:NewTable:swap:4",
        ],
    ),
    (
        "Only an assertion asks: who fills such an entry holds the lock of tables, and it " +
        "was read as empty under that.",
        ["legacy_shadow/shadow_tree:PartsOf:recheck:1"],
    ),
    (
        "The load only spares a compare-and-swap that would fail: that one takes the entry " +
        "from empty alone.",
        ["legacy_shadow/shadow_tree:Map:recheck:1"],
    ),
    (
        "All who may own the entry while the MMU lock is held shared record the same frame, " +
        "for what the guest has there does not change meanwhile: written by one who comes to " +
        "nothing, the record is what the owner writes. The record before it is of a leaf that " +
        "was taken away under the lock, so that who turns from that by the new one finds the " +
        "access handed on.",
        ["legacy_shadow/shadow_tree:Map:swap:1"],
    ),
    (
        "The frame is a table already, so that nothing of it is writable: a second scan finds " +
        "nothing to do.",
        ["legacy_shadow/protected_frames:ProtectFrame:recheck:1"],
    ),
    (
        "Nobody looks at what the compare-and-swap answers: the bits of a lost race stay, and " +
        "are told of again.",
        ["page_history:Take:recheck:1"],
    ),
    (
        "Both words are written before the number of the life, and each is a release that a " +
        "walk acquires by itself: the proof in the header uses no order between the two.",
        ["reclaim/type_stable:Record:swap:1"],
    ),
    (
        "The new table was not opened, and on this path nobody ever will reach it: whether it " +
        "is given back before or after the entry is, no thread can tell. Who takes it next, at " +
        "once perhaps, finds its entries frozen, and the entry above is not led to it.",
        ["page_table:BuildTable:swap:3", "page_table/resize:Split:swap:2"],
    ),
    (
        "The large leaf is frozen before both, with its last bits, so that CPUs get no further, " +
        "and the new leaves are led to only after both. The flush is for those who still hold " +
        "the large leaf; it says nothing to a walk that holds a type-stable table from before " +
        "and finds the new leaves early, nor to the fault or the zap that it belongs to: these " +
        "own an entry before they change it, and a zap makes its own flush.",
        ["page_table/resize:Split:swap:3"],
    ),
    (
        "The flush comes after the freeze and before the sink in either order; where the entry " +
        "is another place's, it is a flush too many.",
        ["page_table:ZapHere:swap:2"],
    ),
    (
        "No entry is then called cold by a vector, and each frame is asked by the " +
        "discipline's Age.",
        ["once/vector:WordsHaveLack:recheck:1"],
    ),
    (
        "An entry more or less in a piece: the pieces make up the range all the same.",
        ["harvest/split:VisitWork:recheck:1"],
    ),
    (
        "A parent that was not cleared needs no flush; one flush too many.",
        ["prune:ClearParents:recheck:1"],
    ),
    (
        "No block is then said to be whole, and each is asked word by word.",
        ["once/block:SeeSingleWords:recheck:1"],
    ),
    (
        "A guess that only chooses the way: a head that is not empty ends the loop by the " +
        "acquire load behind it, and pages that are no run are asked by the discipline's Age.",
        [
            "rmap/range:PassEmpty:recheck:1",
            "rmap/range:LooksLikeRun:recheck:1",
        ],
    ),
    (
        "It only chooses what is fetched ahead, which changes no answer.",
        ["rmap/range:TableAhead:recheck:1"],
    ),
    (
        "The load only spares a compare-and-swap that would fail: that one takes the word " +
        "from idle alone, whatever was read before.",
        [
            "lock:Lock:recheck:1",
            "reclaim/anonymous_epoch:Begin:recheck:1",
            "reclaim/epoch/walks:Claim:recheck:1",
        ],
    ),
    (
        "Nobody else looks at these words yet: the table is reachable only after the release " +
        "that publishes it, which comes after both. Walks that hold a type-stable " +
        "table from before go by its identity and its entries, which stay frozen until it is " +
        "opened, after both; the other words are for rmaps, which its trees do not have, and for who " +
        "removes the table, who finds it by way of the entry above.",
        [
            "page_table/tables:SetUp:swap:1",
            "page_table/tables:SetUp:swap:2",
            "page_table/tables:SetUp:swap:3",
            "page_table/tables:SetUp:swap:4",
        ],
    ),
    (
        "The entries are different ones, all frozen by this thread, and each is given back " +
        "with the value that was taken from it. No thread draws from one of them a " +
        "conclusion about another, and who reads one of them acquires what was " +
        "written before it was frozen.",
        ["page_table/resize:Promote:swap:2"],
    ),
    (
        "The entry above and every entry of the table have been frozen since before, and CPUs " +
        "flushed: no walk that begins now can reach the table, and one that is inside reads " +
        "frozen entries there. Whether the entry above is still frozen or holds its next value " +
        "is nothing to retiring the table. A reclaimer that waits for walks keeps the frozen " +
        "entries for those inside; under a type-stable one the table may serve another place " +
        "at once, and its identity, which who begins a life records before it opens an entry, " +
        "makes the same entries read as frozen. In the tree itself nobody takes the table before " +
        "both are done, for that needs the structure lock; and what another tree does with it " +
        "touches no entry of this one.",
        [
            "page_table/resize:Promote:swap:4",
            "page_table/remove:RemoveIn:swap:4",
            "page_table/cold:RemoveIfCold:swap:4",
        ],
    ),
    (
        "An entry that is frozen is waited for when the table is closed, and what its owner " +
        "leaves there is handed to the sink. To keep the table instead spares that wait.",
        ["page_table/cold:AnyInUse:recheck:1"],
    ),
    (
        "The entry above is frozen before both, so that after the flush no CPU gets to the " +
        "table, and before it a CPU sets bits by compare-and-swap, in entries that are not " +
        "frozen yet: so do threads that are inside by a walk, whom no flush concerns. " +
        "What is set reaches whoever freezes the entry, in either order. Both come before " +
        "the entry above gets its next value, and before the table is retired, and no sink " +
        "is called between. A promotion that gives back flushed for nothing.",
        ["page_table/resize:Promote:swap:1"],
    ),
    (
        "The list belongs to one writer, who holds the lock of its head, and whom readers " +
        "wait for. The two words are different ones, neither store uses the other's, and " +
        "both come before the release that ends the ownership.",
        [
            "rmap/chunk_list:Added:swap:2",
            "rmap/chunk_list:Added:swap:3",
            "rmap/chunk_list:Removed:swap:1",
        ],
    ),
    (
        "The chunk is new: no reader is led to it before the head is published, by a release " +
        "that comes after both stores.",
        [
            "rmap/lockless_list:Grown:swap:1",
            "rmap/lockless_list:Grown:swap:2",
            "rmap/lockless_list:Grown:swap:3",
            "rmap/lockless_list:Fill:swap:1",
        ],
    ),
    (
        "The count is for writers, who exclude each other; no reader looks at it. The two " +
        "stores are of one writer, and its count was read before both.",
        ["rmap/lockless_list:Added:swap:1", "rmap/lockless_list:Removed:swap:1"],
    ),
    (
        "A removal retires one chunk at most: one of the two is null.",
        ["rmap/lockless:Remove:swap:2"],
    ),
    (
        "Two stacks without a common word, both under the pool's lock.",
        ["rmap/grace_pool:EndGrace:swap:1"],
    ),
    (
        "The cache is looked at by the vCPU's thread alone, which is between the two calls; " +
        "flushing it touches no shared word. So the cache is as empty when that thread next " +
        "uses it, and no earlier use can follow the answer.",
        ["sim/vcpu:Attend:swap:1"],
    ),
    (
        "Only an assertion asks. Where the caller keeps the precondition it is false already; " +
        "that it traps where the caller does not is for a test with one thread.",
        ["reclaim/epoch/walks:SeemsInside:recheck:1"],
    ),
    (
        "Two relaxed stores to different words, with no fence and no other access between them: " +
        "the language orders neither before the other for any other thread, and both come " +
        "before the same release, that of the stash's lock.",
        ["reclaim/epoch:Retire:swap:1"],
    ),
    (
        "Two words of the thread itself, which no other thread looks at. A handler that comes in " +
        "between finds the place by the one word, or by the owner's word in it, which was " +
        "written before both, and may store the same two tickets.",
        ["reclaim/epoch/walks:FindOrClaim:swap:1"],
    ),
    (
        "The child has one thread, which does not look before both are stored.",
        ["reclaim/epoch/walks:AfterForkInChild:swap:1"],
    ),
    (
        "Both are taken before anything is freed, under the lock. Only the order in which the " +
        "objects are freed differs, which is not promised.",
        ["reclaim/limbo:TakeAll:swap:1"],
    ),
]
