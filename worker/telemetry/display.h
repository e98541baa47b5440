#ifndef FILIGREE_WORKER_TELEMETRY_DISPLAY_H_
#define FILIGREE_WORKER_TELEMETRY_DISPLAY_H_

#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>

#include "worker/telemetry/records.h"

// What the user sees: one line a step, and on a terminal a progress bar below them, redrawn in place, with ETA and
// finish time. Plain lines where the output is no terminal (or TERM is dumb). Text of a model is shown without control
// characters.
//
// Time left is steps left times the mean wall time of the last 128 steps, evaluations and checkpoints included. On a
// terminal it stands in the bar, else at the end of each line.

namespace filigree::telemetry {

enum class Output {
  kAuto,      // kTerminal where `out` is one, else kLines
  kLines,     // one line a step
  kTerminal,  // the same lines above a progress bar
  kQuiet      // only evaluations, notes and the end
};

class Display {
 public:
  // `out` is borrowed. `started` and every `now`: seconds since 1970.
  Display(Output output, std::FILE* out, int64_t steps, int64_t completed, double started);

  void Run(const RunRecord& record);
  void Step(const StepRecord& record, double now);
  void Eval(const EvalRecord& record);
  void Sample(const SampleRecord& record);
  void Checkpoint(const CheckpointRecord& record);
  void Note(const NoteRecord& record);
  void End(const EndRecord& record);

 private:
  void Line(const std::string& line);
  void DrawBar();
  std::string Eta() const;

  Output output_;
  std::FILE* out_;
  int64_t steps_;
  int64_t completed_;
  double now_;
  std::deque<double> times_;  // the start, then the ends of the last steps, the oldest first
  bool ended_ = false;
};

// "step 120  loss 3.2101  z -0.42  lr 5.120e-02  density 0.0625  grad 1.234e-01  412 ms  9,941 tok/s  23.4% of peak":
// the line of one step without ETA.
std::string StepLine(const StepRecord& record);

// "9.5s", "12m 05s", "1h 02m", "3d 04h"; "?" where seconds is not finite or negative.
std::string DurationText(double seconds);

// "2026-11-24 22:14:03", local time; "?" where seconds is not finite or no time of ours.
std::string TimeText(double seconds);

// "eta 1h 02m, done 14:05"; local time, with the date where it is not today. Empty where seconds is not finite or
// negative.
std::string EtaText(double seconds, double now);

// A progress bar with percent and counts that fits `width` columns.
std::string BarText(int64_t completed, int64_t steps, const std::string& eta, int width);

// `text` as valid UTF-8 without control characters: newlines and tabs stay, other bytes become U+FFFD.
std::string Printable(const std::string& text);

// The same, but that other bytes can be told: \x1b. For messages that repeat what somebody typed.
std::string Escaped(const std::string& text);

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_DISPLAY_H_
