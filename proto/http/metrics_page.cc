#include "proto/http/metrics_page.h"

#include <prometheus/text_serializer.h>

#include <utility>

namespace filigree::http {

MetricsPage::MetricsPage(const Build& build) {
  Add(kBuildInfo,
      {{"version", build.version},
       {"revision", build.revision},
       {"cuda", build.cuda},
       {"nccl", build.nccl},
       {"mpi", build.mpi}},
      1);
}

void MetricsPage::Add(const FamilyInfo& family, Labels labels, double value) {
  prometheus::ClientMetric& series = NewSeries(family, std::move(labels));
  if (family.type == prometheus::MetricType::Counter)
    series.counter.value = value;
  else
    series.gauge.value = value;
}

void MetricsPage::Add(const FamilyInfo& family, Labels labels, prometheus::ClientMetric::Histogram histogram) {
  NewSeries(family, std::move(labels)).histogram = std::move(histogram);
}

Page MetricsPage::Text() const {
  return {"text/plain; version=0.0.4; charset=utf-8", prometheus::TextSerializer().Serialize(families_)};
}

prometheus::ClientMetric& MetricsPage::NewSeries(const FamilyInfo& family, Labels labels) {
  const auto [found, is_new] = index_.try_emplace(family.name, families_.size());
  if (is_new) families_.push_back({family.name, family.help, family.type, {}});
  prometheus::ClientMetric& series = families_[found->second].metric.emplace_back();
  series.label = std::move(labels);
  return series;
}

}  // namespace filigree::http
