// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Everything: the core, and the hosted floors, which use Abseil.

#ifndef PTAGE_PTAGE_H_
#define PTAGE_PTAGE_H_

// IWYU pragma: begin_exports
#include "ptage/address_spaces.h"
#include "ptage/core.h"
#include "ptage/fault_lock.h"
#include "ptage/hold.h"
#include "ptage/invalidate.h"
#include "ptage/legacy_shadow.h"
#include "ptage/lru.h"
#include "ptage/lru/aging.h"
#include "ptage/lru/eviction.h"
#include "ptage/lru/look_around.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/notifier.h"
#include "ptage/primary_mmu.h"
#include "ptage/published.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/shadow_dirty.h"
#include "ptage/shadow_mmu.h"
#include "ptage/tdp_mmu.h"
#include "ptage/vm.h"
// IWYU pragma: end_exports

#endif  // PTAGE_PTAGE_H_
