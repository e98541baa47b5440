#ifndef FILIGREE_COORDINATOR_CORE_OPTIONS_H_
#define FILIGREE_COORDINATOR_CORE_OPTIONS_H_

#include <cstddef>
#include <cstdint>

namespace filigree::coordinator {

struct Options {
  // A worker is lost this long after the last heartbeat that was taken. Workers are told a lease shorter by the margin,
  // counted from when they sent: clocks that differ in speed by up to margin / lease do no harm.
  int64_t lease_us = 4'000'000;
  int64_t lease_margin_us = 400'000;
  int64_t heartbeat_us = 1'000'000;  // how often workers are asked to report

  // A job below its full grid is regrown when it has run this long and nobody waits.
  int64_t grow_after_us = 10'000'000;

  // A rank becomes a straggler where its own work per step, over this many steps, takes `ratio` times the median, and
  // is none any more below `until`. Between the two it stays what it is, so that nobody is named every other
  // second. 1.8: a rank that takes twice as long is found, whatever noise there is.
  double straggler_ratio = 1.8, straggler_until = 1.5;
  int64_t straggler_steps = 10;
  int64_t straggler_check_us = 1'000'000;  // how often ranks are compared

  bool of_one_run = false;  // a run's own coordinator: the first job is the only one
  size_t max_workers = 65'536;
  size_t max_jobs = 10'000;   // that have not ended
  size_t max_ended = 10'000;  // that have: those submitted first are forgotten, with their commits and keys
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_OPTIONS_H_
