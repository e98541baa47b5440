#ifndef FILIGREE_WORKER_CLIENT_TABLES_H_
#define FILIGREE_WORKER_CLIENT_TABLES_H_

#include <string>
#include <vector>

#include "filigree/v1/coordinator.pb.h"

// Jobs and workers for people: one line each, columns as wide as they need to be. `now` is seconds since 1970. Text of
// others is shown without control characters.

namespace filigree::client {

std::string JobTable(const std::vector<v1::Job>& jobs, double now);
std::string WorkerTable(const std::vector<v1::Worker>& workers);

// Everything about one job: what it is, how it gets on, where the time of a step goes, who is slow, its ranks.
std::string JobDetails(const v1::Job& job, double now);

}  // namespace filigree::client

#endif  // FILIGREE_WORKER_CLIENT_TABLES_H_
