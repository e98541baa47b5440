#ifndef FILIGREE_WORKER_ATTACH_REPORT_H_
#define FILIGREE_WORKER_ATTACH_REPORT_H_

#include "filigree/v1/agent.pb.h"
#include "worker/metrics/rank_metrics.h"

namespace filigree::attach {

// What a rank tells of itself, from what its metrics know: state, progress, digests of its state after an update that
// all replicas found the same, and, of the first rank, figures. What the coordinator would refuse, and with it the
// whole message, is left out.
v1::TellRequest ReportOf(const metrics::RankReading& reading);

}  // namespace filigree::attach

#endif  // FILIGREE_WORKER_ATTACH_REPORT_H_
