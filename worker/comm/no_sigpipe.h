#ifndef FILIGREE_WORKER_COMM_NO_SIGPIPE_H_
#define FILIGREE_WORKER_COMM_NO_SIGPIPE_H_

#include <csignal>

namespace filigree::comm {

// Gloo writes to sockets so that the loss of a peer raises SIGPIPE, which would end the process that is to survive it.
// While one of these lives, this thread and those that it starts do not get the signal.
class NoSigpipe {
 public:
  NoSigpipe();
  ~NoSigpipe();
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;

 private:
  sigset_t before_{};
  bool pending_before_ = false;
};

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_NO_SIGPIPE_H_
