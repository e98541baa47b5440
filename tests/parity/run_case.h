#ifndef FILIGREE_TESTS_PARITY_RUN_CASE_H_
#define FILIGREE_TESTS_PARITY_RUN_CASE_H_

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "tests/parity/golden_case.h"
#include "tests/parity/report.h"

// Runs one case through the program's own network, and trainer, and adds every comparison to the report.
//
// `shards`: logical shards of the batch, lowered to the number of its sequences.

namespace filigree::parity {

// Weights, then logits, every activation, the loss, every gradient. A status where a weight cannot be read.
absl::Status RunForwardCase(const GoldenCase& golden, int shards, kernels::ThreadPool& pool, Report& report);

// Weights, then every step with its record, then the weights after the last one.
absl::Status RunTrainingCase(const GoldenCase& golden, int shards, kernels::ThreadPool& pool, Report& report);

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_RUN_CASE_H_
