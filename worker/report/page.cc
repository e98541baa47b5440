#include <fmt/format.h>

#include "worker/report/assets.h"
#include "worker/report/html.h"
#include "worker/report/report.h"
#include "worker/report/sections.h"

// The page around the sections.

namespace filigree::report {
namespace {

// Whatever a log may contain, the page can fetch nothing and run no script but its own.
std::string Head(const std::string& title) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src "
      "'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n",
      Escape(title), kStyle);
}

constexpr char kContents[] =
    "<nav aria-label=\"Contents\"><a href=\"#overview\">Overview</a><a href=\"#losses\">Loss</a>"
    "<a href=\"#schedules\">Schedules</a><a href=\"#matrices\">Matrices</a><a href=\"#magnitudes\">Magnitudes</a>"
    "<a href=\"#speed\">Speed</a><a href=\"#samples\">Samples</a><a href=\"#events\">Events</a>"
    "<a href=\"#config\">Settings</a></nav>";

std::string Name(const RunView& run) {
  constexpr size_t kLongest = 200;
  if (!run.log.runs.empty() && !run.log.runs.back().name.empty()) return run.log.runs.back().name.substr(0, kLongest);
  if (run.settings && !run.settings->run.name.empty()) return run.settings->run.name.substr(0, kLongest);
  return run.dir.substr(0, kLongest);
}

}  // namespace

std::string RenderPage(const RunView& run) {
  const std::string name = Name(run);
  std::string page = Head(name + " - Filigree run");
  page += fmt::format("<header><p class=\"brand\">Filigree run</p><h1>{}</h1>{}</header>\n<main>\n", Escape(name),
                      kContents);
  for (const auto section : {OverviewSection, LossSection, ScheduleSection, MatricesSection, MagnitudeSection,
                             SpeedSection, SampleSection, EventSection, ConfigSection})
    page += section(run);
  page += fmt::format("</main>\n<div id=\"tip\" role=\"status\" hidden></div>\n<script>{}</script>\n</body>\n</html>\n",
                      kScript);
  return page;
}

}  // namespace filigree::report
