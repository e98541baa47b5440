#ifndef FILIGREE_WORKER_METRICS_ONE_WRITER_H_
#define FILIGREE_WORKER_METRICS_ONE_WRITER_H_

#include <prometheus/client_metric.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

// Numbers that one thread, the one that trains, writes and any other may read: no lock, so a scrape never makes a step
// wait. (The histogram of prometheus-cpp holds one while it is read.) A reader may see a step's numbers in part.

namespace filigree::metrics {

class Number {
 public:
  explicit Number(double value = 0) : value_(value) {}
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double more) { Set(Get() + more); }
  double Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_;
};

// Seconds, counted in buckets.
class Durations {
 public:
  static constexpr std::array<double, 16> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                     0.5,   1,      2.5,   5,    10,    30,   60,  300};

  void Add(double seconds) {
    const auto at = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
    counts_[static_cast<size_t>(at)].fetch_add(1, std::memory_order_relaxed);
    sum_.Add(seconds);
  }

  prometheus::ClientMetric::Histogram Get() const {
    prometheus::ClientMetric::Histogram histogram;
    histogram.bucket.reserve(counts_.size());
    for (size_t i = 0; i < counts_.size(); ++i) {
      histogram.sample_count += counts_[i].load(std::memory_order_relaxed);
      if (i < kBounds.size()) histogram.bucket.push_back({histogram.sample_count, kBounds[i]});
    }
    histogram.sample_sum = sum_.Get();
    return histogram;
  }

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> counts_{};  // the last: above all bounds
  Number sum_;
};

}  // namespace filigree::metrics

#endif  // FILIGREE_WORKER_METRICS_ONE_WRITER_H_
