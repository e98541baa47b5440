#include "tests/parity/report.h"

#include <algorithm>

#include "fmt/format.h"

namespace filigree::parity {

void Report::AddError(const std::string& case_name, const std::string& message) {
  errors_.push_back(fmt::format("MISS {}: {}", case_name, message));
}

void Report::AddNote(const std::string& case_name, const std::string& message) {
  notes_.push_back(fmt::format("note {}: {}", case_name, message));
}

void Report::Append(const Report& report) {
  rows_.insert(rows_.end(), report.rows_.begin(), report.rows_.end());
  errors_.insert(errors_.end(), report.errors_.begin(), report.errors_.end());
  notes_.insert(notes_.end(), report.notes_.begin(), report.notes_.end());
}

int64_t Report::misses() const {
  return std::count_if(rows_.begin(), rows_.end(), [](const Comparison& row) { return !row.ok(); }) +
         static_cast<int64_t>(errors_.size());
}

std::string Report::Text(bool quiet) const {
  size_t case_width = 4, subject_width = 6;
  for (const Comparison& row : rows_) {
    case_width = std::max(case_width, row.case_name.size());
    subject_width = std::max(subject_width, row.subject.size());
  }
  std::string text = fmt::format("{:<{}}  {:<{}}  {:>9}  {:>9}  {:>7}\n", "case", case_width, "tensor", subject_width,
                                 "distance", "bound", "zeros");
  for (const Comparison& row : rows_) {
    if (quiet && row.ok()) continue;
    const std::string zeros = !row.zeros_compared     ? "-"
                              : row.zeros_differ == 0 ? "equal"
                              : row.zeros_allowed > 0 ? fmt::format("{} of {} off", row.zeros_differ, row.zeros_allowed)
                                                      : fmt::format("{} off", row.zeros_differ);
    text += fmt::format("{:<{}}  {:<{}}  {:>9.2e}  {:>9.2e}  {:>7}  {}{}{}\n", row.case_name, case_width, row.subject,
                        subject_width, row.distance, row.bound, zeros, row.ok() ? "ok" : "MISS",
                        row.note.empty() ? "" : "  ", row.note);
  }
  for (const std::string& line : errors_) text += line + "\n";
  for (const std::string& line : notes_) text += line + "\n";
  text += fmt::format("{} comparisons, {} misses\n", comparisons(), misses());
  return text;
}

}  // namespace filigree::parity
