// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The default epoch-based reclamation for hosted callers.

#ifndef PTAGE_RECLAIM_EPOCH_H_
#define PTAGE_RECLAIM_EPOCH_H_

#include "ptage/lock.h"
#include "ptage/reclaim/anonymous_epoch.h"

namespace ptage {

template <unsigned kPlaces = 64, BasicLock L = SpinLock>
class EpochDomain : public AnonymousEpochDomain<kPlaces, L> {};

}  // namespace ptage

#endif  // PTAGE_RECLAIM_EPOCH_H_
