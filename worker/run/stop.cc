#include "worker/run/stop.h"

#include <csignal>

namespace filigree::train {
namespace {

volatile std::sig_atomic_t g_stop = 0;

extern "C" void OnStopSignal(int signal) {
  if (g_stop != 0) {  // asked twice: do not wait
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  g_stop = 1;
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

bool StopRequested() { return g_stop != 0; }

}  // namespace filigree::train
