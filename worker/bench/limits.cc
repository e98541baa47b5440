#include "worker/bench/limits.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>

#include "absl/strings/numbers.h"
#include "worker/machine/processor.h"

namespace filigree::bench {
namespace {

constexpr int kMostThreads = 1024;

absl::Status Refuse(const std::string& message) { return absl::InvalidArgumentError("bench: " + message); }

}  // namespace

absl::Status CheckWhole(const std::string& flag, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Refuse(fmt::format("{} is {}; it takes whole numbers from {} to {}", flag, value, low, high));
}

absl::Status CheckShare(const std::string& flag, double value, Zero zero) {
  if (value <= 1 && (zero == Zero::kYes ? value >= 0 : value > 0)) return absl::OkStatus();
  return Refuse(fmt::format("{} is {}; it takes numbers {} to 1, such as 0.25 or 1/64", flag, value,
                            zero == Zero::kYes ? "from 0" : "above 0 and up"));
}

absl::Status CheckMemory(double bytes) {
  const double memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (bytes <= 0.9 * memory) return absl::OkStatus();
  constexpr double kGiB = 1 << 30;
  return Refuse(fmt::format("these sizes need {:.1f} GiB and the machine has {:.1f} GiB; make them smaller",
                            bytes / kGiB, memory / kGiB));
}

absl::StatusOr<Common> CheckCommon(Common common, const char* repeats) {
  if (absl::Status status = CheckWhole("--threads", common.threads, 0, kMostThreads); !status.ok()) return status;
  if (absl::Status status = CheckWhole(repeats, common.repeats, 1, 10000); !status.ok()) return status;
  if (common.threads == 0) common.threads = machine::DescribeProcessor().cores;
  return common;
}

absl::StatusOr<double> ParseNumber(const std::string& flag, const std::string& text) {
  const size_t slash = text.find('/');
  double over = 0, under = 1;
  const bool is_number = absl::SimpleAtod(text.substr(0, slash), &over) &&
                         (slash == std::string::npos || absl::SimpleAtod(text.substr(slash + 1), &under));
  const double value = over / under;
  if (!is_number || !std::isfinite(value)) {
    return Refuse(fmt::format("{} is \"{}\"; it takes a number such as 0.25 or a fraction such as 1/64", flag, text));
  }
  return value;
}

absl::StatusOr<int> KeptChannels(double afrac, int channels) {
  if (absl::Status status = CheckShare("--afrac", afrac); !status.ok()) return status;
  const int k = static_cast<int>(std::floor(afrac * channels));
  if (k >= 1) return k;
  return Refuse(fmt::format("--afrac {} keeps no entry of {} channels; take 1/{} or more", afrac, channels, channels));
}

}  // namespace filigree::bench
