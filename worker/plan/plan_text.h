#ifndef FILIGREE_WORKER_PLAN_PLAN_TEXT_H_
#define FILIGREE_WORKER_PLAN_PLAN_TEXT_H_

#include <string>

#include "nlohmann/json.hpp"
#include "worker/plan/plan.h"

// A plan for people and for programs (docs/parallel.md).

namespace filigree::plan {

// Three tables, a line a rank: who sits where and owns what; memory; traffic. Then whether it fits.
std::string Text(const RunPlan& plan);

nlohmann::ordered_json Json(const RunPlan& plan);

}  // namespace filigree::plan

#endif  // FILIGREE_WORKER_PLAN_PLAN_TEXT_H_
