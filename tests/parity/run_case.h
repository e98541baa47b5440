#ifndef FILIGREE_TESTS_PARITY_RUN_CASE_H_
#define FILIGREE_TESTS_PARITY_RUN_CASE_H_

#include <memory>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "tests/parity/golden_case.h"
#include "tests/parity/report.h"
#include "worker/config/settings.h"
#include "worker/model/layout.h"
#include "worker/parallel/world.h"

// Runs one case through the program's own network, and trainer, and adds every comparison to the report.
//
// With a world of several ranks all of them run the case together, each compares what it ends with, and all take the
// same decisions.

namespace filigree::parity {

struct Runner {
  int shards = 4;  // logical shards of the batch, lowered to the number of its sequences
  // Exact, or active with everything a candidate: the same mathematics through the storage, kernels, selection and
  // optimiser of candidate sets.
  config::Regime regime = config::Regime::kExact;
  kernels::ThreadPool* pool = nullptr;
  parallel::World* world = nullptr;  // null: alone
};

// Every tensor whole, or every matrix on the candidate set of all its positions.
std::shared_ptr<model::Layout> LayoutFor(config::Regime regime, const model::Registry& registry);

// Weights, then logits, every activation, the loss, every gradient. A status where a weight cannot be read, or a rank
// is lost. Together: no activations, of which no rank sees all; and where there are more data-parallel ranks than
// sequences, each computes alone.
absl::Status RunForwardCase(const GoldenCase& golden, const Runner& runner, Report& report);

// Weights, then every step with its record, then the weights after the last one. Where that misses and a selection of
// weights was a tie within rounding (ties.h), the case is run again the other way, a few times at most: one run must
// agree in everything. Where none does, weights may be as far off as rounding alone takes this run (rounding.h).
absl::Status RunTrainingCase(const GoldenCase& golden, const Runner& runner, Report& report);

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_RUN_CASE_H_
