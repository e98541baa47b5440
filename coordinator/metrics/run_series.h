#ifndef FILIGREE_COORDINATOR_METRICS_RUN_SERIES_H_
#define FILIGREE_COORDINATOR_METRICS_RUN_SERIES_H_

#include "coordinator/core/core.h"
#include "proto/http/metrics_page.h"

namespace filigree::coordinator {

// The families of families.h as the core stands. O(open jobs, their ranks and matrices, workers).
void AddSeries(const Core& core, Now now, http::MetricsPage& page);

// What is known of the generation that the row speaks of; null: nothing.
const JobMemory* MemoryOf(const Core& core, const JobRow& row);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_METRICS_RUN_SERIES_H_
