#include "worker/report/report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/worker/report/synthetic_run.h"
#include "worker/config/load.h"

// Pages of runs of every state, read back.

namespace filigree::report {
namespace {

using nlohmann::json;
using testing_support::SyntheticLog;
using testing_support::SyntheticOptions;

class ReportTest : public ::testing::Test {
 protected:
  ReportTest() : dir_(std::filesystem::path(testing::TempDir()) / ("filigree_report_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  ~ReportTest() override { std::filesystem::remove_all(dir_); }

  void Put(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ / name, std::ios::binary) << text;
  }
  std::string Page() const {
    const auto path = WriteReport(dir_);
    EXPECT_TRUE(path.ok()) << path.status();
    if (!path.ok()) return "";
    std::ostringstream text;
    text << std::ifstream(*path, std::ios::binary).rdbuf();
    return text.str();
  }

  std::filesystem::path dir_;
};

// The JSON behind a chart of the page.
json Data(const std::string& page, const std::string& id) {
  const size_t figure = page.find("<figure class=\"chart\" id=\"" + id + "\"");
  const size_t wide = page.find("<figure class=\"chart wide\" id=\"" + id + "\"");
  const size_t begin = std::min(figure, wide);
  EXPECT_NE(begin, std::string::npos) << id;
  if (begin == std::string::npos) return {};
  const std::string open = "<script type=\"application/json\" class=\"data\">";
  const size_t data = page.find(open, begin);
  EXPECT_LT(data, page.find("</figure>", begin)) << id;
  return json::parse(page.substr(data + open.size(), page.find("</script>", data) - data - open.size()));
}

json Curve(const std::string& page, const std::string& id, const std::string& name) {
  const json data = Data(page, id);
  for (const json& curve : data["curves"])
    if (curve["name"] == name) return curve["points"];
  ADD_FAILURE() << id << " has no curve " << name;
  return {};
}

std::string Section(const std::string& page, const std::string& id) {
  const size_t begin = page.find("<section id=\"" + id + "\"");
  EXPECT_NE(begin, std::string::npos) << id;
  return begin == std::string::npos ? "" : page.substr(begin, page.find("</section>", begin) - begin);
}

int Occurrences(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

bool Has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Every element that is opened is closed, in order. What stands in style and script is no markup.
void ExpectBalanced(const std::string& page) {
  std::vector<std::string> open;
  for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at)) {
    const size_t end = page.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const bool closes = page[at + 1] == '/';
    const size_t begin = at + (closes ? 2 : 1);
    const std::string name = page.substr(begin, page.find_first_of(" \n/>", begin) - begin);
    at = end;
    if (closes) {
      ASSERT_FALSE(open.empty()) << name;
      ASSERT_EQ(open.back(), name) << page.substr(begin - std::min<size_t>(begin, 300), 400);
      open.pop_back();
    } else if (page[end - 1] != '/' && name != "meta" && name != "!doctype") {
      open.push_back(name);
      if (name == "style" || name == "script") at = page.find("</" + name, end);
    }
  }
  EXPECT_TRUE(open.empty());
}

void ExpectOffline(const std::string& page) {
  for (const char* fetch :
       {"http:", "https:", " src=", "url(", "@import", "<link", "<iframe", "fetch(", "XMLHttp", "import("})
    EXPECT_FALSE(Has(page, fetch)) << fetch;
  EXPECT_TRUE(Has(page, "Content-Security-Policy\" content=\"default-src 'none'"));
}

TEST_F(ReportTest, FinishedRunHasEverySectionWithTheValuesOfTheLog) {
  const SyntheticOptions options;
  Put("steps.jsonl", SyntheticLog(options));
  Put("config.toml", config::ToToml(*config::Parse("[run]\nsteps = 600\ndir = \"runs/quickstart\"\n", "")));
  const std::string page = Page();
  ExpectBalanced(page);
  ExpectOffline(page);
  EXPECT_LT(page.size(), 600'000U);
  const telemetry::RunLog log = *telemetry::ReadLog(dir_ / "steps.jsonl");

  const json validation = Curve(page, "loss", "validation loss");
  ASSERT_EQ(validation.size(), log.evals.size());
  for (size_t i = 0; i < log.evals.size(); ++i) {
    EXPECT_EQ(validation[i][0], log.evals[i].step);
    EXPECT_NEAR(validation[i][1], log.evals[i].loss, 1e-5);
  }
  // 600 steps in 240 buckets: every curve is the log's, averaged.
  const auto expect_curve = [&](const std::string& id, const std::string& name,
                                double (*value)(const telemetry::StepRecord&)) {
    const json points = Curve(page, id, name);
    ASSERT_EQ(points.size(), 240U) << id;
    for (size_t b = 0; b < 240; ++b) {
      double sum = 0, n = 0;
      for (size_t i = b * 600 / 240; i < (b + 1) * 600 / 240; ++i) {
        sum += value(log.steps[i]);
        ++n;
      }
      ASSERT_NEAR(points[b][1], sum / n, 2e-5 * std::abs(sum / n) + 1e-12) << id << " " << b;
    }
  };
  expect_curve("loss", "training loss of each step", [](const auto& s) { return s.loss; });
  expect_curve("density", "matrices, target", [](const auto& s) { return s.density; });
  expect_curve("density", "embeddings, target", [](const auto& s) { return s.embedding_density; });
  expect_curve("lr", "learning rate", [](const auto& s) { return s.lr; });
  expect_curve("gradient", "norm", [](const auto& s) { return s.gradient_norm; });
  expect_curve("steptime", "each step", [](const auto& s) { return s.ms; });
  expect_curve("epochs", "epochs", [](const auto& s) { return s.epochs; });
  expect_curve("zscore", "z-score", [](const auto& s) { return s.z_score; });
  EXPECT_GT(Curve(page, "throughput", "tokens a second").size(), 100U);
  EXPECT_GT(Curve(page, "peak", "percent of peak").size(), 100U);
  EXPECT_GT(Curve(page, "phasetimes", "backward").size(), 100U);
  EXPECT_EQ(Curve(page, "density", "matrices, actual").back()[1], 0.0625);
  EXPECT_EQ(Curve(page, "density", "embeddings, actual").back()[1], 0.25);
  EXPECT_EQ(Curve(page, "alive", "wte").size(), log.snapshots.size());

  EXPECT_TRUE(Has(Section(page, "losses"), ">uniform 7.625<"));
  EXPECT_TRUE(Has(Section(page, "losses"), ">unigram 5.634<"));
  EXPECT_TRUE(Has(Section(page, "losses"), ">bigram KN 3.491<"));
  EXPECT_TRUE(Has(Section(page, "losses"), ">anneal ends<"));
  EXPECT_TRUE(Has(Section(page, "losses"), ">resumed<"));
  const std::string overview = Section(page, "overview");
  EXPECT_TRUE(Has(overview, "<strong>done</strong> <span>600 of 600 steps</span>")) << overview;
  EXPECT_TRUE(Has(overview, "0.591 below bigram KN (3.491)")) << overview;
  EXPECT_TRUE(Has(overview, "AMD EPYC 9B45, AVX-512"));
  const std::string matrices = Section(page, "matrices");
  EXPECT_TRUE(Has(matrices, "<th scope=\"row\">transformer.h.3.mlp.c_proj.weight</th>"));
  EXPECT_TRUE(Has(matrices, ">1/16</td><td>16,384</td><td>262,144</td>"))
      << matrices.substr(matrices.find("Every matrix"), 1000);
  const std::string magnitudes = Section(page, "magnitudes");
  EXPECT_EQ(Occurrences(magnitudes, "<figure class=\"small\">"), 6);
  EXPECT_TRUE(Has(Section(page, "speed"), "backward</th><td>"));
  EXPECT_TRUE(Has(Section(page, "samples"), "<pre><b>def </b>load_600(self, path, mode=&#39;r&#39;):"));
  EXPECT_TRUE(Has(Section(page, "events"), "checkpoint failed: no space left on device"));
  EXPECT_TRUE(Has(Section(page, "events"), "checkpoints/00000600"));
  EXPECT_TRUE(Has(Section(page, "config"), "\nsteps = 600\n"));
  for (const char* style : {"prefers-color-scheme:dark", "@media print", "prefers-reduced-motion"})
    EXPECT_TRUE(Has(page, style));
  EXPECT_TRUE(Has(page, "<html lang=\"en\">"));
}

TEST_F(ReportTest, MagnitudeBarsAreTheSharesOfTheSnapshot) {
  telemetry::MatrixSnapshot m{"w", 0, "c_fc", 1000, 100, 10, 9, 0.01, {}};
  m.magnitudes[20] = 75;
  m.magnitudes[21] = 25;
  Put("steps.jsonl", telemetry::FormatRecord(telemetry::SnapshotRecord{5, {m}}));
  const std::string section = Section(Page(), "magnitudes");
  EXPECT_TRUE(Has(section, "75% of the nonzeros</title>")) << section;
  EXPECT_TRUE(Has(section, "25% of the nonzeros</title>"));
  EXPECT_TRUE(Has(section, "<p>100 nonzeros</p>"));
}

TEST_F(ReportTest, PhasesAddUp) {
  std::string log;
  for (int s = 0; s < 10; ++s) {
    telemetry::StepRecord r;
    r.step = s;
    r.ms = 1000;
    r.phase_seconds = {0.1, 0.3, 0.5, 0, 0, 0, 0, 0};
    log += telemetry::FormatRecord(r);
  }
  Put("steps.jsonl", log);
  const std::string speed = Section(Page(), "speed");
  EXPECT_TRUE(Has(speed, "forward</th><td>3.0s</td><td>30%</td><td>300.00 ms</td>")) << speed;
  EXPECT_TRUE(Has(speed, "other</th><td>1.0s</td><td>10%</td><td>100.00 ms</td>"));
  EXPECT_FALSE(Has(speed, "exchange</th>"));
}

TEST_F(ReportTest, RunningStoppedAndUnstarted) {
  SyntheticOptions options;
  options.until = 250;
  std::string log = SyntheticLog(options);
  Put("steps.jsonl", log);
  EXPECT_TRUE(Has(Page(), "<strong>running, or cut off</strong> <span>250 of 600 steps</span>"));
  log += telemetry::FormatRecord(telemetry::EndRecord{250, 10, "stopped"});
  Put("steps.jsonl", log);
  EXPECT_TRUE(Has(Page(), "<strong>stopped</strong>"));
  log += telemetry::FormatRecord(telemetry::RunRecord{250, 600, 4096, 1.7e9, "n", {}, {}});
  log += telemetry::FormatRecord(telemetry::StepRecord{250, 3, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, {}, {}, {}});
  Put("steps.jsonl", log);
  EXPECT_TRUE(Has(Page(), "<strong>running, or cut off</strong> <span>251 of 600 steps</span>"));
  std::filesystem::remove(dir_ / "steps.jsonl");
  Put("config.toml", "[run]\nsteps = 77\n");
  const std::string page = Page();
  EXPECT_TRUE(Has(page, "<strong>not started</strong> <span>0 of 77 steps</span>"));
  ExpectBalanced(page);
}

TEST_F(ReportTest, AFolderWithoutSettingsAndLogIsNoRun) {
  const auto refused = WriteReport(dir_);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Has(std::string(refused.status().message()), dir_));
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

TEST_F(ReportTest, EmptySettingsAndEmptyLog) {
  for (const char* name : {"config.toml", "steps.jsonl"}) {
    Put(name, "");
    const std::string page = Page();
    ExpectBalanced(page);
    ExpectOffline(page);
    for (const char* id :
         {"overview", "losses", "schedules", "matrices", "magnitudes", "speed", "samples", "events", "config"})
      EXPECT_TRUE(Has(page, fmt::format("<section id=\"{}\"", id))) << id;
    EXPECT_TRUE(Has(page, "Nothing in the log yet."));
  }
}

TEST_F(ReportTest, DamagedLogAndForeignConfig) {
  std::string log = SyntheticLog({});
  log.replace(log.size() / 2, 40, "}}}}\n{{{{\n\xff\xff");
  Put("steps.jsonl", log.substr(0, log.size() - 30));
  Put("config.toml", "[model]\nd_model = 250\n<script>alert(1)</script>");
  const std::string page = Page();
  ExpectBalanced(page);
  EXPECT_TRUE(Has(page, "damaged lines</dt><dd>"));
  EXPECT_TRUE(Has(Section(page, "overview"), "class=\"warning\" role=\"note\">config.toml:3:"));
  EXPECT_TRUE(Has(Section(page, "config"), "&lt;script&gt;alert(1)&lt;/script&gt;"));
  EXPECT_FALSE(Has(page, "<script>alert"));
}

TEST_F(ReportTest, EscapesEverythingTheLogSays) {
  const std::string evil = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\"'&\x1b\xff";
  using telemetry::FormatRecord;
  telemetry::MatrixSnapshot m{evil, 0, evil, 10, 5, 5, 5, 0.1, {}};
  m.magnitudes[20] = 5;
  telemetry::StepRecord step;
  step.nnz = {{evil, 3}};
  step.ms = 1;
  Put("steps.jsonl",
      FormatRecord(telemetry::RunRecord{0, 5, 5, 1, evil, {{evil, 3}}, {{evil, evil}}}) + FormatRecord(step) +
          FormatRecord(telemetry::EvalRecord{1, 3, 1, 1, 1, {{evil, 3}}}) +
          FormatRecord(telemetry::SampleRecord{1, evil, evil}) +
          FormatRecord(telemetry::CheckpointRecord{1, 1, 1, evil}) + FormatRecord(telemetry::NoteRecord{1, evil}) +
          FormatRecord(telemetry::SnapshotRecord{0, {m}}) + FormatRecord(telemetry::SnapshotRecord{1, {m}}) +
          FormatRecord(telemetry::EndRecord{1, 1, evil}));
  Put("config.toml", evil);
  const std::string page = Page();
  ExpectBalanced(page);
  EXPECT_FALSE(Has(page, "<img"));
  EXPECT_FALSE(Has(page, "<script>alert"));
  EXPECT_FALSE(Has(page, "\x1b"));
  EXPECT_FALSE(Has(page, "\xff"));
  EXPECT_GE(Occurrences(page, "&lt;img src=x"), 10);
  const std::string name = evil.substr(0, evil.size() - 2) + "\xef\xbf\xbd\xef\xbf\xbd";
  EXPECT_EQ(Data(page, "alive")["curves"][0]["name"], name);
}

TEST_F(ReportTest, LongRunGivesASmallPage) {
  SyntheticOptions options;
  options.steps = options.until = 100'000;
  options.eval_every = 2000;
  options.layers = 8;
  options.count_nonzeros = false;
  Put("steps.jsonl", SyntheticLog(options));
  const std::string page = Page();
  EXPECT_LT(page.size(), 2'000'000U);
  EXPECT_GT(page.size(), 100'000U);
  EXPECT_TRUE(Has(page, "100,000 of 100,000 steps"));
  const std::string samples = Section(page, "samples");
  EXPECT_TRUE(Has(samples, "After 100,000 steps"));
  EXPECT_TRUE(Has(samples, "After 2,000 steps"));  // the oldest of the shown ones is the first of all
}

TEST_F(ReportTest, HugeTextsAreCut) {
  std::string log;
  for (int i = 0; i < 300; ++i) {
    log += telemetry::FormatRecord(telemetry::SampleRecord{i, "p", std::string(20'000, '&')});
    log += telemetry::FormatRecord(telemetry::NoteRecord{i, std::string(20'000, '<')});
  }
  Put("steps.jsonl", log);
  const std::string page = Page();
  EXPECT_LT(page.size(), 3'000'000U);
  EXPECT_TRUE(Has(page, "14000 bytes more"));
  EXPECT_TRUE(Has(Section(page, "events"), "100 more"));
}

TEST_F(ReportTest, WritesWhereAskedAndSaysWhyNot) {
  Put("steps.jsonl", SyntheticLog({60, 60, 1, 20}));
  const std::string out = dir_ / "page.html";
  EXPECT_EQ(*WriteReport(dir_, out), out);
  EXPECT_EQ(*WriteReport(dir_), (dir_ / "report.html").string());
  EXPECT_EQ(RenderPage(*ReadRun(dir_)), RenderPage(*ReadRun(dir_)));
  const auto missing = WriteReport(dir_ / "nowhere");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Has(std::string(missing.status().message()), "nowhere"));
  EXPECT_EQ(WriteReport(dir_, dir_ / "no" / "page.html").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(WriteReport(dir_, "/dev/full/x").status().code(), absl::StatusCode::kNotFound);
  // Nothing but what was asked for is left behind.
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir_))
    files += entry.path().extension() == ".new" ? 100 : 1;
  EXPECT_EQ(files, 3);
}

}  // namespace
}  // namespace filigree::report
