#include "coordinator/metrics/pages.h"

#include "absl/status/status.h"
#include "coordinator/metrics/discovery.h"
#include "coordinator/metrics/run_series.h"

namespace filigree::coordinator {
namespace {

absl::Status Busy() {
  return absl::UnavailableError("the coordinator is stopping or has more to do than it can take; ask again");
}

}  // namespace

std::map<std::string, http::MakePage> Pages(const http::Build& build, const LookAtCore& look) {
  std::map<std::string, http::MakePage> pages;
  pages["/metrics"] = [build, look]() -> absl::StatusOr<http::Page> {
    http::MetricsPage page(build);
    if (!look([&page](const Core& core, Now now) { AddSeries(core, now, page); })) return Busy();
    return page.Text();
  };
  pages["/sd"] = [look]() -> absl::StatusOr<http::Page> {
    http::Page page = {"application/json", ""};
    if (!look([&page](const Core& core, Now) { page.body = DiscoveryText(core); })) return Busy();
    return page;
  };
  pages["/healthz"] = [look]() -> absl::StatusOr<http::Page> {
    if (!look([](const Core&, Now) {})) return Busy();
    return http::Page{"text/plain; charset=utf-8", "ok\n"};
  };
  return pages;
}

}  // namespace filigree::coordinator
