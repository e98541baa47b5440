#ifndef FILIGREE_COORDINATOR_METRICS_PAGES_H_
#define FILIGREE_COORDINATOR_METRICS_PAGES_H_

#include <functional>
#include <map>
#include <string>

#include "coordinator/core/core.h"
#include "proto/http/metrics_page.h"
#include "proto/http/page_server.h"

// The pages of a coordinator: /metrics, /sd (Prometheus' HTTP service discovery: every rank of every running job that
// says where it shows its metrics) and /healthz.

namespace filigree::coordinator {

// Runs the function where the core may be read, and waits for it; false: it is stopping or overloaded, nothing was run.
using LookAtCore = std::function<bool(const std::function<void(const Core& core, Now now)>&)>;

// By path, for a PageServer. /metrics and /sd are Unavailable where the core cannot be looked at, and so is /healthz.
std::map<std::string, http::MakePage> Pages(const http::Build& build, const LookAtCore& look);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_METRICS_PAGES_H_
