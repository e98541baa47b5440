#include "worker/telemetry/display.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>

namespace filigree::telemetry {
namespace {

constexpr size_t kTimedSteps = 128;
constexpr char kEraseLine[] = "\r\x1b[2K";

constexpr int kColumnsIfUnknown = 80;

// 0: it does not say.
int Columns(std::FILE* out) {
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

// mpirun gives its processes a terminal without a width, whatever it writes to itself: a file would be full of bars.
bool IsTerminal(std::FILE* out) {
  const char* term = std::getenv("TERM");
  return isatty(fileno(out)) == 1 && Columns(out) > 0 && term != nullptr && std::strcmp(term, "dumb") != 0;
}

std::string Baselines(const std::vector<NamedValue>& baselines) {
  std::string text;
  for (const NamedValue& b : baselines) text += fmt::format("{}{} {:.4f}", text.empty() ? "" : ", ", b.name, b.value);
  return text;
}

// `text` with every line indented.
std::string Indented(const std::string& text) {
  std::string out = "  | ";
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "  | ";
  }
  return out;
}

}  // namespace

Display::Display(Output output, std::FILE* out, int64_t steps, int64_t completed, double started)
    : output_(output), out_(out), steps_(steps), completed_(completed), now_(started), times_{started} {
  if (output_ == Output::kAuto) output_ = IsTerminal(out) ? Output::kTerminal : Output::kLines;
}

void Display::Run(const RunRecord& record) {
  if (output_ == Output::kQuiet) return;
  Line(fmt::format("run {}: {} steps of {} tokens{}", Printable(record.name), record.steps, record.tokens_per_step,
                   record.step > 0 ? fmt::format(", resumed after {}", record.step) : ""));
  for (const NamedText& fact : record.facts)
    Line(fmt::format("  {:<16} {}", Printable(fact.name), Printable(fact.text)));
  if (!record.baselines.empty()) Line("  validation loss without a model: " + Printable(Baselines(record.baselines)));
}

void Display::Step(const StepRecord& record, double now) {
  now_ = now;
  completed_ = record.step + 1;
  times_.push_back(now);
  if (times_.size() > kTimedSteps + 1) times_.pop_front();
  if (output_ == Output::kQuiet) return;
  const std::string eta = Eta();
  Line(StepLine(record) + (output_ == Output::kLines && !eta.empty() ? "  " + eta : ""));
}

void Display::Eval(const EvalRecord& record) {
  const std::string baselines = Baselines(record.baselines);
  Line(fmt::format("eval after {}: validation loss {:.4f}, {:.4f} bits a byte{}", record.step, record.loss,
                   record.bits_per_byte, baselines.empty() ? "" : " (" + Printable(baselines) + ")"));
}

void Display::Sample(const SampleRecord& record) {
  if (output_ == Output::kQuiet) return;
  Line(fmt::format("sample after {}:\n{}", record.step, Indented(Printable(record.prompt + record.text))));
}

void Display::Checkpoint(const CheckpointRecord& record) {
  if (output_ == Output::kQuiet) return;
  Line(fmt::format("checkpoint after {}: {:.1f} MB in {}, {}", record.step, static_cast<double>(record.bytes) / 1e6,
                   DurationText(record.seconds), Printable(record.path)));
}

void Display::Note(const NoteRecord& record) { Line("note: " + Printable(record.text)); }

void Display::End(const EndRecord& record) {
  ended_ = true;
  const bool sentence = record.reason.find(' ') != std::string::npos;  // why it could not go on, not "done"
  Line(fmt::format("{} after {} of {} steps, in {}", Printable(record.reason) + (sentence ? "; ended" : ""),
                   record.step, steps_, DurationText(record.seconds)));
}

std::string Display::Eta() const {
  if (times_.size() < 2 || completed_ >= steps_) return {};
  const double step = (times_.back() - times_.front()) / static_cast<double>(times_.size() - 1);
  return EtaText(step * static_cast<double>(steps_ - completed_), now_);
}

void Display::Line(const std::string& line) {
  if (output_ == Output::kTerminal) std::fputs(kEraseLine, out_);
  std::fputs(line.c_str(), out_);
  std::fputc('\n', out_);
  if (output_ == Output::kTerminal && !ended_) DrawBar();
  std::fflush(out_);
}

// One column stays free: a full line would make some terminals wrap, and the bar could not be erased.
void Display::DrawBar() {
  const int columns = Columns(out_);
  const std::string bar = BarText(completed_, steps_, Eta(), (columns > 0 ? columns : kColumnsIfUnknown) - 1);
  std::fputs(bar.c_str(), out_);
}

}  // namespace filigree::telemetry
