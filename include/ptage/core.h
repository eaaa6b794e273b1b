// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Everything that needs no operating system and no library: shared words, entry
// formats, rmaps, page tables, walks and harvests, and the reclaimers that need
// no OS.

#ifndef PTAGE_CORE_H_
#define PTAGE_CORE_H_

// IWYU pragma: begin_exports
#include "ptage/config.h"
#include "ptage/dirty.h"
#include "ptage/fast_fault.h"
#include "ptage/foreign.h"
#include "ptage/gate.h"
#include "ptage/guest_walk.h"
#include "ptage/harvest.h"
#include "ptage/harvest/outputs.h"
#include "ptage/harvest/split.h"
#include "ptage/hot_tables.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/memory/stable_arena.h"
#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/once/vector.h"
#include "ptage/page_history.h"
#include "ptage/page_table.h"
#include "ptage/profile.h"
#include "ptage/prune.h"
#include "ptage/prune_nested.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/reclaim/external.h"
#include "ptage/reclaim/limbo.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/rmap.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/rmap/range.h"
#include "ptage/rmap/single_entry_lockless.h"
#include "ptage/sharded_count.h"
#include "ptage/spte.h"
#include "ptage/spte/arm64.h"
#include "ptage/spte/arm64_faulting.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/ept_tracked.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/riscv64_svade.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "ptage/walk.h"
// IWYU pragma: end_exports

#endif  // PTAGE_CORE_H_
