#ifndef FILIGREE_TESTS_PARITY_REPORT_H_
#define FILIGREE_TESTS_PARITY_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

// The table of all comparisons: what was compared, how far apart it is, how far it may be.

namespace filigree::parity {

struct Comparison {
  std::string case_name;
  std::string subject;  // tensor or figure of the step records
  double distance = 0;  // relative, or a count where the bound is 0
  double bound = 0;
  int64_t zeros_differ = 0;   // entries zero on one side only
  int64_t zeros_allowed = 0;  // as many may
  bool zeros_compared = false;
  std::string note;  // what to look at where it misses

  // False where the distance is NaN.
  bool ok() const { return distance <= bound && zeros_differ <= zeros_allowed; }
};

class Report {
 public:
  void Add(Comparison comparison) { rows_.push_back(std::move(comparison)); }
  // Something that could not be compared at all: a miss.
  void AddError(const std::string& case_name, const std::string& message);
  // Said under the table; no miss.
  void AddNote(const std::string& case_name, const std::string& message);

  // All of another report behind this one's.
  void Append(const Report& report);

  const std::vector<Comparison>& rows() const { return rows_; }
  bool has_errors() const { return !errors_.empty(); }
  int64_t comparisons() const { return static_cast<int64_t>(rows_.size()); }
  int64_t misses() const;

  // The whole table, then errors and notes, then one line of summary. Misses only where `quiet`.
  std::string Text(bool quiet) const;

 private:
  std::vector<Comparison> rows_;
  std::vector<std::string> errors_, notes_;
};

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_REPORT_H_
