#ifndef FILIGREE_COORDINATOR_CORE_HOSTS_H_
#define FILIGREE_COORDINATOR_CORE_HOSTS_H_

#include "coordinator/core/placement.h"
#include "coordinator/core/turn.h"

// The slots of the cluster as a decision sees them. Only workers count that are live, are not being drained and were
// heard by this process: one that has just come back from a journal, or registered and said nothing since, may be gone.

namespace filigree::coordinator {

struct Cluster {
  Rooms idle;    // all slots, as if nothing ran
  Rooms free;    // those that no generation holds
  Rooms coming;  // those, and the ones of live workers that were not heard yet
};

Cluster SlotsOf(const Turn& turn);

// `ranks` give their slots back, or take them.
void Release(Rooms& rooms, const std::vector<RankPlace>& ranks);
void Take(Rooms& rooms, const std::vector<RankPlace>& ranks);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_HOSTS_H_
