#ifndef FILIGREE_WORKER_CLIENT_LINES_H_
#define FILIGREE_WORKER_CLIENT_LINES_H_

#include <cstdint>
#include <string>

#include "filigree/v1/coordinator.pb.h"

// What happens to a job, a line each, without control characters.

namespace filigree::client {

// "14:02:11  night-1  running: all 4 ranks run".
std::string EventLine(const v1::Event& event);

// "step 120 of 1000  412 ms/step  4 of 4 ranks run  eta 1h 02m, done 14:05"; `target` 0: not known.
std::string ProgressLine(const v1::Progress& progress, int64_t target, double now);

// "rank 3 on b: 2.4 times the median, mostly in data: 61 ms a step against 12 ms".
std::string SlowLine(const v1::SlowRank& slow);

// Time until `target`; negative: not known.
double SecondsLeft(const v1::Progress& progress, int64_t target);

}  // namespace filigree::client

#endif  // FILIGREE_WORKER_CLIENT_LINES_H_
