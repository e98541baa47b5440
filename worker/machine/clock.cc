#include "worker/machine/clock.h"

#include <ctime>

namespace filigree::machine {
namespace {

double Seconds(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

double WallSeconds() { return Seconds(CLOCK_MONOTONIC); }

double ThreadCpuSeconds() { return Seconds(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace filigree::machine
