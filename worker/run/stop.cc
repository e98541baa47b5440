#include "worker/run/stop.h"

#include <atomic>
#include <csignal>

namespace filigree::train {
namespace {

// The handler runs on whichever thread the kernel picks, libraries' own among them.
std::atomic<bool> g_stop = false;
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void OnStopSignal(int signal) {
  if (!g_stop.exchange(true)) return;
  std::signal(signal, SIG_DFL);  // asked twice: do not wait
  std::raise(signal);
}

}  // namespace

void CatchStopSignals() {
  struct sigaction action = {};
  action.sa_handler = OnStopSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
}

bool StopRequested() { return g_stop.load(); }

}  // namespace filigree::train
