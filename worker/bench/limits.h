#ifndef FILIGREE_WORKER_BENCH_LIMITS_H_
#define FILIGREE_WORKER_BENCH_LIMITS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/bench/bench.h"

// What sizes a benchmark takes. Every message names the flag, its value, and what would do.

namespace filigree::bench {

absl::Status CheckWhole(const std::string& flag, int64_t value, int64_t low, int64_t high);

// A share of a whole: above 0, or from 0 where `zero` says so, up to 1.
enum class Zero { kNo, kYes };
absl::Status CheckShare(const std::string& flag, double value, Zero zero = Zero::kNo);

// That `bytes` fit into the memory of this machine.
absl::Status CheckMemory(double bytes);

// Threads and repeats, which messages call `repeats`; fills in threads where they are 0.
absl::StatusOr<Common> CheckCommon(Common common, const char* repeats = "--repeats");

// A number as a user writes it: "0.25", "1e-3" or "1/64".
absl::StatusOr<double> ParseNumber(const std::string& flag, const std::string& text);

// k of AbsTopK on so many channels; InvalidArgument where nothing would be kept.
absl::StatusOr<int> KeptChannels(double afrac, int channels);

}  // namespace filigree::bench

#endif  // FILIGREE_WORKER_BENCH_LIMITS_H_
