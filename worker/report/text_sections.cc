#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "worker/report/html.h"
#include "worker/report/sections.h"
#include "worker/telemetry/display.h"

// What the run says in words: samples, events, settings.

namespace filigree::report {
namespace {

constexpr size_t kMostSamples = 24, kMostSampleBytes = 6000, kMostConfigBytes = 1 << 16, kMostEvents = 200,
                 kMostEventBytes = 2000;

// At most `most` bytes, with a word about the rest.
std::string Cut(const std::string& text, size_t most) {
  if (text.size() <= most) return Escape(text);
  return Escape(text.substr(0, most)) +
         fmt::format("<span class=\"none\"> ... {} bytes more</span>", text.size() - most);
}

struct Event {
  int64_t step;
  std::string kind, text;  // text is HTML
};

std::vector<Event> AllEvents(const RunView& run) {
  std::vector<Event> events;
  for (const telemetry::RunRecord& r : run.log.runs)
    events.push_back(
        {r.step, r.step > 0 ? "resumed" : "started", Cut(telemetry::TimeText(r.started), kMostEventBytes)});
  for (const telemetry::CheckpointRecord& c : run.log.checkpoints)
    events.push_back({c.step, "checkpoint",
                      fmt::format("{} MB in {}, {}", Number(static_cast<double>(c.bytes) / 1e6),
                                  telemetry::DurationText(c.seconds), Cut(c.path, kMostEventBytes))});
  for (const telemetry::NoteRecord& n : run.log.notes) events.push_back({n.step, "note", Cut(n.text, kMostEventBytes)});
  for (const telemetry::EndRecord& e : run.log.ends)
    events.push_back({e.step, "ended",
                      fmt::format("{} after {}", Cut(e.reason, kMostEventBytes), telemetry::DurationText(e.seconds))});
  std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.step < b.step; });
  return events;
}

}  // namespace

std::string SampleSection(const RunView& run) {
  const std::vector<telemetry::SampleRecord>& samples = run.log.samples;
  if (samples.empty()) return Section("samples", "Samples", "<p class=\"none\">No sample in the log yet.</p>");
  std::string body = "<p>What the model writes after a prompt (in bold), the newest first.</p>";
  const size_t shown = std::min(samples.size(), kMostSamples);
  for (size_t i = 0; i < shown; ++i) {
    // Of many: evenly spaced, the newest and the oldest among them.
    const size_t from_end = shown == 1 ? 0 : i * (samples.size() - 1) / (shown - 1);
    const telemetry::SampleRecord& s = samples[samples.size() - 1 - from_end];
    body += fmt::format("<details{}><summary>After {} steps</summary><pre><b>{}</b>{}</pre></details>",
                        i < 2 ? " open" : "", Count(s.step), Cut(s.prompt, kMostSampleBytes),
                        Cut(s.text, kMostSampleBytes));
  }
  return Section("samples", "Samples", body);
}

std::string EventSection(const RunView& run) {
  const std::vector<Event> events = AllEvents(run);
  std::string rows;
  const size_t left_out = events.size() > kMostEvents ? events.size() - kMostEvents : 0;
  for (size_t i = 0; i < events.size(); ++i) {
    if (left_out > 0 && i == kMostEvents / 2) {
      rows += fmt::format("<tr><td></td><td></td><td class=\"none\">{} more</td></tr>", left_out);
      i += left_out;
    }
    rows += fmt::format("<tr class=\"{1}\"><td>{0}</td><td>{1}</td><td>{2}</td></tr>", Count(events[i].step),
                        events[i].kind, events[i].text);
  }
  if (events.empty()) return Section("events", "Events", "<p class=\"none\">Nothing in the log yet.</p>");
  return Section("events", "Events",
                 "<div class=\"scroll\"><table "
                 "class=\"events\"><thead><tr><th>steps</th><th>event</th><th></th></tr></thead><tbody>" +
                     rows + "</tbody></table></div>");
}

std::string ConfigSection(const RunView& run) {
  if (run.toml.empty())
    return Section("config", "Settings", "<p class=\"none\">The run folder has no config.toml.</p>");
  return Section("config", "Settings",
                 "<p>As resolved and stored in config.toml.</p><details open><summary>config.toml</summary><pre>" +
                     Cut(run.toml, kMostConfigBytes) + "</pre></details>");
}

}  // namespace filigree::report
