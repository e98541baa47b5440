#ifndef FILIGREE_COORDINATOR_CORE_CLOCK_H_
#define FILIGREE_COORDINATOR_CORE_CLOCK_H_

#include <cstdint>

namespace filigree::coordinator {

// The moment of one decision, handed in. Every rule uses the monotonic clock, which no jump of the wall clock moves and
// which begins anywhere when the coordinator starts; wall time is only written down for people to read.
struct Now {
  int64_t monotonic_us = 0;
  int64_t wall_us = 0;  // since 1970, UTC
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_CLOCK_H_
