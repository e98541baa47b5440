#ifndef FILIGREE_PROTO_HTTP_METRICS_PAGE_H_
#define FILIGREE_PROTO_HTTP_METRICS_PAGE_H_

#include <prometheus/metric_family.h>

#include <map>
#include <string>
#include <vector>

#include "proto/http/page_server.h"

// A page of metrics for Prometheus, put together for every request.

namespace filigree::http {

// What a process says of one family in one place.
struct FamilyInfo {
  const char* name;
  prometheus::MetricType type;
  const char* help;
};

using Labels = std::vector<prometheus::ClientMetric::Label>;

// What every process of this program says first.
struct Build {
  std::string version, revision;
  std::string cuda, nccl, mpi;  // versions it was built for; "none"
};
inline constexpr FamilyInfo kBuildInfo = {"filigree_build_info", prometheus::MetricType::Gauge,
                                          "The program, and the versions of CUDA, NCCL and MPI it was built for; is 1"};

// Series, sorted into families. Families stand in the order in which they were first heard of.
class MetricsPage {
 public:
  explicit MetricsPage(const Build& build);

  // Gauges and counters.
  void Add(const FamilyInfo& family, Labels labels, double value);
  void Add(const FamilyInfo& family, Labels labels, prometheus::ClientMetric::Histogram histogram);

  // In Prometheus' text format, version 0.0.4.
  Page Text() const;

 private:
  prometheus::ClientMetric& NewSeries(const FamilyInfo& family, Labels labels);

  std::vector<prometheus::MetricFamily> families_;
  std::map<std::string, size_t> index_;
};

}  // namespace filigree::http

#endif  // FILIGREE_PROTO_HTTP_METRICS_PAGE_H_
