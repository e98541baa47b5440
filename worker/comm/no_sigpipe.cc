#include "worker/comm/no_sigpipe.h"

#include <ctime>

namespace filigree::comm {
namespace {

sigset_t OnlySigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  return set;
}

bool Pending() {
  sigset_t set;
  sigpending(&set);
  return sigismember(&set, SIGPIPE) == 1;
}

}  // namespace

NoSigpipe::NoSigpipe() : pending_before_(Pending()) {
  const sigset_t set = OnlySigpipe();
  pthread_sigmask(SIG_BLOCK, &set, &before_);
}

// One that came meanwhile is ours and goes away here.
NoSigpipe::~NoSigpipe() {
  if (!pending_before_ && Pending()) {
    const sigset_t set = OnlySigpipe();
    const timespec at_once = {};
    sigtimedwait(&set, nullptr, &at_once);
  }
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace filigree::comm
